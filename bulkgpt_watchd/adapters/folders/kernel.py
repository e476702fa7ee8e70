"""
Gather the system calls that touch files, so that a test can count them, fail them, or die at one.

Nothing else in this package calls the kernel; `os` is used there for its constants only.
"""

from __future__ import annotations

import ctypes
import errno
import os

RENAME_NOREPLACE = 1
"""Source: linux/fs.h."""

_libc = ctypes.CDLL(None, use_errno=True)


class Kernel:
    """Pass each call on, named as in `os`."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    read = staticmethod(os.read)
    pread = staticmethod(os.pread)
    write = staticmethod(os.write)
    lseek = staticmethod(os.lseek)
    fsync = staticmethod(os.fsync)
    stat = staticmethod(os.stat)
    fstat = staticmethod(os.fstat)
    fstatvfs = staticmethod(os.fstatvfs)
    access = staticmethod(os.access)
    readlink = staticmethod(os.readlink)
    fchmod = staticmethod(os.fchmod)
    fchown = staticmethod(os.fchown)
    utime = staticmethod(os.utime)
    mkdir = staticmethod(os.mkdir)
    rename = staticmethod(os.rename)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)

    @staticmethod
    def scandir(folder: int) -> os._ScandirIterator[str]:
        """List an open folder."""
        return os.scandir(folder)

    @staticmethod
    def rename_noreplace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """
        Rename, or raise FileExistsError where *target* is there.

        Errors: OSError; EINVAL where the file system cannot do it (NFS), ENOSYS where the C library cannot.
        Source: renameat2(2); `os` has no call for it.
        """
        try:
            renameat2 = _libc.renameat2
        except AttributeError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), source) from None
        if renameat2(src_dir_fd, os.fsencode(source), dst_dir_fd, os.fsencode(target), RENAME_NOREPLACE) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), source, None, target)
