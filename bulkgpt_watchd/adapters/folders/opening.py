"""
Open folders and files by descriptor, and be led nowhere by a symbolic link of a user.

The way to a folder is walked part by part. A link on it is followed only where root or we made it, as an administrator
does who keeps the data on another disk; whoever else may write beside a folder of ours cannot lead us elsewhere. What
happens inside a folder is done relative to its descriptor, and a name in it that is a link is never followed.

Source: openat2(RESOLVE_NO_SYMLINKS) would be one call, but is ENOSYS under systemd's `RestrictSUIDSGID=`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from bulkgpt_watchd.adapters.folders.kernel import Kernel
from bulkgpt_watchd.adapters.folders.trouble import at_source, right_missing, shown, told, who
from bulkgpt_watchd.core.errors import DiskTrouble, SourceVanished
from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.names import printable

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""O_NONBLOCK: opening a FIFO must not wait for a writer; O_NOCTTY: nor a terminal become ours."""

CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

PASS_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""For the folders on the way, which we may only pass through."""

LINK_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

MAX_LINKS = 40
"""What the kernel follows on one way (path_resolution(7)); more is a circle."""

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}

UNSYNCABLE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems say that have no fsync for folders (9p, old CIFS); their renames are the server's to keep."""


@dataclass(frozen=True, slots=True)
class At:
    """Point at a name in an open folder; *path* is for texts only."""

    folder: int
    name: str
    path: str


def stamp_from(found: os.stat_result) -> Stamp:
    """Keep what tells one look at a file from the next."""
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def is_same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    """Tell whether two looks were at the same inode."""
    return one is not None and other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


class FolderMissing(DiskTrouble):
    """Tell, within this package, a folder that is not there from one that is in trouble."""


class Opening:
    """Open and look, for all parts of `LocalFolders`."""

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel or Kernel()

    def _open_folder(self, path: Path) -> int:
        """
        Open a folder.

        Errors: DiskTrouble: it is missing, no folder, not open to us, or somebody's symbolic link leads there.
        """
        try:
            return self._walk_to(path)
        except FileNotFoundError as error:
            raise FolderMissing(f"the folder {shown(path)} is missing") from error
        except PermissionError as error:
            where = error.filename or os.path.abspath(path)
            is_way = where != os.path.abspath(path)
            text = f"cannot get to the folder {shown(path)}" if is_way else f"cannot open the folder {shown(path)}"
            raise DiskTrouble(right_missing(error, text, where, "x" if is_way else "rwx")) from error
        except OSError as error:
            raise DiskTrouble(told(error, "open the folder", path)) from error

    def _walk_to(self, path: Path) -> int:
        kernel, ahead, links = self._kernel, list(PurePath(os.path.abspath(path)).parts), 0
        folder, here = kernel.open("/", PASS_FLAGS), PurePath("/")
        try:
            while ahead:
                part = ahead.pop(0)
                inner = self._enter(folder, part, path)
                if isinstance(inner, PurePath):
                    links += 1
                    if links > MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    ahead[:0] = inner.parts
                else:
                    kernel.close(folder)
                    folder, here = inner, here / part
            return kernel.open(".", FOLDER_FLAGS, dir_fd=folder)
        except PermissionError as error:
            raise PermissionError(error.errno, error.strerror, str(here)) from error
        finally:
            kernel.close(folder)

    def _enter(self, folder: int, part: str, path: Path) -> int | PurePath:
        """Open one part of the way, or say where its link leads."""
        try:
            return self._kernel.open(part, PASS_FLAGS, dir_fd=folder)
        except NotADirectoryError:
            link = self._kernel.open(part, LINK_FLAGS, dir_fd=folder)
            try:
                found = self._kernel.fstat(link)
                if not stat.S_ISLNK(found.st_mode):
                    raise
                if found.st_uid not in {0, os.geteuid()}:
                    text = f"{printable(part)} in {shown(path)} is a symbolic link of uid {found.st_uid}"
                    raise DiskTrouble(f"{text}; only links of root and of {who()} are followed") from None
                return PurePath(self._kernel.readlink("", dir_fd=link))
            finally:
                self._kernel.close(link)

    @contextmanager
    def _folder(self, path: Path) -> Iterator[int]:
        """Open a folder for as long as it is needed."""
        folder = self._open_folder(path)
        try:
            yield folder
        finally:
            self._kernel.close(folder)

    @contextmanager
    def _at(self, path: Path) -> Iterator[At]:
        """Open the folder of a path; the last part is a name in it, whatever is there."""
        with self._folder(path.parent) as folder:
            yield At(folder, path.name, os.fspath(path))

    @contextmanager
    def _below(self, root: Path, file: str) -> Iterator[At]:
        """
        Open the folder that holds *file*, a path relative to *root*.

        Errors: DiskTrouble: of the root. SourceVanished, InUse: a folder below it is gone, or closed to us.
        """
        *between, name = file.split("/")
        path = os.path.join(root, file)
        folder = self._open_folder(root)
        try:
            with at_source("open the folder of", path):
                for part in between:
                    inner = self._kernel.open(part, FOLDER_FLAGS, dir_fd=folder)
                    self._kernel.close(folder)
                    folder = inner
            yield At(folder, name, path)
        finally:
            self._kernel.close(folder)

    def _look_at(self, at: At) -> os.stat_result | None:
        """Give what is known of a name without opening or following it; None: nothing is there."""
        try:
            return self._kernel.stat(at.name, dir_fd=at.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _open_regular(self, at: At) -> tuple[int, os.stat_result]:
        """
        Open a user's file for reading.

        Errors: SourceVanished: it is gone, or no regular file. InUse, DiskTrouble.
        """
        with at_source("open", at.path):
            opened = self._kernel.open(at.name, READ_FLAGS, dir_fd=at.folder)
            found = self._kernel.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            self._kernel.close(opened)
            raise SourceVanished(f"{shown(at.path)} is {kind_of(found.st_mode)} now")
        return opened, found

    def _sync(self, folder: int, path: str | Path) -> None:
        """Bring the names of a folder to disk."""
        try:
            self._kernel.fsync(folder)
        except OSError as error:
            if error.errno not in UNSYNCABLE:
                raise DiskTrouble(told(error, "bring to disk the names in", path)) from error


def kind_of(mode: int) -> str:
    """Say what a name stands for."""
    return KINDS.get(stat.S_IFMT(mode), "a device")
