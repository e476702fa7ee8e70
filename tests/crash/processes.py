"""Run the sandbox, the daemon and droppers of files as they are: processes of their own, files on a disk."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from bulkgpt_watchd.config import load
from bulkgpt_watchd.core.traces import job_of_trace
from bulkgpt_watchd.sandbox import answer

COMMAND = (sys.executable, "-m", "bulkgpt_watchd")
KEY = "sandbox-key"

SCENARIO = """
faults:
  - {call: submit, at: middle, delay_s: 0.02, times: always}
  - {call: submit, at: end, delay_s: 0.03, times: always}
"""
"""A network of some distance: without it the moment between the last block and the answer is too short to be hit."""

CONFIG = """
api:
  base_url: {base_url}
  api_key_file: key
  submit_spacing: 0
  retry: {{min: 100ms, max: {pace}}}
state: {{path: "{state}"}}
log: {{format: json}}
routes:
  - {{name: leads, workflow_id: w1, folder: "{folders}/leads", settle: 0, scan_every: {pace}, hold_backlog: null,
     poll: {{min: 50ms, max: 500ms}}}}
  - {{name: orders, workflow_id: w2, folder: "{folders}/orders", settle: 0, scan_every: {pace}, hold_backlog: null,
     poll: {{min: 50ms, max: 500ms}}}}
"""

ROUTES = ("leads", "orders")

WAITING_MOST = 40
"""Files in the inboxes above which the dropper rests: enough that every kill meets work, few enough to end soon."""

STARTS_WITHIN_S = 30.0
"""A start takes half a second; a busy machine may need many times that."""


class Dropper:
    """Drop files of unique content at random times, each by a rename, until told to stop."""

    def __init__(self, folders: Path, chance: random.Random) -> None:
        self.folders = folders
        self.dropped: dict[str, bytes] = {}  # path below the root, without the role → content
        self.chance = chance
        self._numbers = itertools.count()
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._drop)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stops.set()
            self._thread.join()

    @property
    def is_at_work(self) -> bool:
        return self._thread.is_alive()

    def _drop(self) -> None:
        while not self._stops.wait(self.chance.uniform(0.0, 0.08)):
            if self._waiting() > WAITING_MOST:
                continue
            number = next(self._numbers)
            rows = 20_000 if number % 25 == 24 else self.chance.randint(1, 30)
            content = b"Input_1\n" + b"".join(b"file %d row %d\n" % (number, row) for row in range(rows))
            name = os.fsdecode(b"not utf-8 \xff %d.csv" % number) if number % 10 == 9 else f"{number}.csv"
            self.put(self.chance.choice(ROUTES), name, content)

    def _waiting(self) -> int:
        return sum(len(os.listdir(self.folders / route / "inbox")) for route in ROUTES)

    def put(self, route: str, name: str, content: bytes) -> None:
        part = self.folders / route / "inbox" / f".{name}"
        part.write_bytes(content)
        self.dropped[f"{route}/{name}"] = content
        part.rename(part.with_name(name))


class Bed:
    """
    Hold a folder with everything that outlives a daemon.

    Shape: the state and the folders of the routes may lie elsewhere than the rest, and the daemon may be another
        *command*.
    """

    routes: tuple[str, ...] = ROUTES
    config_text = CONFIG
    before: tuple[str, ...] = ()  # put before every command
    command: tuple[str, ...] = COMMAND
    pace = "1s"  # between looks into an inbox, and at most between tries

    def __init__(
        self,
        root: Path,
        seed: int,
        scenario: str = SCENARIO,
        *,
        state: Path | None = None,
        folders: Path | None = None,
    ) -> None:
        self.root = root
        self.state = (state or root) / "state" / "state.db"
        self.folders = folders or root
        self.chance = random.Random(seed)
        self.dropper = Dropper(self.folders, random.Random(seed + 1))
        self.ledger_file = root / "ledger.jsonl"
        self.log_file = root / "daemon.log"
        self.config = root / "config.yaml"
        self.accepted_doubts = 0
        self.base_url = ""
        for route in self.routes:
            (self.folders / route / "inbox").mkdir(parents=True)
        (root / "key").write_text(KEY)
        (root / "key").chmod(0o600)
        (root / "scenario.yaml").write_text(scenario)

    @contextmanager
    def sandbox(self, task_s: float = 0.2) -> Iterator[None]:
        """Run a BulkGPT that outlives every daemon, and write the configuration that leads to it."""
        options = ["--port", "0", "--key", KEY, "--task-seconds", str(task_s)]
        options += ["--scenario", str(self.root / "scenario.yaml")]
        command = [*self.before, *COMMAND, "sandbox", *options, "--ledger", str(self.ledger_file)]
        with (
            open(self.root / "sandbox.log", "wb") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            assert process.stdout is not None
            told = yaml.safe_load("".join(process.stdout.readline() for _ in range(5)))
            self.base_url = told["api"]["base_url"]
            self.configure()
            try:
                yield
            finally:
                process.terminate()
                process.stdout.read()

    def configure(self) -> None:
        """Write the configuration, and read it as a command of a person does."""
        places = {"base_url": self.base_url, "state": self.state, "folders": self.folders}
        self.config.write_text(self.config_text.format(**places, pace=self.pace))
        self.settings = load(self.config)

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run one daemon, in a process group of its own; whoever still lives at the end is killed."""
        with open(self.log_file, "ab") as log, self.spawn(("run", "--config", str(self.config)), log) as process:
            try:
                yield process
            finally:
                process.kill()

    def spawn(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own."""
        return subprocess.Popen([*self.before, *self.command, *arguments], stderr=log, process_group=0)

    def wait_for_ready(self, process: subprocess.Popen[bytes], seen_bytes: int) -> None:
        """Wait until a daemon that began to write its log at *seen_bytes* is ready."""

        def is_ready() -> bool:
            assert process.poll() is None, self.log_file.read_text(errors="replace")[-3000:]
            with open(self.log_file, "rb") as log:
                log.seek(seen_bytes)
                return b'"daemon.ready"' in log.read()

        wait_until(is_ready, STARTS_WITHIN_S)

    def kill_one(self) -> None:
        """Start a daemon and kill it: mostly amid its work, one in five amid its start."""
        with self.begun(is_ready=self.chance.random() >= 0.2):
            pass

    def stop_one(self) -> int:
        """Start a daemon and stop it amid its work; give its exit code."""
        with self.begun(is_ready=True) as process:
            process.terminate()
            return process.wait(STARTS_WITHIN_S)

    @contextmanager
    def begun(self, *, is_ready: bool) -> Iterator[subprocess.Popen[bytes]]:
        """Run a daemon for a moment of chance, once it is ready or from its very start."""
        seen_bytes = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.daemon() as process:
            if is_ready:
                self.wait_for_ready(process, seen_bytes)
            time.sleep(self.chance.uniform(0.0, 0.5 if is_ready else 0.8))
            yield process

    # --- what must be so ----------------------------------------------------------------------------------------------

    def accepted(self) -> Counter[str]:
        """Count the accepted submits of each content, by its sha256."""
        return Counter(record["sha256"] for record in self.ledger() if record["accepted"])

    def ledger(self) -> list[dict[str, Any]]:
        if not self.ledger_file.exists():
            return []
        whole, _, _ = self.ledger_file.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.split(b"\n") if line]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Give the lines of all logs with this event; the last line of a killed daemon may be cut."""
        return [
            json.loads(line)
            for line in self.log_file.read_bytes().split(b"\n")
            if f'"{event}"'.encode() in line and line.endswith(b"}")
        ]

    def check_instant(self) -> None:
        """Each dropped file is in one place, each result is whole: the daemon is dead, whenever it died."""
        dropped = dict(self.dropper.dropped)
        stands: Counter[bytes] = Counter()
        for route in ROUTES:
            for role in ("inbox", "inbox/.bulkgpt-watchd", "error", "archive"):
                stands.update(path.read_bytes() for path in self.files(route, role))
            for path in self.files(route, "outbox"):
                assert path.read_bytes() == answer(dropped[f"{route}/{path.name}"]), path
            for path in (self.folders / route).rglob("[!.]*.json"):
                assert path.name == "route.json" or json.loads(path.read_bytes())["job"], path
        newest = list(dropped)[-1:] if self.dropper.is_at_work else []  # it may be on its way
        lost = [name for name, content in dropped.items() if stands[content] != 1 and name not in newest]
        assert not lost, {name: stands[dropped[name]] for name in lost}
        assert set(self.accepted().values()) <= {1}

    def files(self, route: str, role: str) -> list[Path]:
        """Give the visible files of a folder."""
        folder = self.folders / route / role
        found = folder.iterdir() if folder.exists() else ()
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def left_over(self) -> list[Path]:
        """
        Give what must not be there when all has ended: anything in inbox and work, and any dot-file elsewhere.

        Shape: without the traces of open doubts; see `traces`.
        """
        return [
            path
            for route in self.routes
            for path in (self.folders / route).rglob("*")
            if path.is_file() and path.name != "route.json" and (path.name.startswith(".") or "/inbox/" in str(path))
            if job_of_trace(path.name) is None
        ]

    def traces(self) -> list[Path]:
        """Give what tells in work of open doubts."""
        return [path for route in self.routes for path in (self.folders / route / "inbox").rglob("????????.error.json")]


def wait_until(condition: Callable[[], object], within_s: float) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, f"not so within {within_s:g} s"
        time.sleep(0.02)
