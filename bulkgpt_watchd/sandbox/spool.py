"""
Keep on disk what comes in and what goes out: 10,000 small files or a few of 1 GB, all in one file without a name.

A file without a name is gone when the process is, however it ends. Methods block; for what is large, callers use a
thread.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import BinaryIO

SMALL_BYTES = 64 * 1024
"""Up to here the event loop reads and writes by itself; a thread costs more than such a block."""


class Spool:
    """Append blocks and read them again; safe from several threads."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="bulkgpt-sandbox-", buffering=0)  # noqa: SIM115  # close() ends it
        self._lock = threading.Lock()
        self._end = 0

    def append(self, block: bytes) -> tuple[int, int]:
        """
        Write a block and return its place: offset and length.

        Errors: ValueError after close(), OSError of the disk.
        """
        with self._lock:  # held while writing, so that close() cannot hand the descriptor to somebody else meanwhile
            offset, done = self._end, 0
            while done < len(block):
                done += os.pwrite(self._file.fileno(), block[done:] if done else block, offset + done)
            self._end += done
        return offset, done

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        with self._lock:
            self._file.close()


class Stored:
    """Something in the spool, in one or more blocks."""

    __slots__ = ("_extents", "_spool", "size_bytes")

    def __init__(self, spool: Spool, blocks: Iterable[bytes] = ()) -> None:
        self._spool = spool
        self._extents: list[tuple[int, int]] = []
        self.size_bytes = 0
        for block in blocks:
            self.append(block)

    def append(self, block: bytes) -> None:
        if block:  # an empty one would look like the end to a reader
            self._extents.append(self._spool.append(block))
            self.size_bytes += len(block)

    def beside(self, blocks: Iterable[bytes]) -> Stored:
        """Store something else in the same spool."""
        return Stored(self._spool, blocks)

    def blocks(self) -> Iterator[bytes]:
        return (self._spool.read(offset, length) for offset, length in self._extents)

    def read(self) -> bytes:
        return b"".join(self.blocks())

    def open(self) -> BinaryIO:
        return io.BufferedReader(_StoredReader(self.blocks()))

    def contains(self, needle: bytes) -> bool:
        tail = b""
        for block in self.blocks():
            if needle in tail + block:
                return True
            tail = (tail + block)[-len(needle) :]
        return False


class _StoredReader(io.RawIOBase):
    """Give blocks as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # wider in typeshed; BufferedReader hands over a memoryview
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
