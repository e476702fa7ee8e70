"""
Own the state file: its lock, its making, its checks, its migrations, and how a connection to it is set up.

Its one rule: never start empty where something was. A new state appears whole, by one rename; whatever else is found
under its name is this program's database or refused.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from bulkgpt_watchd.core.errors import DiskTrouble, StateLocked, StateUnusable, WatchdError

APPLICATION_ID = 0x62677764  # "bgwd": tells our file from another program's

MIGRATIONS: tuple[str, ...] = tuple(
    entry.read_text(encoding="utf-8")
    for entry in sorted(files("bulkgpt_watchd.adapters").joinpath("sql").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".sql")
)
"""The schema in steps; a state's `user_version` counts those that it has."""

CHECKED_BYTES = 64 << 20
"""Up to here every start reads the whole file: under 0.1 s when cached, under 1 s from a slow disk. A cut at the end or
a foreign page 1 is seen at any size, and `state check` reads the rest."""

BUSY_TIMEOUT_S = 5.0
"""Only a reader that just recovers the log after a crash holds us up, for milliseconds."""

LOG_LIMIT_BYTES = 64 << 20
"""A log that grew while somebody read for long is cut back to this."""

FILE_MODE = 0o640  # members of the service's group may read, as the commands that show something do

_REFUSED = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p"}  # and fuse.*: locks and shared memory there are promises

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DISK = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
}

RESTORE = (
    "Put a copy made with `bulkgpt-watchd state backup` in its place and remove -wal and -shm beside it;"
    " do not just delete it while files are in work"
)
"""A log that was left beside another copy would be merged into it."""


def damaged(path: Path, error: Exception) -> StateUnusable:
    """Say that the state is damaged, and what to do."""
    return StateUnusable(f"the state {path} is damaged: {error}. {RESTORE}.")


def trouble(path: Path, error: sqlite3.Error) -> WatchdError | None:
    """Say what an error of SQLite means for the whole state; None: it is about one statement, and so our bug."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest tells more
    # Without a code, the module itself could not decode what is there; misuse of it is another class.
    if code in _DAMAGED or (code == 0 and isinstance(error, sqlite3.OperationalError)):
        return damaged(path, error)
    if code in _DISK:
        return DiskTrouble(f"the state {path} cannot be used now: {error}")
    return None


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turn what goes wrong on the way to an open state into StateUnusable."""
    try:
        yield
    except StateUnusable:
        raise
    except DiskTrouble as error:
        raise StateUnusable(str(error)) from error
    except ValueError as error:  # text that is no UTF-8, a state that there is not
        raise damaged(path, error) from error
    except (sqlite3.Error, OSError) as error:
        known = trouble(path, error) if isinstance(error, sqlite3.Error) else None
        raise StateUnusable(str(known or f"the state {path} cannot be opened: {error}")) from error


def refuse_network(path: Path, fstype: str) -> None:
    """Refuse what is not a local file system."""
    if fstype in _REFUSED or fstype.startswith("fuse"):
        raise StateUnusable(
            f"the state {path} lies on {fstype}, which cannot be trusted with it: put `state.path` on a local disk"
        )


def lock(path: Path) -> int:
    """
    Take the lock beside the state and give its descriptor; closing it, or the end of the process, frees the lock.

    Errors: StateLocked, StateUnusable: the folder is missing, OSError.
    """
    if not path.parent.is_dir():
        raise StateUnusable(f"the folder {path.parent} of the state is missing: create it, or set `state.path`")
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise StateLocked(f"the state {path} is held by another instance (pid {holder})") from error
        raise
    return descriptor


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """
    Open a state that is there, without a setting; never creates one.

    Shape: *mode* is what stands after `?` in SQLite's URI.
    Errors: sqlite3.Error, StateUnusable: it is another program's.
    """
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{mode}", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )
    try:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StateUnusable(f"{path} is a SQLite file, but not the state of bulkgpt-watchd: set `state.path`")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_write(path: Path) -> sqlite3.Connection:
    """
    Open the one writing connection.

    Errors: sqlite3.Error, StateUnusable.
    Source: 80 simulated power cuts: FULL lost nothing that was acknowledged, NORMAL 69 to 104 of 60 files' commits.
    """
    connection = connect(path, "mode=rw")
    try:
        journal_mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}")
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
        if (journal_mode, synchronous) != ("wal", 2):
            raise StateUnusable(f"the state {path} cannot be kept safely: {journal_mode=}, {synchronous=}")
    except BaseException:
        connection.close()
        raise
    return connection


def check_version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """Give the state's schema, or refuse one that a newer program wrote."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise StateUnusable(
            f"the state {path} has schema {version}, and this version knows up to {newest}: install the newer"
            f" version again, or restore the copy that it made before its upgrade ({path}.before-*)"
        )
    return version


def prepare(
    path: Path, now: Callable[[], float], new_uuid: Callable[[], str], migrations: Sequence[str] = MIGRATIONS
) -> str:
    """
    Leave a whole and current state at *path*, made, or checked and migrated; give its UUID. The caller holds the lock.

    Errors: StateUnusable, sqlite3.Error, OSError.
    Repeat: yes; a start that was cut leaves no state, or the old one.
    """
    if not os.path.lexists(path):
        if os.path.exists(f"{path}-wal"):
            raise StateUnusable(f"the state {path} is gone, but its log {path}-wal is there. {RESTORE}.")
        _create(path, now(), new_uuid(), migrations)
    if os.path.getsize(path) == 0:
        raise StateUnusable(f"the state {path} is empty: it was truncated. {RESTORE}.")
    # One that may write merges the log into what is damaged. A journal is there instead of a log where the first start
    # was cut as it began one; only who may write can undo that.
    with closing(connect(path, "mode=rw" if os.path.exists(f"{path}-journal") else "mode=ro")) as connection:
        version = check_version(connection, path, len(migrations))
        if os.path.getsize(path) <= CHECKED_BYTES:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise StateUnusable(f"the state {path} is damaged: {verdict}. {RESTORE}.")
    with closing(connect_to_write(path)) as connection:
        if version < len(migrations):
            _back_up(connection, Path(f"{path}.before-{len(migrations):04}"))
            _migrate(connection, migrations, version)
        return str(connection.execute("SELECT uuid FROM meta").fetchone()[0])


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str], version: int, more: str = "") -> None:
    script = "\n".join(migrations[version:])
    connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{more}\nPRAGMA user_version = {len(migrations)};\nCOMMIT;")


def _create(path: Path, created_at: float, uuid: str, migrations: Sequence[str]) -> None:
    new = Path(f"{path}.new")
    _remove(new)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        _migrate(connection, migrations, 0, f"PRAGMA application_id = {APPLICATION_ID};")
        connection.execute("INSERT INTO meta VALUES (?, ?)", (uuid, created_at))
    _publish(new, path)


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    new = Path(f"{target}.new")
    _remove(new)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
    with closing(sqlite3.connect(new, isolation_level=None)) as copy:
        connection.backup(copy)
    _publish(new, target)


def _remove(path: Path) -> None:
    for name in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(name)


def _publish(new: Path, path: Path) -> None:
    for target in (new, path.parent):
        descriptor = os.open(target, os.O_RDONLY)
        os.fsync(descriptor)
        if target is new:
            os.rename(new, path)
        os.close(descriptor)
