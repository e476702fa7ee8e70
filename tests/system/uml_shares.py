"""Servers of files and mounts of them, for a job that runs in a kernel of its own (see uml.py) as root."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.process import wait

DISK_BYTES = 64 << 20
"""Room for some thousand files of a story; it is memory of the kernel's."""

GIVES_UP_S = 10
"""How long a server in its grace after a start keeps clients waiting, and the lease of what they hold."""


def does(*command: str | Path, within_s: float = 120) -> str:
    """Run a command that must succeed; give what it prints."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=within_s)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout.strip()


@contextmanager
def mounted(kind: str, source: str, point: Path, options: str) -> Iterator[None]:
    """Mount something for as long as it is needed."""
    point.mkdir(parents=True, exist_ok=True)
    does("modprobe", "loop")
    does("mount", "-t", kind, "-o", options, source, point)
    try:
        yield
    finally:
        # What a dead server is asked for is given up by the kernel (-f), and the mount is no longer seen (-l).
        subprocess.run(["umount", "-f", "-l", point], check=False, capture_output=True, timeout=120)


@contextmanager
def disk(point: Path, device: str | None = None, options: str = "rw") -> Iterator[None]:
    """Mount a disk: a new one in memory, or a device that holds a file system already."""
    if device is None:
        image = Path(f"{point}.img")
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        does("mkfs.ext4", "-q", image)
        device, options = str(image), f"loop,{options}"
    with mounted("ext4", device, point, options):
        yield


@contextmanager
def stick(point: Path) -> Iterator[None]:
    """Mount a disk as they are carried about, with the file system of Windows: vfat."""
    image = Path(f"{point}.img")
    does("mkfs.vfat", "-C", image, str(DISK_BYTES >> 10))
    with mounted("vfat", str(image), point, "loop"):
        yield


class Nfs:
    """
    Serve a folder with the kernel's own NFS server.

    Shape: *how* is what the export gets beside what all have: `sync`, or `async`, which answers before the disk does.
    """

    kind = "nfs4"

    def __init__(self, folder: Path, how: str = "sync,no_root_squash") -> None:
        self.folder = folder
        self._how = how

    def source(self, name: str) -> str:
        return f"127.0.0.1:/{name}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        does("modprobe", "nfsd")
        does("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
        for name in ("sm", "sm.bak", "v4recovery", "rpc_pipefs", "nfsdcltrack"):
            os.makedirs(f"/var/lib/nfs/{name}", exist_ok=True)
        for name in ("etab", "rmtab", "xtab", "state"):
            Path("/var/lib/nfs", name).touch()
        does("mount", "-t", "rpc_pipefs", "sunrpc", "/var/lib/nfs/rpc_pipefs")
        for name in ("nfsv4leasetime", "nfsv4gracetime"):
            Path("/proc/fs/nfsd", name).write_text(str(GIVES_UP_S))
        does("rpcbind", "-w")
        self.export()
        does("rpc.mountd", "-N", "3")
        self.start()
        try:
            yield
        finally:
            self.stop()

    def export(self, how: str | None = None) -> None:
        """Export it, or change how."""
        options = f"rw,insecure,fsid=0,no_subtree_check,{how or self._how}"
        does("exportfs", "-i", "-o", options, f"127.0.0.1:{self.folder}")

    def start(self) -> None:
        does("rpc.nfsd", "-N", "3", "4")

    def stop(self) -> None:
        does("rpc.nfsd", "0")


class Cifs:
    """Serve a folder with Samba."""

    kind = "cifs"

    CONFIG = """\
[global]
server role = standalone server
interfaces = lo
bind interfaces only = yes
smb ports = 445
disable netbios = yes
map to guest = Bad User
guest account = root
log file = /run/smbd.log
pid directory = /run/samba
lock directory = /run/samba
state directory = /var/lib/samba
private dir = /var/lib/samba/private
[drop]
path = {folder}
guest ok = yes
read only = no
force user = root
"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = Path("/run/smb.conf")
        self._process: subprocess.Popen[bytes] | None = None

    def source(self, name: str) -> str:
        return f"//127.0.0.1/drop/{name}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        does("modprobe", "cifs")
        for name in ("/run/samba", "/var/lib/samba/private"):
            os.makedirs(name, exist_ok=True)
        self._config.write_text(self.CONFIG.format(folder=self.folder))
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        command = ["smbd", "--foreground", "--no-process-group", "--configfile", str(self._config)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        wait(lambda: self.client("ls", must=False).returncode == 0, "smbd answers")

    def stop(self) -> None:
        """Kill it, and what it has forked for its clients."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Halt it, or let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def command(self) -> list[str]:
        """Give the command of another client: smbclient reads what it shall do."""
        return ["smbclient", "//127.0.0.1/drop", "-N", "-s", str(self._config)]

    def client(self, commands: str, *, must: bool = True) -> subprocess.CompletedProcess[str]:
        """Do something as another client of the server."""
        done = subprocess.run(
            [*self.command(), "-c", commands], check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 or not must, done.stdout + done.stderr
        return done
