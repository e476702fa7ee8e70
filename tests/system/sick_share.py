"""
Serve a folder through FUSE, and hang for as long as a flag is there: a share whose server went away.

Usage: sick_share.py FOLDER FLAG, as root; FOLDER is mounted over itself, in the mount namespace of the caller. Needs
/dev/fuse and no library: it speaks the kernel's protocol. Requests that come while the flag is there are not even
read, as with a hard NFS mount: who waits for one can be killed, and nothing else. It ends with its parent.
Source: linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import sys
import time
from typing import Any

HEADER = struct.Struct("<IIQQIIII")
ATTRIBUTES = struct.Struct("<6Q10I")
LOOKS_EVERY_S = 0.02
MAX_WRITE = 131072
RENAME_NOREPLACE = 1

LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR, RENAME, LINK = 1, 2, 3, 4, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT = 14, 15, 16, 17, 18, 20, 25, 26
OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, CREATE, INTERRUPT, DESTROY, BATCH_FORGET, RENAME2 = (
    *(27, 28, 29, 30, 35),
    *(36, 38, 42, 45),
)
SILENT = frozenset({FORGET, BATCH_FORGET, INTERRUPT})


class Share:
    """Answer requests; paths are relative to the folder, nodes are the inode numbers below it."""

    def __init__(self) -> None:
        self.paths: dict[int, bytes] = {1: b"."}
        self.listings: dict[int, list[tuple[int, bytes]]] = {}

    def answer(self, opcode: int, node: int, body: bytes) -> bytes:  # noqa: C901, PLR0911, PLR0912 one case a request
        path = self.paths.get(node, b"?")
        match opcode:
            case 26:
                flags = struct.unpack_from("<4I", body)[3] & (1 << 5)  # FUSE_BIG_WRITES
                return struct.pack("<4I2H2I2H8I", 7, 31, MAX_WRITE, flags, 12, 9, MAX_WRITE, 1, 32, 0, *[0] * 8)
            case 1:
                return self.entry(self.below(path, body))
            case 3:
                return self.attributes(path)
            case 4:
                return self.change(path, body)
            case 9:
                mode, umask = struct.unpack_from("<2I", body)
                made = self.below(path, body[8:])
                os.mkdir(made, mode & ~umask)
                return self.entry(made)
            case 10:
                os.unlink(self.below(path, body))
                return b""
            case 11:
                os.rmdir(self.below(path, body))
                return b""
            case 12 | 45:
                self.rename(path, opcode, body)
                return b""
            case 13:
                made = self.below(path, body[8:])
                os.link(self.paths[struct.unpack_from("<Q", body)[0]], made)
                return self.entry(made)
            case 14 | 27:
                flags = struct.unpack_from("<I", body)[0]
                opened = os.open(path, flags & ~(os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL))
                if opcode == OPENDIR:
                    names = os.listdir(path)
                    self.listings[opened] = [(os.lstat(os.path.join(path, name)).st_ino, name) for name in names]
                return struct.pack("<Q2I", opened, 0, 0)
            case 35:
                flags, mode, umask = struct.unpack_from("<3I", body)
                made = self.below(path, body[16:])
                opened = os.open(made, flags & ~os.O_NOFOLLOW | os.O_CREAT, mode & ~umask)
                return self.entry(made) + struct.pack("<Q2I", opened, 0, 0)
            case 15:
                opened, offset, size = struct.unpack_from("<2QI", body)
                return os.pread(opened, size, offset)
            case 16:
                opened, offset, size = struct.unpack_from("<2QI", body)
                return struct.pack("<2I", os.pwrite(opened, body[40 : 40 + size], offset), 0)
            case 17:
                it = os.statvfs(path)
                numbers = (it.f_blocks, it.f_bfree, it.f_bavail, it.f_files, it.f_ffree)
                return struct.pack("<5Q4I6I", *numbers, it.f_bsize, it.f_namemax, it.f_frsize, 0, *[0] * 6)
            case 18 | 29:
                opened = struct.unpack_from("<Q", body)[0]
                self.listings.pop(opened, None)
                os.close(opened)
                return b""
            case 20 | 30:
                os.fsync(struct.unpack_from("<Q", body)[0])
                return b""
            case 28:
                return self.list(body)
            case 25 | 38:
                return b""
        raise OSError(errno.ENOSYS, "not served")

    def below(self, path: bytes, body: bytes) -> bytes:
        return os.path.join(path, body.partition(b"\0")[0])

    def entry(self, path: bytes) -> bytes:
        found = os.lstat(path)
        self.paths[found.st_ino] = path
        return struct.pack("<4Q2I", found.st_ino, 0, 0, 0, 0, 0) + self.packed(found)

    def attributes(self, path: bytes) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0) + self.packed(os.lstat(path))

    def packed(self, it: os.stat_result) -> bytes:
        times = (it.st_atime_ns, it.st_mtime_ns, it.st_ctime_ns)
        seconds, rest = [ns // 10**9 for ns in times], [ns % 10**9 for ns in times]
        owners = (it.st_mode, it.st_nlink, it.st_uid, it.st_gid, 0, it.st_blksize, 0)
        return ATTRIBUTES.pack(it.st_ino, it.st_size, it.st_blocks, *seconds, *rest, *owners)

    def change(self, path: bytes, body: bytes) -> bytes:
        fields = struct.unpack_from("<2I6Q8I", body)
        valid, size, mode, uid, gid = fields[0], fields[3], fields[11], fields[13], fields[14]
        if valid & 1:
            os.chmod(path, mode & 0o7777)
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(path, size)
        if valid & 32:
            seconds, nanoseconds = fields[6], fields[9]
            os.utime(path, ns=(os.lstat(path).st_atime_ns, seconds * 10**9 + nanoseconds))
        return self.attributes(path)

    def rename(self, path: bytes, opcode: int, body: bytes) -> None:
        folder, flags = struct.unpack_from("<QI", body)
        flags = flags if opcode == RENAME2 else 0
        old, new, _ = body[16 if opcode == RENAME2 else 8 :].split(b"\0", 2)
        source, target = os.path.join(path, old), os.path.join(self.paths[folder], new)
        if flags & RENAME_NOREPLACE and os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "there")
        os.rename(source, target)
        for node, known in self.paths.items():
            if known == source or known.startswith(source + b"/"):
                self.paths[node] = target + known[len(source) :]

    def list(self, body: bytes) -> bytes:
        opened, offset, size = struct.unpack_from("<2QI", body)
        listing, packed = self.listings[opened], b""
        for index in range(offset, len(listing)):
            inode, name = listing[index]
            one = struct.pack("<2Q2I", inode, index + 1, len(name), 0) + name
            one += b"\0" * (-len(one) % 8)
            if len(packed) + len(one) > size:
                break
            packed += one
        return packed


def mount(folder: str) -> int:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    os.chdir(folder)  # what is below the mount
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions"
    if libc.mount(b"share", os.fsencode(folder), b"fuse.share", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "cannot mount")
    return device


def serve(device: int, flag: str) -> None:
    share = Share()
    while True:
        ready, _, _ = select.select([device], [], [], LOOKS_EVERY_S)
        if os.path.exists(flag):
            time.sleep(LOOKS_EVERY_S)
            continue
        if not ready:
            continue
        try:
            request = os.read(device, MAX_WRITE + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            continue
        _, opcode, unique, node, *_ = HEADER.unpack_from(request)
        if opcode in SILENT:
            continue
        try:
            content, code = share.answer(opcode, node, request[HEADER.size :]), 0
        except OSError as error:
            content, code = b"", -(error.errno or errno.EIO)
        try:
            os.write(device, struct.pack("<IiQ", 16 + len(content), code, unique) + content)
        except OSError as error:
            if error.errno != errno.ENOENT:  # who asked was killed
                raise


if __name__ == "__main__":
    serve(mount(os.path.abspath(sys.argv[1])), sys.argv[2])
