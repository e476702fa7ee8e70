"""
Start the command without its imports: a process that has them forks, and the fork goes on as the command does.

A sweep starts it thousands of times, and a start is imports for the most part: two thirds of a second of a processor,
of which nothing that a sweep counts is part.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.crash.processes import ROUTES, Bed, Dropper

PR_SET_CHILD_SUBREAPER = 36
"""Source: linux/prctl.h."""

MOTHER = """
import json, os, sys
import bulkgpt_watchd.cli.run, bulkgpt_watchd.service
for line in sys.stdin:
    if (between := os.fork()) == 0:
        if child := os.fork():
            os.setpgid(child, child)
            os.write(1, b"%d\\n" % child)
            os._exit(0)
        sys.argv[1:], log = json.loads(line)
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        break
    os.waitpid(between, 0)
    os.write(1, b"\\n")
else:
    sys.exit()
bulkgpt_watchd.cli.main()
"""
"""
Forks twice: what lies between ends at once, and the child is ours, who adopt the orphans.

Shape: a line [arguments, log] in; the child's number and, once it is ours, an empty line out.
"""


class ForkingBed(Bed):
    """A bed whose daemons are forks of one process."""

    _mother: subprocess.Popen[bytes]

    @contextmanager
    def mother(self) -> Iterator[None]:
        """Have the process that forks, and be the one who gets its forks."""
        libc = ctypes.CDLL(None)
        with subprocess.Popen(
            [sys.executable, "-c", MOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as self._mother:
            assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
            try:
                yield
            finally:
                libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
                self._mother.kill()

    def begin_anew(self, folder: Path) -> None:
        """Have folders and a state that nobody has seen yet, and nothing accepted."""
        self.folders, self.state = folder, folder / "state" / "state.db"
        self.dropper = Dropper(folder, self.chance)
        for route in ROUTES:
            (folder / route / "inbox").mkdir(parents=True)
        os.truncate(self.ledger_file, 0)
        self.configure()

    def spawn(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return Fork(arguments, log, self._mother)


class Fork(subprocess.Popen[bytes]):
    """Be a child that another process has made for us."""

    def __init__(self, arguments: Sequence[str], log: IO[bytes], mother: subprocess.Popen[bytes]) -> None:
        self._asked = json.dumps([arguments, log.name]).encode()
        self._mother = mother
        super().__init__(arguments)

    def _execute_child(self, *_how: Any) -> None:
        """Have it made, in place of making it."""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(self._asked + b"\n")
        self.pid = int(self._mother.stdout.readline())
        assert self._mother.stdout.readline() == b"\n"
        self._child_created = True
