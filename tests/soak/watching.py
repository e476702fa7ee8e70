"""Hold the folders, the ledger and the log against what is promised, again and again while all goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.soak.bed import AWAY, Soak
from tests.soak.troubles import ENDS_AT_BULKGPT

ORDER = ("inbox", "error", "inbox/.bulkgpt-watchd", "archive", "error")
"""In which folders are read while files move: a file that goes on is met before or after its move, mostly."""

LOOKS = 8
"""How often a file may be missed, or be met in two places, while it moves; the daemon does not move it so often."""


class Watch:
    """
    See what stands where, what was accepted, what was told.

    Shape: *allowed* counts what a person lets be paid once more, by content; *ids* are the accepted task IDs of each.
    """

    def __init__(self, bed: Soak) -> None:
        self.bed = bed
        self.lock = threading.RLock()
        self.allowed: Counter[str] = Counter()
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.told: Counter[str] = Counter()
        self._hashes: dict[tuple[int, int, int, int], str] = {}
        self._whole: set[tuple[int, int, int, int]] = set()
        self._ledger_at = self._log_at = 0

    def check(self, *, is_still: bool) -> None:
        """Ask all that must be so at any instant; *is_still*: the daemon is dead, so nothing moves."""
        with self.bed.still, self.lock:
            self.read_ledger()
            self.check_paid()
            for look in range(1, LOOKS + 1):
                if not (wrong := self.misplaced()):
                    break
                assert not is_still, wrong
                assert look < LOOKS, wrong
                time.sleep(0.1 * look)
            self.check_results()
            self.read_log()
        self.bed.counts["checks of a dead daemon" if is_still else "checks of a live daemon"] += 1

    # --- folders ------------------------------------------------------------------------------------------------------

    def misplaced(self) -> dict[str, str]:
        """Give each content that stands not as often as it was dropped, and each that nobody dropped."""
        stands: dict[str, dict[tuple[int, int], str]] = defaultdict(dict)
        for route in self.bed.routes:
            for role in ORDER:
                for path, found in self._files(route, role):
                    # Markers, before they are taken and afterwards, have no content; none drops such a file.
                    if path.name in self.bed.growing or path.name.endswith(".json") or not found.st_size:
                        continue
                    if (sha256 := self._hash(path, found)) is not None:
                        stands[sha256][found.st_dev, found.st_ino] = str(path)
        wrong = {}
        for sha256 in stands.keys() | self.bed.expected.keys():
            wanted, places = self.bed.expected[sha256], list(stands[sha256].values())
            if len(places) != wanted:
                wrong[sha256] = f"file {self.bed.number_of.get(sha256)}: dropped {wanted} times, stands at {places}"
        return wrong

    def check_results(self) -> None:
        """Each result is that of its input, each sidecar is whole."""
        for route in self.bed.routes:
            for role in ("outbox", "error", "archive"):
                for path, found in self._files(route, role):
                    key = _key(found)
                    if key in self._whole or (role != "outbox" and not path.name.endswith(".json")):
                        continue
                    try:
                        content = path.read_bytes()
                    except FileNotFoundError:
                        continue
                    if role == "outbox":
                        number = int(re.match(r"\d+", path.name)[0])  # type: ignore[index]  # none drops other names
                        is_whole = hashlib.sha256(content).hexdigest() in self.bed.answers_of(number)
                        assert is_whole, f"{path} is no whole result: {content[:200]!r}"
                    else:
                        assert json.loads(content)["job"], path
                    self._whole.add(key)

    def _files(self, route: str, role: str) -> Iterator[tuple[Path, os.stat_result]]:
        """Give the visible files of a folder, wherever its route is."""
        for root in (self.bed.root / route, self.bed.root / f"{route}{AWAY}"):
            try:
                entries = list(os.scandir(root / role))
            except FileNotFoundError:
                continue
            for entry in entries:
                try:
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        yield Path(entry.path), entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue

    def _hash(self, path: Path, found: os.stat_result) -> str | None:
        key = _key(found)
        if key not in self._hashes:
            try:
                self._hashes[key] = hashlib.sha256(path.read_bytes()).hexdigest()
            except FileNotFoundError:
                return None
        return self._hashes[key]

    # --- money --------------------------------------------------------------------------------------------------------

    def read_ledger(self) -> None:
        """Read what BulkGPT has accepted since."""
        if not self.bed.ledger_file.exists():
            return
        with self.lock, open(self.bed.ledger_file, "rb") as file:
            file.seek(self._ledger_at)
            whole, newline, _ = file.read().rpartition(b"\n")
            self._ledger_at += len(whole + newline)
            for record in map(json.loads, whole.split(b"\n") if newline else ()):
                self.told["submits seen"] += 1
                if not record["accepted"]:
                    continue
                sha256 = record["sha256"]
                self.told["submits accepted"] += 1
                self.ids[sha256].append(record["task_id"])
                ends_badly = record["fault"] == "one row failed" and record["rows"] == 1
                self.allowed[sha256] += ends_badly or record["fault"] in ENDS_AT_BULKGPT  # and may be dropped again

    def check_paid(self) -> None:
        wrong = {
            sha256: (len(ids), self.allowed[sha256], self.bed.number_of.get(sha256))
            for sha256, ids in self.ids.items()
            if len(ids) > 1 + self.allowed[sha256] or sha256 in self.bed.broken
        }
        assert not wrong, f"accepted, allowed besides, number of the file: {wrong}"

    # --- log ----------------------------------------------------------------------------------------------------------

    def read_log(self) -> None:
        """Count what the daemon has told since; it must not tell of a bug."""
        with open(self.bed.log_file, "rb") as file:
            file.seek(self._log_at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._log_at += len(whole + newline)
        for line in whole.split(b"\n"):
            assert b'"daemon.bug"' not in line, line.decode(errors="replace")
            assert b'"internal_error"' not in line, line.decode(errors="replace")
            if b'"event": "job.failed"' in line or b'"event":"job.failed"' in line:
                self.told[f"failed: {json.loads(line)['code']}"] += 1
            self.told["delivered"] += b'"job.delivered"' in line


def _key(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
