"""
Run the command with a mistake in it, or stop it at one instant: `python -m tests.power.broken WHAT run …`.

It shows that the bed would catch the mistake. WHAT is one of these, or several, with commas between them:

    synchronous=NORMAL      SQLite brings commits to disk when it likes
    no-witness              the file in work does not get its sent name
    no-fsync=CALL:KIND      the fsyncs of files, or of folders, are left out in one call of `LocalFolders`
    stop-after=N            stop after the n-th step: a change (a call that changes something in the folders), a commit
                            of the state, an upload that begins, its answer, a question about a task; with `N:answer`
                            and the like only these count
"""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bulkgpt_watchd.adapters import sqlite_thread
from bulkgpt_watchd.adapters.api import HttpApi
from bulkgpt_watchd.adapters.folders import Kernel, LocalFolders, opening
from bulkgpt_watchd.adapters.folders.claim import Claiming
from bulkgpt_watchd.adapters.sqlite_file import connect_to_write
from bulkgpt_watchd.cli import main
from bulkgpt_watchd.core.ports import Upload
from bulkgpt_watchd.core.wire import TaskStatus
from tests.adapters.kernels import Hooked, is_change


def relax(synchronous: str) -> None:
    """Let commits wait for a disk less than they must."""

    def connect(path: Path) -> sqlite3.Connection:
        connection = connect_to_write(path)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        return connection

    sqlite_thread.connect_to_write = connect  # type: ignore[attr-defined]  # it is imported there


def leave_out_witness() -> None:
    """Leave the file in work under its plain name."""
    rename = Claiming.rename_in_work

    def rename_others(self: Claiming, work: Path, source: str, target: str) -> None:
        if ".sent-" not in target:
            rename(self, work, source, target)

    Claiming.rename_in_work = rename_others  # type: ignore[method-assign]  # that is the mistake


class Hasty(Kernel):
    """Bring nothing of one kind to disk."""

    def __init__(self, kind: str) -> None:
        self._is_left_out = {"file": stat.S_ISREG, "folder": stat.S_ISDIR}[kind]

    def fsync(self, opened: int) -> None:  # type: ignore[override]  # there it is the system call itself
        if not self._is_left_out(os.fstat(opened).st_mode):
            os.fsync(opened)


def leave_out_fsync(call: str, kind: str) -> None:
    """Do one call without bringing to disk what it should."""
    hasty, careful = LocalFolders(Hasty(kind)), getattr(LocalFolders, call)
    setattr(LocalFolders, call, lambda _, *args, **named: careful(hasty, *args, **named))


class Steps:
    """Count what changes something, and stop this very thread, and so all, after the n-th time."""

    def __init__(self, stops_after: int, only: str | None) -> None:
        self._left = stops_after
        self._only = only
        self._lock = threading.Lock()

    def step(self, kind: str) -> None:
        with self._lock:  # held while stopped: whoever else has just changed something waits here
            self._left -= self._only in {None, kind}
            if self._left == 0:
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


class Stepping(Hooked):
    """Count the calls that change something."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        result = call(*args, **named)
        if is_change(name, args):
            self.steps.step("change")
        return result


def stop_after(number: int, only: str | None = None) -> None:
    """Stop between two changes, as a cut may come there."""
    steps = Steps(number, only)
    write = sqlite_thread.CommitThread._write  # noqa: SLF001  # a commit has no name outside
    submit, status = HttpApi.submit, HttpApi.status

    def write_and_step(self: sqlite_thread.CommitThread, requests: Sequence[Any]) -> None:
        write(self, requests)
        steps.step("commit")

    async def submit_and_step(self: HttpApi, upload: Upload, pass_point: Callable[[], Any]) -> str:
        steps.step("upload")
        task_id = await submit(self, upload, pass_point)
        steps.step("answer")
        return task_id

    async def step_and_ask(self: HttpApi, task_id: str) -> TaskStatus:
        steps.step("question")
        return await status(self, task_id)

    opening.Kernel = lambda: Stepping(steps)  # type: ignore[attr-defined,assignment]  # what `LocalFolders` takes
    sqlite_thread.CommitThread._write = write_and_step  # type: ignore[method-assign]  # noqa: SLF001  # as above
    HttpApi.submit = submit_and_step  # type: ignore[method-assign]  # the instant between answer and commit
    HttpApi.status = step_and_ask  # type: ignore[method-assign]  # the instant after the commit of a task ID


def break_it(what: str) -> None:
    match what.split("="):
        case ["synchronous", value]:
            relax(value)
        case ["no-witness"]:
            leave_out_witness()
        case ["no-fsync", call_and_kind]:
            leave_out_fsync(*call_and_kind.split(":"))
        case ["stop-after", which]:
            number, _, only = which.partition(":")
            stop_after(int(number), only or None)
        case _:
            raise ValueError(what)


if __name__ == "__main__":
    for mistake in sys.argv.pop(1).split(","):
        break_it(mistake)
    main()
