"""Make our folders, try what they allow, and read what of ours is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bulkgpt_watchd.adapters.folders.handle import Source
from bulkgpt_watchd.adapters.folders.mounts import parse_mountinfo
from bulkgpt_watchd.adapters.folders.opening import CREATE_FLAGS, At, FolderMissing, kind_of, stamp_from
from bulkgpt_watchd.adapters.folders.publish import PRIVATE, Publishing, as_possible
from bulkgpt_watchd.adapters.folders.trouble import FORBIDDEN, at_place, right_missing, shown, told, who
from bulkgpt_watchd.core.errors import DiskTrouble, SourceVanished
from bulkgpt_watchd.core.folders import Mount, Room
from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.names import OURS

SMALL_BYTES = 64 * 1024
"""More than any marker or sidecar of ours; what is larger is not one."""

WORK_FOLDER = 0o700
USUAL_FOLDER = 0o777
"""The modes given to mkdir(2); the kernel takes the umask off."""

PROBE = f"{OURS}-probe"
PROBE_RENAMED = f"{OURS}-probe-renamed"

PROBE_BYTES = 4096
"""A block of nearly every file system: on a full disk, or over a quota, an empty file can still be made."""

PROBE_TRIES = 5
"""Two routes may probe one outbox at once and remove each other's file; five collisions in a row are no accident."""


class Places(Publishing):
    """Care for folders."""

    def list_work(self, work: Path) -> Mapping[str, Stamp]:
        """
        Give all regular files in work, hidden ones too.

        Errors: InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        with self._folder(work) as opened, at_place("look into", work):
            with self._kernel.scandir(opened) as entries:
                names = [entry.name for entry in entries]
            found = {name: self._look_at(At(opened, name, name)) for name in names}
        return {name: stamp_from(it) for name, it in found.items() if it is not None and stat.S_ISREG(it.st_mode)}

    def read_small(self, path: Path) -> bytes | None:
        """
        Read a small file of ours.

        Shape: None: there is none; or something has its name that we could not have written: too large, or no file.
        Errors: InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        try:
            with self._at(path) as at:
                opened, found = self._open_regular(at)
        except (FolderMissing, SourceVanished):
            return None
        with Source(self._kernel, opened, at.path, found.st_size) as file:
            content = file.read(SMALL_BYTES + 1)
        return content if len(content) <= SMALL_BYTES else None

    def make_work(self, work: Path) -> None:
        """
        Make a route's work folder, for us alone; one that is there must be a folder of ours.

        Errors: InUse, DiskTrouble.
        Repeat: yes. A folder of ours that is there is kept.
        """
        with at_place("make", work):
            found = self._make(work, WORK_FOLDER)
        # Servers show owners as they like; there the marker in it tells whose it is.
        if found.st_uid != os.geteuid() and not self.mount_of(work).is_network:
            raise DiskTrouble(f"{shown(work)} belongs to uid {found.st_uid}, and work must belong to {who()}")

    def make_folder(self, path: Path) -> None:
        """
        Make an outbox, error or archive folder where it is missing; its parent must be there.

        Errors: InUse, DiskTrouble.
        Repeat: yes. A folder that is there is kept.
        """
        with at_place("make", path):
            self._make(path, USUAL_FOLDER)

    def make_below(self, root: Path, folder: Path) -> Path:
        """
        Make what is missing of *folder* below *root*, which must be there: an unmounted share is not filled.

        Shape: gives the folder as this file system can have it: spelled anew where it must be, as in `free_target`.
        Errors: InUse, DiskTrouble.
        Repeat: yes. A folder that is there is kept.
        """
        made = root
        for part in folder.relative_to(root).parts:
            with at_place("make", made / part):
                made = as_possible(lambda path: self._make(path, USUAL_FOLDER), made / part)
        return made

    def _make(self, path: Path, mode: int) -> os.stat_result:
        with self._at(path) as at:
            with suppress(FileExistsError):
                self._kernel.mkdir(at.name, mode, dir_fd=at.folder)
            found = self._kernel.stat(at.name, dir_fd=at.folder, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                raise DiskTrouble(f"{shown(path)} is {kind_of(found.st_mode)}, not a folder")
            self._sync(at.folder, path.parent)
            return found

    def probe(self, folder: Path) -> None:
        """
        Try what we need to do in a folder: create, write, rename, bring to disk, remove.

        Errors: DiskTrouble: names the folder, the act, the user, and what is needed.
        Repeat: yes. What a killed probe left is removed by the next.
        """
        with self._folder(folder) as opened:
            for left in reversed(range(PROBE_TRIES)):
                try:
                    self._probe(opened, folder)
                    return
                except DiskTrouble as trouble:
                    if not left or not isinstance(trouble.__cause__, FileExistsError | FileNotFoundError):
                        raise

    def _probe(self, opened: int, folder: Path) -> None:
        doing = "create files in"
        try:
            for leftover in (PROBE, PROBE_RENAMED):
                with suppress(FileNotFoundError):
                    self._kernel.unlink(leftover, dir_fd=opened)
            probe = self._kernel.open(PROBE, CREATE_FLAGS, PRIVATE, dir_fd=opened)
            try:
                doing = "write to"
                self._write(probe, bytes(PROBE_BYTES))
                self._kernel.fsync(probe)  # a share, or a quota, may say no only now
            except OSError:
                with suppress(OSError):
                    self._kernel.unlink(PROBE, dir_fd=opened)
                raise
            finally:
                self._kernel.close(probe)
            doing = "rename files in"
            self._kernel.rename(PROBE, PROBE_RENAMED, src_dir_fd=opened, dst_dir_fd=opened)
            self._sync(opened, folder)
            doing = "remove files from"
            self._kernel.unlink(PROBE_RENAMED, dir_fd=opened)
        except OSError as error:
            if error.errno in FORBIDDEN:
                text = f"{shown(folder)} is not writable: cannot {doing} it"
                raise DiskTrouble(right_missing(error, text, folder, "rwx")) from error
            raise DiskTrouble(told(error, doing, folder)) from error

    def may_write(self, folder: Path) -> bool:
        """
        Tell whether the kernel says that we may write there: rights, and a mount that became read-only.

        Repeat: yes, it changes nothing.
        """
        return self._kernel.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)

    def room(self, folder: Path) -> Room:
        """
        Say how much we may still write there.

        Errors: InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        with self._folder(folder) as opened, at_place("look at", folder):
            found = self._kernel.fstatvfs(opened)
        return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)

    def mount_of(self, folder: Path) -> Mount:
        """
        Tell where a folder lies, or would lie.

        Errors: InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        with at_place("read", "/proc/self/mountinfo"), open("/proc/self/mountinfo", "rb") as mountinfo:
            return parse_mountinfo(mountinfo.read(), os.path.realpath(folder))
