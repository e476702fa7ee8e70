"""
A disk that loses power: a file system of its own in a file, cut off from it by one ioctl.

What was not brought to disk by then is gone, names as well as bytes, as in a power cut: the ioctl stops the file system
where it is, without writing its log (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN). Mounting it again replays the log.

All is mounted in a mount namespace of this test's own: no other process can hold a disk that was cut, which would keep
its dead file system alive, and when the test's processes end, by whatever, no mount and no loop device is left.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash.processes import wait_until

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, which is XFS_IOC_GOINGDOWN. Source: fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h."""

NO_LOG_FLUSH = 2
"""Its flag for a cut: not even the log that is in memory is written."""

IMAGE_BYTES = 512 << 20
"""Sparse; mkfs.xfs makes nothing smaller than 300 MB."""

STOPS_WITHIN_S = 30.0
"""A thread amid an fsync stops at its end: milliseconds, but for a busy disk."""

CLONE_NEWNS = 0x00020000
"""Source: linux/sched.h. `os.unshare` came with Python 3.12."""

FILE_SYSTEMS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}

_libc = ctypes.CDLL(None, use_errno=True)


class Disk:
    """Hold one file system and where it is mounted."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.image = folder / f"{kind}.img"
        self.point = folder / "disk"
        self.cuts = 0

    def mount(self) -> None:
        do("mount", "-t", self.kind, "-o", "loop", str(self.image), str(self.point))

    def unmount(self) -> None:
        do("umount", str(self.point))

    @contextmanager
    def mounted(self) -> Iterator[Disk]:
        """Make it, mount it, and leave nothing of it."""
        self.point.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        do(*FILE_SYSTEMS[self.kind], str(self.image))
        self.mount()
        try:
            yield self
        finally:
            self.unmount()
            self.image.unlink()

    def cut(self, process: subprocess.Popen[bytes]) -> None:
        """
        Take the power from the disk and from a process, and give it back to the disk.

        The process is stopped first: of an fsync that is under way when the log is stopped, some kernels tell that all
        is well.
        """
        freeze(process)
        self.forget()
        process.kill()
        process.wait()
        self.unmount()
        self.mount()

    def forget(self) -> None:
        """Take the power away: what is not on disk now is gone."""
        opened = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(opened)
        self.cuts += 1


def do(*command: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def sync(path: Path) -> None:
    """Bring a file's bytes, or a folder's names, to disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stop a process with all its threads, each at the end of what it does in the kernel."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_frozen(process), STOPS_WITHIN_S)


def is_frozen(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process was stopped, and none of its threads runs any more."""
    if process.poll() is not None:
        return False
    states = set()
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        states.add((task / "stat").read_bytes().rpartition(b")")[2].split()[0])
    return states <= {b"T", b"Z"}


@contextmanager
def own_mounts() -> Iterator[None]:
    """
    Give this thread, and all processes that it starts, mounts of their own; nobody else sees them.

    Disks of other tests, which came along, are let go: else they could not be unmounted over there.
    """
    home, folder = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY), os.getcwd()
    try:
        _call(_libc.unshare, CLONE_NEWNS)
        do("mount", "--make-rprivate", "/")
        try:
            for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
                point, source = line.split(" ")[4], line.partition(" - ")[2].split(" ")[1]
                if source.startswith("/dev/loop"):
                    do("umount", "--lazy", point)
            yield
        finally:
            _call(_libc.setns, home, CLONE_NEWNS)
            os.chdir(folder)
    finally:
        os.close(home)


def _call(function: ctypes._NamedFuncPointer, *arguments: int) -> None:
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def why_not(kind: str) -> str | None:
    """Say why a disk of this kind cannot be cut here."""
    if os.geteuid() != 0:
        return "as root only: these mount disks of their own"
    if not os.path.exists("/dev/loop-control") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        return "as root of a machine with loop devices only, who may mount (in a container: --privileged)"
    if shutil.which(FILE_SYSTEMS[kind][0]) is None:
        return f"no {FILE_SYSTEMS[kind][0]} here (apt install {PACKAGES[kind]})"
    subprocess.run(["sh", "-c", f"modprobe {kind}"], check=False, capture_output=True)
    if f"\t{kind}\n" not in Path("/proc/filesystems").read_text():
        return f"this kernel has no {kind}"
    return None
