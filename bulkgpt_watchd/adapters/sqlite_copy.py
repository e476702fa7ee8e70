"""Look through a whole state file, and copy it, beside a daemon or without one. Both only read it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from bulkgpt_watchd.adapters.sqlite_file import FILE_MODE, MIGRATIONS, RESTORE, check_version, connect, opening, trouble
from bulkgpt_watchd.adapters.sqlite_reader import mode
from bulkgpt_watchd.adapters.sqlite_reads import SELECT, facts
from bulkgpt_watchd.adapters.sqlite_rows import job_of
from bulkgpt_watchd.core.errors import DiskTrouble, NameTaken, StateUnusable

FAULTS_AT_MOST = 20
"""Faults that are told: a damaged page has hundreds, and one is enough to restore a copy."""

COPY = ".state-copy."
"""Begins the name of a copy that is not whole yet; then comes the process that makes it."""

WRONG_COUNTS = """
SELECT count(*) FROM (
    SELECT route, state, jobs FROM counts WHERE jobs <> 0
    EXCEPT SELECT route, state, count(*) FROM jobs GROUP BY route, state
)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """
    Hold what a look through a state found.

    Shape: *faults* is empty where it is whole. *newest* is the schema that this version writes.
    Units: *free_bytes* is space inside the file that is used again before it grows.
    """

    faults: tuple[str, ...]
    uuid: str
    created_at: float
    schema: int
    newest: int
    bytes: int
    log_bytes: int
    free_bytes: int


def look_through(path: Path) -> Found:
    """
    Read every page of the state and hold its parts together.

    Errors: StateUnusable: it cannot even be opened, or a newer version wrote it: only that knows when it is whole.
    """
    with opening(path), closing(_connect(path)) as state:
        check_version(state, path, len(MIGRATIONS))
        faults = [row[0] for row in state.execute(f"PRAGMA integrity_check({FAULTS_AT_MOST})") if row[0] != "ok"]
        orphans = state.execute("PRAGMA foreign_key_check").fetchall()
        faults += [f"{len(orphans)} lines of the journal belong to no job"] if orphans else []
        wrong = state.execute(WRONG_COUNTS).fetchone()[0]
        faults += [f"{wrong} numbers of jobs are not what a recount gives"] if wrong else []
        faults += [] if faults else _unreadable(state)
        uuid, created_at = state.execute("SELECT uuid, created_at FROM meta").fetchone()
        schema, free, page = (
            int(state.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("user_version", "freelist_count", "page_size")
        )
    log = f"{path}-wal"
    return Found(
        faults=tuple(faults),
        uuid=str(uuid),
        created_at=float(created_at),
        schema=schema,
        newest=len(MIGRATIONS),
        bytes=os.path.getsize(path),
        log_bytes=os.path.getsize(log) if os.path.exists(log) else 0,
        free_bytes=free * page,
    )


def _unreadable(state: sqlite3.Connection) -> list[str]:
    """Read every job and fact as the daemon does: pages may be whole and hold what nobody wrote."""
    if state.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
        return []
    try:
        facts(state)
        for row in state.execute(SELECT):
            job_of(row)
    except (ValueError, sqlite3.OperationalError) as error:
        return [f"a job or a fact cannot be read: {error}"]
    return []


def back_up(path: Path, target: Path) -> int:
    """
    Copy the state to *target*, as it is at one instant; give the bytes.

    The copy appears under its name only when it is whole, was read through and is on disk.
    Errors: NameTaken: *target* is there. DiskTrouble: it cannot be written. StateUnusable.
    Repeat: yes, to another name.
    """
    _sweep(target.parent)
    new = target.with_name(f"{COPY}{os.getpid()}.new")  # short, so that what SQLite adds fits wherever FILE does
    if os.path.lexists(target):
        raise NameTaken(f"{target} is there already; nothing was written")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)
        os.close(descriptor)
    except OSError as error:
        raise DiskTrouble(f"the copy {target} cannot be made: {error.strerror}") from error
    try:
        _copy(path, new)
        _publish(new, target)
    except (OSError, sqlite3.Error) as error:
        told = trouble(path, error) if isinstance(error, sqlite3.Error) else None
        if isinstance(told, StateUnusable):
            raise told from error
        raise DiskTrouble(f"the copy {target} of {path} cannot be made: {error}") from error
    finally:
        for leftover in (new, f"{new}-journal", f"{new}-wal", f"{new}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(leftover)
    return os.path.getsize(target)


def _sweep(folder: Path) -> None:
    """Remove what copies left that were cut off: the process that such a name tells is gone, or is this one."""
    for left in folder.glob(f"{COPY}*.new*"):
        pid = left.name.removeprefix(COPY).partition(".")[0]
        if pid.isdecimal() and (pid == str(os.getpid()) or not os.path.exists(f"/proc/{pid}")):
            with suppress(OSError):
                left.unlink()


def _copy(path: Path, new: Path) -> None:
    how = None
    while how != (how := mode(path)):  # without a daemon the log is not read: one that starts meanwhile begins one
        with closing(_connect(path)) as state, closing(sqlite3.connect(new, isolation_level=None)) as copy:
            state.backup(copy)  # all pages in one step: a snapshot, and the daemon goes on writing
    with closing(connect(new, "mode=ro&immutable=1")) as copy:
        verdict = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StateUnusable(f"the copy of {path} would be damaged ({verdict}); see `bulkgpt-watchd state check`")


def _publish(new: Path, target: Path) -> None:
    descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)
    try:
        os.link(new, target)  # never over another file
    except FileExistsError:
        raise NameTaken(f"{target} is there already; nothing was written") from None
    except OSError:  # no links on this file system
        if os.path.lexists(target):
            raise NameTaken(f"{target} is there already; nothing was written") from None
        os.rename(new, target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the state whatever its schema, for a copy before an upgrade too."""
    with opening(path):
        if os.path.getsize(path) == 0:
            raise StateUnusable(f"the state {path} is empty: it was truncated. {RESTORE}.")
        return connect(path, mode(path))
