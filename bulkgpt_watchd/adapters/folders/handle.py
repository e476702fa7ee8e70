"""Read and write an open file through our kernel, so that its errors are ours too."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from bulkgpt_watchd.adapters.folders.kernel import Kernel
from bulkgpt_watchd.adapters.folders.trouble import at_place

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Handle(io.RawIOBase):
    """
    Own one descriptor; `io.BufferedReader` and `io.BufferedWriter` add the loops around short reads and writes.

    Errors of every call: InUse, DiskTrouble.
    """

    def __init__(self, kernel: Kernel, opened: int, path: str) -> None:
        super().__init__()
        self._kernel = kernel
        self._opened = opened
        self._path = path

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._opened

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with at_place("read", self._path):
            block = self._kernel.read(self._opened, len(view))
        view[: len(block)] = block
        return len(block)

    def write(self, block: ReadableBuffer, /) -> int:
        with at_place("write", self._path):
            return self._kernel.write(self._opened, block)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with at_place("read", self._path):
            return self._kernel.lseek(self._opened, offset, whence)

    def close(self) -> None:
        if not self.closed:
            super().close()
            # NFS tells of a write that failed only here; whoever wrote has called fsync before.
            with at_place("close", self._path):
                self._kernel.close(self._opened)


class Source(io.BufferedReader):
    """
    Be a file that is being read.

    Shape: a block is no larger than the file, for memory is taken for all that is asked for, and what is left of it
        between other things is too small for the next.
    """

    def __init__(self, kernel: Kernel, opened: int, path: str, size_bytes: int) -> None:
        super().__init__(Handle(kernel, opened, path))
        self._most_bytes = max(size_bytes + 1, io.DEFAULT_BUFFER_SIZE)  # one more, so that the end is met at once

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None else min(size, self._most_bytes))


class Target(io.BufferedWriter):
    """
    Be a file of ours that is being written.

    Shape: *whole_mode* is what it gets when it is whole; None: it was created with the one that it keeps.
    """

    def __init__(self, kernel: Kernel, opened: int, path: str, whole_mode: int | None) -> None:
        super().__init__(Handle(kernel, opened, path))
        self.path = path
        self.whole_mode = whole_mode

    def close(self) -> None:
        """Close without writing what is still buffered: without `finish` nobody wants it, and the disk may be full."""
        self.raw.close()
