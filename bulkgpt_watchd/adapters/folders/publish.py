"""
Write files of ours, and let them appear whole or not at all.

A file is written under a dot-name beside its target, brought to disk, renamed, and the folder is brought to disk.
Modes: without one of its own a file gets what any new file gets there (0666 less the umask, or the folder's default
ACL), from the start; with one it is private (0600) until it is whole.
"""

from __future__ import annotations

import errno
import grp
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from bulkgpt_watchd.adapters.folders.handle import Source, Target
from bulkgpt_watchd.adapters.folders.opening import CREATE_FLAGS, At, FolderMissing
from bulkgpt_watchd.adapters.folders.renaming import Renaming
from bulkgpt_watchd.adapters.folders.trouble import at_place, shown
from bulkgpt_watchd.core.errors import DiskTrouble, NameTaken, WatchdError
from bulkgpt_watchd.core.names import (
    LONGEST_ADDITION_BYTES,
    NAME_MAX_BYTES,
    OURS,
    TEMP_SUFFIX,
    insert_before_suffix,
    respelled,
    scratch_name,
)

BLOCK_BYTES = 64 * 1024
"""Block size of reading: large enough that calls cost nothing, small enough to be no large block of memory."""

PRIVATE = 0o600
USUAL = 0o666
"""The modes given to open(2); the kernel takes the umask off."""

NO_SUCH_NAME = frozenset({errno.EINVAL, errno.EILSEQ})
"""What a file system answers when a name is made that it cannot have: CIFS to a backslash, vfat to a colon too."""


def as_possible(make: Callable[[Path], object], path: Path) -> Path:
    """
    Make something under its name, or respelled where its file system cannot have that name; give the path that it got.

    Shape: only making shows it: to vfat, a name that it cannot have is one that is free.
    Errors: those of *make*.
    """
    try:
        make(path)
    except OSError as error:
        if error.errno not in NO_SUCH_NAME:
            raise
        path = path.with_name(respelled(path.name))
        make(path)
    return path


class Publishing(Renaming):
    """Write and publish."""

    def exists(self, path: Path) -> bool:
        """
        Tell whether anything has this name, a link that leads nowhere included.

        Shape: False where its folder is missing; an unmounted share looks the same, so no file is given up for it.
        Errors: InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        try:
            with self._at(path) as at, at_place("look at", path):
                return self._look_at(at) is not None
        except FolderMissing:
            return False

    def free_target(self, folder: Path, name: str, job_id: str, sidecar_suffixes: Sequence[str]) -> str:
        """
        Choose a name that is free together with its sidecars: *name*, or with `-<job>` before its suffix.

        Shape: *name* is a base name; the stem is cut so that all that we add fits. One that this file system cannot
            have is spelled so that it can: what is paid must not hang on a name.
        Errors: InUse, DiskTrouble: the folder is missing too.
        Repeat: yes, it leaves nothing; the name may be taken by the time it is used (NameTaken then).
        """
        longest = max((len(os.fsencode(suffix)) for suffix in sidecar_suffixes), default=0)
        room_bytes = NAME_MAX_BYTES - max(LONGEST_ADDITION_BYTES, longest + len(f"{OURS}-{TEMP_SUFFIX}"))
        additions = itertools.chain(("", f"-{job_id}"), (f"-{job_id}-{number}" for number in itertools.count(2)))
        name = insert_before_suffix(name, "", room_bytes)
        with self._folder(folder) as opened, at_place("look into", folder):

            def is_free(spelling: str) -> bool:
                names = (spelling, *(spelling + suffix for suffix in sidecar_suffixes))
                return all(self._look_at(At(opened, taken, taken)) is None for taken in names)

            def try_hidden(path: Path) -> None:
                at = At(opened, scratch_name(f"{job_id}-{path.name}"), os.fspath(path))
                self._kernel.close(self._create(at, PRIVATE))
                self._unlink(at)

            if respelled(name) != name:
                name = as_possible(try_hidden, folder / name).name
            spellings = (insert_before_suffix(name, addition, room_bytes) for addition in additions)
            return next(spelling for spelling in spellings if is_free(spelling))

    def create(self, folder: Path, name: str, mode: int | None, group: str | None) -> BinaryIO:
        """
        Open a new file of ours for writing; `finish` it, or close and `remove` it.

        Shape: *mode* None: the usual one, from the start. Writing raises InUse and DiskTrouble like every call here.
        Errors: InUse, DiskTrouble: the folder, no such group, or no right to give the file to it.
        Repeat: yes. A file of that name is what an earlier try left, and is removed first.
        """
        try:
            group_id = None if group is None else grp.getgrnam(group).gr_gid
        except KeyError as error:
            raise DiskTrouble(f"there is no group {shown(group or '')}") from error
        with self._at(folder / name) as at:
            with at_place("create", at.path):
                opened = self._create(at, USUAL if mode is None else PRIVATE)
            if group_id is not None:
                try:
                    with at_place(f"give to the group {shown(group or '')}", at.path):
                        self._kernel.fchown(opened, -1, group_id)
                except WatchdError:
                    self._kernel.close(opened)
                    self._discard(at)
                    raise
        return Target(self._kernel, opened, at.path, mode)

    def finish(self, target: BinaryIO, folder: Path) -> None:
        """
        Bring a file that `create` gave, and its name, to disk; give it its mode and close it.

        Errors: InUse, DiskTrouble: it is closed and worth nothing, since fsync tells of an error only once.
        Repeat: no; after an error `create` it anew.
        """
        ours = cast("Target", target)
        with ours:
            ours.flush()
            with at_place("bring to disk", ours.path):
                if ours.whole_mode is not None:
                    self._kernel.fchmod(ours.fileno(), ours.whole_mode)
                self._kernel.fsync(ours.fileno())
        with self._folder(folder) as opened:
            self._sync(opened, folder)

    def read_blocks(self, folder: Path, name: str) -> Iterator[bytes]:
        """
        Give a file's bytes in blocks.

        Errors: SourceVanished, InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        with self._at(folder / name) as at:
            opened, found = self._open_regular(at)
        with Source(self._kernel, opened, at.path, found.st_size) as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def publish(self, folder: Path, temp_name: str, name: str) -> None:
        """
        Let a finished file appear under its name.

        Errors: NameTaken: another file has it. InUse, DiskTrouble.
        Repeat: yes. Only we touch *temp_name*: when it is gone, it was published.
        """
        with self._folder(folder) as opened:
            temp = At(opened, temp_name, os.path.join(folder, temp_name))
            target = At(opened, name, os.path.join(folder, name))
            with at_place("publish", target.path):
                try:
                    self._rename_new(temp, target)
                except FileExistsError as error:
                    raise NameTaken(f"{shown(target.path)} is there already") from error
                except FileNotFoundError:
                    if self._look_at(temp) is not None:
                        raise
            self._sync(opened, folder)

    def write_whole(self, folder: Path, name: str, content: bytes, *, replace: bool, job_id: str = "") -> None:
        """
        Let a small file appear with all its content.

        Shape: of two jobs that write to one name at once each has a file of its own being written.
        Errors: NameTaken: not *replace*, and the name has other content. InUse, DiskTrouble.
        Repeat: yes. What an earlier try left unfinished is removed; a file of the same content is that file.
        """
        with self._at(folder / name) as target:
            scratch = At(target.folder, scratch_name(job_id + name), target.path)
            with at_place("write", target.path):
                try:
                    self._fill(scratch, content)
                    if replace:
                        self._rename_over(scratch, target)
                    else:
                        self._rename_new(scratch, target)
                except FileExistsError as error:
                    self._discard(scratch)
                    if not self._holds(target, content):
                        raise NameTaken(f"{shown(target.path)} is there already") from error
                except OSError:
                    self._discard(scratch)
                    raise
            self._sync(target.folder, folder)

    def remove(self, path: Path) -> None:
        """
        Remove a file of ours, and bring that to disk.

        Errors: InUse, DiskTrouble.
        Repeat: yes. Absent is fine; where its folder is missing it is absent.
        """
        with suppress(FolderMissing), self._at(path) as at:
            with at_place("remove", at.path):
                self._unlink(at)
            self._sync(at.folder, path.parent)

    def _create(self, at: At, mode: int) -> int:
        """Create a file of ours; one that is there is what an earlier try left."""
        self._unlink(at)
        return self._kernel.open(at.name, CREATE_FLAGS, mode, dir_fd=at.folder)

    def _fill(self, at: At, content: bytes) -> None:
        opened = self._create(at, USUAL)
        try:
            self._write(opened, content)
            self._kernel.fsync(opened)
        finally:
            self._kernel.close(opened)

    def _write(self, opened: int, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[self._kernel.write(opened, rest) :]

    def _holds(self, at: At, content: bytes) -> bool:
        try:
            opened, found = self._open_regular(at)
        except WatchdError:
            return False
        with Source(self._kernel, opened, at.path, found.st_size) as file:
            return file.read(len(content) + 1) == content

    def _unlink(self, at: At) -> None:
        with suppress(FileNotFoundError):
            self._kernel.unlink(at.name, dir_fd=at.folder)

    def _discard(self, at: At) -> None:
        """Remove what failed, so that it takes no room; the error that is under way says more than one of this."""
        with suppress(OSError):
            self._unlink(at)
