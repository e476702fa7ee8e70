"""
Rename without replacing what is there, on every file system.

    renameat2(RENAME_NOREPLACE)   local file systems, CIFS
    link + unlink                 NFS (EINVAL above). A name that appears meanwhile is seen (EEXIST); both names are one
                                  inode, so a death between the two calls is seen as well.
    look, then rename             where links are unknown too (many FUSE file systems). A name that appears between the
                                  two calls would be lost. The other ways are worse: an exclusively created target is
                                  seen half while it is filled, or empty until it is renamed over, and that each time.

An error says nothing about what was done: NFS answers ENOENT or EEXIST to a rename whose first answer was lost. So
after one, both ends are looked at.
"""

from __future__ import annotations

import errno
import os

from bulkgpt_watchd.adapters.folders.opening import At, Opening, is_same

NO_SUCH_CALL = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What renameat2 answers where its flag is not known."""

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What link answers where it cannot: EPERM also for a file of somebody else (fs.protected_hardlinks)."""


class Renaming(Opening):
    """Rename for all parts of `LocalFolders`."""

    def _rename_new(self, source: At, target: At, *, may_link: bool = True) -> None:
        """
        Rename *source* to a name that is free.

        Shape: not *may_link* where two daemons may want the same file, since only a rename has one winner. Then the
            target must be a name that nobody else makes.
        Errors: OSError: FileExistsError: the name is taken. FileNotFoundError: the source, or a folder, is gone.
        Repeat: yes; what a death between link and unlink left is finished.
        """
        before = self._kernel.stat(source.name, dir_fd=source.folder, follow_symlinks=False)
        try:
            self._rename_somehow(source, target, before, may_link=may_link)
        except OSError:
            if not self._was_done(source, target, before):
                raise

    def _rename_over(self, source: At, target: At) -> None:
        """
        Rename *source* over whatever has the target's name.

        Errors: OSError.
        Repeat: yes, while the source is there.
        """
        before = self._kernel.stat(source.name, dir_fd=source.folder, follow_symlinks=False)
        try:
            self._kernel.rename(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder)
        except OSError:
            if not self._was_done(source, target, before):
                raise

    def _was_done(self, source: At, target: At, before: os.stat_result) -> bool:
        return self._look_at(source) is None and is_same(self._look_at(target), before)

    def _rename_somehow(self, source: At, target: At, before: os.stat_result, *, may_link: bool) -> None:
        kernel, folders = self._kernel, {"src_dir_fd": source.folder, "dst_dir_fd": target.folder}
        try:
            kernel.rename_noreplace(source.name, target.name, **folders)
            return
        except OSError as error:
            if error.errno not in NO_SUCH_CALL:
                raise
        if may_link and self._link(source, target, before):
            kernel.unlink(source.name, dir_fd=source.folder)
            return
        if self._look_at(target) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target.path)
        kernel.rename(source.name, target.name, **folders)

    def _link(self, source: At, target: At, before: os.stat_result) -> bool:
        """Give the file its second name, unless it has that already; False: this file system has no links."""
        try:
            self._kernel.link(
                source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder, follow_symlinks=False
            )
        except OSError as error:
            if error.errno in NO_LINKS:
                return False
            # EEXIST, or an error of a link that was made all the same: it counts if the target is our file.
            if not is_same(self._look_at(target), before):
                raise
        return True
