"""Move a file to archive, to error or back to work, across file systems too."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from bulkgpt_watchd.adapters.folders.opening import At, is_same, kind_of, stamp_from
from bulkgpt_watchd.adapters.folders.publish import BLOCK_BYTES, PRIVATE, Publishing
from bulkgpt_watchd.adapters.folders.trouble import at_place, shown
from bulkgpt_watchd.core.errors import InUse, NameTaken, SourceVanished, WatchdError
from bulkgpt_watchd.core.names import scratch_name


class Moving(Publishing):
    """Move."""

    def move(self, source: Path, target: Path) -> None:
        """
        Move a file to a free name; both folders are then on disk.

        Shape: across file systems it is copied, with its mode and mtime where these are known, and then removed.
        Errors: NameTaken: another file has the target's name. SourceVanished: the source is no file any more. InUse:
            somebody writes to the source while it is copied. DiskTrouble.
        Repeat: yes. Only we touch *source*: when it is gone, it was moved. A whole copy that is still beside it, byte
            by byte the same, is the one that an earlier try made, and is kept.
        """
        with self._at(source) as old, self._at(target) as new:
            with at_place("move", old.path):
                found = self._look_at(old)
                if found is not None and not stat.S_ISREG(found.st_mode):
                    raise SourceVanished(f"{shown(old.path)} is {kind_of(found.st_mode)} now")
                if found is not None:
                    self._move(old, new)
            self._sync(new.folder, target.parent)
            self._sync(old.folder, source.parent)

    def _move(self, old: At, new: At) -> None:
        try:
            self._rename_new(old, new)
        except FileExistsError as error:
            raise NameTaken(f"{shown(new.path)} is there already") from error
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._move_across(old, new)

    def _move_across(self, old: At, new: At) -> None:
        scratch = At(new.folder, scratch_name(old.name), new.path)
        opened, before = self._open_regular(old)
        try:
            if self._look_at(new) is None:
                try:
                    self._copy(opened, before, old, scratch)
                    self._rename_new(scratch, new)
                except (OSError, WatchdError) as error:
                    self._discard(scratch)
                    if isinstance(error, FileExistsError):
                        raise NameTaken(f"{shown(new.path)} is there already") from error
                    raise
            elif self._is_copy(opened, new):
                self._unlink(scratch)  # its other name, after a death between link and unlink
            else:
                raise NameTaken(f"{shown(new.path)} is there already")
            self._sync(new.folder, new.path)
            if not is_same(self._look_at(old), before):
                raise InUse(f"{shown(old.path)} was replaced while it was copied")
            self._kernel.unlink(old.name, dir_fd=old.folder)
        finally:
            self._kernel.close(opened)

    def _copy(self, opened: int, before: os.stat_result, old: At, scratch: At) -> None:
        copy = self._create(scratch, PRIVATE)
        try:
            while block := self._kernel.read(opened, BLOCK_BYTES):
                self._write(copy, block)
            with suppress(OSError):  # some file systems keep neither
                self._kernel.fchmod(copy, stat.S_IMODE(before.st_mode) & 0o777)
                self._kernel.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
            self._kernel.fsync(copy)
        finally:
            self._kernel.close(copy)
        if stamp_from(self._kernel.fstat(opened)) != stamp_from(before):
            raise InUse(f"{shown(old.path)} was written to while it was copied")

    def _is_copy(self, opened: int, new: At) -> bool:
        """Tell whether a file has the same bytes, and bring it to disk: it will be the only one."""
        try:
            other, _ = self._open_regular(new)
        except WatchdError:
            return False
        try:
            while True:
                block = self._kernel.read(opened, BLOCK_BYTES)
                if block != self._kernel.read(other, BLOCK_BYTES):
                    return False
                if not block:
                    self._kernel.fsync(other)
                    return True
        finally:
            self._kernel.close(other)
