"""
Turn what the kernel refused into our exceptions, with a text that names the act, the path, the user and the reason.

Who is to blame decides: one file of a user (gone, or held by somebody), or a whole place (full, read-only, dead).
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkgpt_watchd.core.errors import DiskTrouble, InUse, SourceVanished, WatchdError
from bulkgpt_watchd.core.names import printable

NOT_THERE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})
"""Gone, or something else than a file by now: ELOOP is a symbolic link, ENXIO a socket, ENODEV a device, open(2)."""

BUSY = frozenset({errno.EBUSY, errno.EAGAIN, errno.ESTALE, errno.ETXTBSY})
"""Held by somebody, or exchanged on the server: it passes (contract: what is taken, and when)."""

FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
"""On a user's file these mean the same as BUSY: SMB says "access denied" of a file that is open elsewhere."""

BY_UNIT = " (where only the service finds it so, its unit must allow it: see `bulkgpt-watchd config systemd`)"

NO_FILES_FAULT = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
    }
)
"""Out of descriptors or memory, server away: true of every file of the folder, so no single one is marked for it."""


def shown(path: str | Path) -> str:
    """Show a path to a person."""
    return printable(os.fspath(path))


def told(error: OSError, doing: str, path: str | Path) -> str:
    """Say what was not possible, where, and why."""
    reason = (error.strerror or str(error)).lower()
    user = f" for {who()}" if error.errno in FORBIDDEN else ""
    advice = BY_UNIT if error.errno == errno.EROFS else ""
    return f"cannot {doing} {shown(path)}: {reason}{user}{advice}"


def right_missing(error: OSError, doing: str, folder: str | Path, rights: str) -> str:
    """Say which right is missing on which folder, for whom, and the command that gives it."""
    user = who()
    name = user.removeprefix("user ").partition(" (")[0].removeprefix("uid ")
    reason = (error.strerror or str(error)).lower()
    if not _mode(folder) & 0o777:  # nobody closes a folder so, but systemd with the homes (ProtectHome=)
        return f"{doing}: {reason} for {user}{BY_UNIT}"
    place = shlex.quote(shown(folder))
    # Of an owner's rights the mode alone decides.
    fix = f"chmod u+{rights} {place}" if _is_ours(folder) else f"setfacl -m u:{name}:{rights} {place}"
    return f"{doing}: {reason} for {user}, who needs {rights} on {shown(folder)}; fix, as its owner or root: {fix}"


def _mode(folder: str | Path) -> int:
    """Give the mode; where it cannot be known, that of a folder that is open to all."""
    try:
        return os.stat(folder).st_mode
    except OSError:
        return 0o777


def _is_ours(folder: str | Path) -> bool:
    try:
        return os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return False


def who() -> str:
    """Name the user that we are to the kernel."""
    uid = os.geteuid()
    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def of_source(error: OSError, doing: str, path: str | Path) -> WatchdError:
    """Name whose fault an error at a user's file is."""
    if error.errno in NOT_THERE:
        return SourceVanished(told(error, doing, path))
    if error.errno in BUSY | FORBIDDEN:
        return InUse(told(error, doing, path))
    return DiskTrouble(told(error, doing, path))


def of_place(error: OSError, doing: str, path: str | Path) -> WatchdError:
    """Name whose fault an error at a folder, or at a file of ours, is."""
    return InUse(told(error, doing, path)) if error.errno in BUSY else DiskTrouble(told(error, doing, path))


@contextmanager
def at_source(doing: str, path: str | Path) -> Iterator[None]:
    """Let no OSError out: what fails inside is about a user's file."""
    try:
        yield
    except OSError as error:
        raise of_source(error, doing, path) from error


@contextmanager
def at_place(doing: str, path: str | Path) -> Iterator[None]:
    """Let no OSError out: what fails inside is about a place."""
    try:
        yield
    except OSError as error:
        raise of_place(error, doing, path) from error
