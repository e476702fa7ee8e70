"""One process of the daemon, and the log it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SOON_S = float(os.environ.get("SOON_S", "30"))
"""
Longest wait for anything; what is waited for takes a fraction of a second, but the machine may be busy.

A slow machine says so in its environment.
"""

LOOKS_EVERY_S = 0.03

ENDS = frozenset({"job.done", "job.quarantined", "job.withdrawn"})
"""Events that tell the end of a job."""

COMMAND = (sys.executable, "-W", "error", "-m", "bulkgpt_watchd")

LOST_RIGHTS = "-dac_override,-dac_read_search,-fowner,-chown"
AS_MORTAL = ("setpriv", "--bounding-set", LOST_RIGHTS) if os.geteuid() == 0 else ()
"""Put before a command so that permissions bind it, whoever runs the tests."""


class Daemon:
    """One process of the daemon, and the log it writes."""

    def __init__(
        self, arguments: Iterable[str], log: Path, environ: dict[str, str], before: Iterable[str] = ()
    ) -> None:
        self.log_file = log
        self._read_bytes = 0
        self._lines: list[dict[str, Any]] = []
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(
                [*before, *COMMAND, "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environ,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Give the lines of the log; each must be one JSON object. What was read before is not read again."""
        with open(self.log_file, "rb") as file:
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole + newline)
        for line in whole.split(b"\n") if newline else ():
            try:
                self._lines.append(json.loads(line))
            except ValueError:
                raise AssertionError(f"not JSON: {line.decode(errors='replace')}") from None
        return self._lines

    def told(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """Give the lines with this event and these facts."""
        return [
            line
            for line in self.lines()
            if line["event"] == event and all(line.get(key) == value for key, value in facts.items())
        ]

    def wait_for(self, event: str, *, within_s: float = SOON_S, **facts: Any) -> dict[str, Any]:
        """Wait for the first line with this event and these facts."""
        return wait(lambda: self.told(event, **facts) or None, f"{event} {facts}", within_s, self)[0]

    def wait_for_lines(self, count: int) -> None:
        """Wait until the log has so many lines."""
        wait(lambda: len(self.lines()) >= count, f"{count} lines", SOON_S, self)

    def ends(self) -> int:
        """Count the ends of jobs that the log tells of."""
        return sum(line["event"] in ENDS for line in self.lines())

    def memory_bytes(self, key: str) -> int:
        """Give one of the sizes in /proc/PID/status, such as VmRSS or VmHWM (the peak)."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            [line] = [line for line in file if line.startswith(f"{key}:")]
        return int(line.split()[1]) * 1024

    def ended(self, within_s: float = SOON_S) -> int:
        """Wait for its end; give the exit code."""
        return self.process.wait(within_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask for a graceful end; give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        return self.log_file.read_text(errors="replace")[-3000:]


def wait(condition: Callable[[], T | None], what: str, within_s: float = SOON_S, daemon: Daemon | None = None) -> T:
    """Look again and again until there is something; fail when that takes too long, or its daemon ended."""
    ends_at = time.monotonic() + within_s
    while True:
        is_over = time.monotonic() > ends_at or (daemon is not None and daemon.process.poll() is not None)
        if found := condition():
            return found
        if is_over:
            told = f"; it ended with {daemon.process.poll()}, its log ends:\n{daemon.tail()}" if daemon else ""
            raise AssertionError(f"still not so after {within_s:g} s: {what}{told}")
        time.sleep(LOOKS_EVERY_S)
