"""Read a small file whole, or a folder, or say in plain words why not."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path


class Unreadable(Exception):
    """Say why a file cannot be read, as the end of a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class SmallFile:
    """Hold a file's content and its permission bits."""

    content: bytes
    mode: int


def user_name() -> str:
    """Name the user that we run as."""
    return _name_of(os.geteuid())


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # containers run as a bare number
        return f"uid {uid}"


def read_small(path: Path, limit_bytes: int) -> SmallFile:
    """
    Read a regular file of at most *limit_bytes*.

    Errors: Unreadable.
    """
    try:
        # Not blocking: opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise Unreadable(_reason(path, error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise Unreadable(_reason(path, error)) from None
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise Unreadable(f"is larger than {limit_bytes} bytes")
    return SmallFile(content, stat.S_IMODE(status.st_mode))


def read_names(folder: Path) -> list[str]:
    """
    Give the names in a folder, in the order of their bytes.

    Errors: Unreadable.
    """
    try:
        return sorted(os.listdir(folder), key=os.fsencode)
    except NotADirectoryError:
        raise Unreadable("is not a folder") from None
    except OSError as error:
        raise Unreadable(_reason(folder, error)) from None


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if not isinstance(error, PermissionError):
        return f"cannot be read: {os.strerror(error.errno or 0)}"
    try:
        status = os.stat(path)
    except OSError:
        return f"cannot be read by user {user_name()}, who may not enter a folder on the way to it"
    mode = stat.S_IMODE(status.st_mode)
    return f"cannot be read by user {user_name()}: its mode is {mode:04o} and its owner is {_name_of(status.st_uid)}"
