"""Other disks and other users for the tests of folders."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bulkgpt_watchd.core.job import Stamp

NOBODY = 65534
"""The user and group that every Linux has for nobody."""

needs_two_users = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for two users; run these as root")

T = TypeVar("T")


@contextmanager
def memory_disk() -> Iterator[Path]:
    """Give a folder in memory, where fsync costs nothing, and which every user may pass through."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def other_disk(than: Path) -> Iterator[Path]:
    """Give a folder on another file system."""
    with memory_disk() as folder:
        if folder.stat().st_dev == than.stat().st_dev:
            pytest.fail(f"{than} lies on the file system of /dev/shm; set TMPDIR to a disk")
        yield folder


def as_user(act: Callable[[], T]) -> T:
    """Do it in a process of a user without rights; where we are one, just do it."""
    if os.geteuid() != 0:
        return act()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, none of which the child needs
        child = os.fork()
    if child == 0:
        result: Any
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            result = (True, act())
        except BaseException as error:  # noqa: BLE001 whatever it is, the parent shall see it
            result = (False, error)
        os.write(writing, pickle.dumps(result))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    is_done, value = pickle.loads(content)
    if not is_done:
        raise value
    return value  # type: ignore[no-any-return]  # it comes out of a pipe


def put(path: Path, content: bytes = b"a,b\n1,2\n") -> Stamp:
    """Write a file as a user would, and give its stamp."""
    path.write_bytes(content)
    return stamp(path)


def stamp(path: Path) -> Stamp:
    found = path.lstat()
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))
