"""What the stories of all senders share: the ways to tell that a file is whole, and that the daemon has looked."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from bulkgpt_watchd.sandbox import answer
from tests.system.bed import Bed
from tests.system.process import AS_MORTAL, Daemon

WAYS: dict[str, dict[str, Any]] = {
    "rename": {"settle": 0, "match": ["*"]},  # so that only the names that are never taken protect them
    "marker": {"ready": {"done_file": "{name}.done"}},
}
"""The ways that the README calls a promise, as keys of a route."""

INTERIMS = ("{}.part", "{}.filepart", "{}.partial", "{}.tmp", ".{}.Xa81bQ", ".in.{}.")
"""Names of unfinished uploads: of many scripts, of WinSCP, rclone, Windows programs, rsync, and lftp or ProFTPD."""

ENDED = 16
"""Length of a line that divides what clients send at once: cut off there, a file looks whole."""

UNENDED = 31
"""Length of a line that does not divide it."""


def lines(number: int, length: int, tag: str) -> bytes:
    """Give a CSV of so many lines of that length, which no other tag gives."""
    return b"".join(f"{tag}{row:0{length - len(tag) - 1}}\n".encode() for row in range(number))


class Story:
    """A daemon that takes what a sender says is whole, in one way, and looks all the time."""

    def __init__(self, bed: Bed, inbox: Path, way: str, **keys: Any) -> None:
        self.bed = bed
        self.inbox = inbox
        self.way = way
        bed.route(scan_every="50ms", **{**WAYS.get(way, {}), **keys})
        self.daemon: Daemon = bed.start(before=AS_MORTAL)
        self._canaries = 0
        self._interims: dict[str, str] = {}
        self.empty = bed.folder / "empty"
        self.empty.touch()

    def interim(self, name: str) -> str:
        """Give the name under which a sender writes."""
        if self.way != "rename":
            return name
        return self._interims.setdefault(name, INTERIMS[len(self._interims) % len(INTERIMS)].format(name))

    def finish(self, name: str) -> str:
        """Give the line with which a sender says that a file is whole."""
        return f"rename {self.interim(name)} {name}" if self.way == "rename" else f"put {self.empty} {name}.done"

    def local(self, name: str, content: bytes) -> Path:
        """Write a sender's own copy."""
        path = self.bed.folder / f"local-{name}"
        path.write_bytes(content)
        return path

    def looked(self) -> None:
        """Wait until the daemon has looked into the inbox since now: it finds what comes now."""
        self._canaries += 1
        name = f"canary-{self._canaries}.csv"
        self.bed.drop(name, f"a\n{name}\n".encode())
        if self.way == "marker":
            (self.inbox / f"{name}.done").touch()
        self.daemon.wait_for("job.done", file=name)

    def not_taken(self, name: str) -> None:
        """Hold that a file was not taken, although the daemon has looked."""
        self.looked()
        for unfinished in (name, self.interim(name)):
            assert not self.daemon.told("job.discovered", file=unfinished)

    def whole(self, name: str, content: bytes) -> None:
        """Wait until a file came back, which was sent and paid for as it is."""
        self.bed.dropped[hashlib.sha256(content).hexdigest()] += 1
        self.daemon.wait_for("job.done", file=name)
        assert (self.bed.place("outbox") / name).read_bytes() == answer(content)
        self.nothing_else()

    def nothing_else(self) -> None:
        """Hold that nothing was paid for but what was sent whole."""
        paid = {str(record.sha256) for record in self.bed.sandbox.accepted}
        assert paid <= set(self.bed.dropped), "something was submitted that nobody sent so"


def sample(chance: random.Random, tag: str) -> bytes:
    """Give a CSV of some hundred kilobytes; cut off, it looks whole more often than not."""
    return lines(chance.randrange(8_000, 16_000), chance.choice((ENDED, ENDED, UNENDED)), tag)
