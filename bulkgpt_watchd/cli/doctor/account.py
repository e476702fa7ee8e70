"""Find out as which user the daemon runs, and look with that user's rights, in a process that may hang or die."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bulkgpt_watchd.cli.doctor.unit import Unit

READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Account:
    """
    Hold the user with whose rights is looked, and why this one.

    Shape: not *is_daemons*: somebody else's, whose rights tell nothing of the daemon's.
    """

    uid: int
    gid: int
    name: str
    why: str
    is_daemons: bool = True

    def __str__(self) -> str:
        return f"user {self.name} (uid {self.uid})"


def choose(unit: Unit, pid: int | None, state: Path) -> Account:
    """Take the user of the daemon that runs, else of its unit, else of its state; else ourselves."""
    us = _of(os.geteuid(), "who runs this command")
    candidate: Account | None = None
    if pid is not None:
        with suppress(OSError):
            candidate = _of(os.stat(f"/proc/{pid}").st_uid, "as whom the daemon runs")
    if candidate is None and unit.is_there:
        with suppress(KeyError):
            candidate = _of(pwd.getpwnam(unit.user).pw_uid, f"User= of {unit.name}")
    if candidate is None:
        with suppress(OSError):
            candidate = _of(os.stat(state).st_uid, "who owns the state")
    if candidate is None or candidate.uid == us.uid:
        return candidate or us
    if us.uid == 0:
        return candidate
    return replace(us, why=f"your rights are not those of {candidate.name}, {candidate.why}", is_daemons=False)


def _of(uid: int, why: str) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # containers run as a bare number
        return Account(uid, os.getegid(), str(uid), why)
    return Account(uid, entry.pw_gid, entry.pw_name, why)


def environ_of(pid: int) -> dict[str, str] | None:
    """Give the environment that a process was started with; None: it is not ours to know."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    return dict(os.fsdecode(entry).partition("=")[::2] for entry in content.split(b"\0") if entry)


def apart(account: Account, look: Callable[[], Any], deadline_s: float) -> Any:
    """
    Look in a process of its own, with the rights of *account*.

    Shape: *look* gives what JSON can carry.
    Errors: TimeoutError: it hangs, and is left behind. RuntimeError: it failed; has its traceback.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of forks beside threads; the child takes no lock of theirs
        pid = os.fork()
    if pid == 0:
        _look_and_end(account, look, writing)
    os.close(writing)
    try:
        answer = json.loads(_read(reading, time.monotonic() + deadline_s))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return answer["found"]


def _look_and_end(account: Account, look: Callable[[], Any], writing: int) -> None:
    try:
        if account.uid != os.geteuid():
            os.setgroups(os.getgrouplist(account.name, account.gid))
            os.setgid(account.gid)
            os.setuid(account.uid)
        answer = {"found": look()}
    except BaseException:  # noqa: BLE001 whatever it is, the other process tells it
        answer = {"failed": traceback.format_exc()}
    with os.fdopen(writing, "w") as pipe:
        json.dump(answer, pipe)
    os._exit(0)


def _read(reading: int, ends_at: float) -> bytes:
    content = b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(ends_at - time.monotonic(), 0))
        if not ready:
            raise TimeoutError
        block = os.read(reading, READ_BYTES)
        if not block:
            return content
        content += block
