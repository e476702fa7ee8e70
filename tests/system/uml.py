"""
A kernel of its own for one test: User-Mode-Linux, an ordinary process that has NFS, CIFS and a power switch.

It boots on this machine's own root, which it may only read (hostfs), so the code in it is this checkout's and the
Python is ours. What it writes is gone with it, but for the folder `out` and the disks that it is given. A job is a
module of these tests that is run in it as root; each of its stories leaves its facts there as JSON, and the test here
asserts on them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.pages import ROOT
from tests.system.process import wait

MEMORY = "768M"
"""Touched pages only are taken from the host: a daemon, a sandbox and two servers need a third of it."""

SLOWER = 3
"""A system call takes 27 times as long in there; what a story waits for, mostly timers, about so much."""

MODULES = Path("/usr/lib/uml/modules")

INIT = """\
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home LANG=C.UTF-8 TMPDIR=/run/tmp PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/home /run/tmp /run/lock /run/out
for folder in var/lib/nfs var/lib/samba var/cache/samba var/log/samba; do
    if [ -d "/$folder" ]; then mount -t tmpfs tmpfs "/$folder"; fi
done
mount --bind {modules} /lib/modules
mount -t hostfs -o sync,{out} none /run/out
ip link set lo up
hostname uml
cd {root}
STORIES="{stories}" SOON_S={soon_s} {python} -m {job} > /run/out/console 2>&1
echo $? > /run/out/code
sync
echo o > /proc/sysrq-trigger
sleep 60
"""

NEEDED = {
    "linux.uml": "user-mode-linux",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "rpc.nfsd": "nfs-kernel-server",
    "mount.nfs4": "nfs-common",
    "smbd": "samba",
    "smbclient": "smbclient",
    "mount.cifs": "cifs-utils",
}
"""Program and the Debian package that brings it."""


def why_not() -> str | None:
    """Say why there can be no such kernel here."""
    if os.geteuid() != 0:
        return "not as root: the kernel would see this machine's files as another user"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({package for program, package in NEEDED.items() if shutil.which(program, path=path) is None})
    return f"no User-Mode-Linux bed here (apt install {' '.join(missing)})" if missing else None


class Kernel:
    """
    Boot jobs, one after the other, over the same `out` and disks.

    Shape: *disks* are image files; the first is /dev/ubda in there.
    """

    def __init__(self, disks: Sequence[Path] = ()) -> None:
        # A folder with a short name: the kernel has a socket in it, and its path may have no more than 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="uml-"))
        self.out = self.folder / "out"
        self.out.mkdir()
        self.disks = [*disks]
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, job: str) -> Iterator[None]:
        """Boot, and run `python -m job`; at the end it is cut, if it has not ended by itself."""
        self.boot(job)
        try:
            yield
        finally:
            self.cut()

    def ended(self, within_s: float) -> int:
        """Wait until the job has ended; give its exit code."""
        code = self.out / "code"
        wait(lambda: code.exists() or self.has_ended(), "the job ends", within_s)
        assert code.exists(), f"the kernel ended before its job; the console ends:\n{self.tail()}"
        return int(wait(code.read_text, "the exit code is written"))

    def boot(self, job: str) -> None:
        for name in ("code", "console"):
            (self.out / name).unlink(missing_ok=True)
        init = self.folder / "init"
        init.write_text(
            INIT.format(
                modules=MODULES,
                out=self.out,
                root=ROOT,
                python=sys.executable,
                job=job,
                soon_s=30 * SLOWER,
                stories=os.environ.get("STORIES", ""),
            )
        )
        init.chmod(0o755)
        disks = [f"ubd{number}={path}" for number, path in enumerate(self.disks)]
        command = [
            *("linux.uml", f"uml_dir={self.folder}", "umid=kernel", f"mem={MEMORY}", *disks),
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"),
            *("quiet", "loglevel=1", "con=null", "con0=null,fd:1"),
        ]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def cut(self) -> None:
        """Cut its power: what its disks did not get is lost. Its processes are a group of their own."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def story(self, name: str) -> dict[str, Any]:
        """Give the facts of a story; a story that broke off fails here with its own traceback."""
        path = self.out / f"{name}.json"
        assert path.exists(), f"the story {name} left no facts; the console ends:\n{self.tail()}"
        told: dict[str, Any] = json.loads(path.read_bytes())
        assert "broke_off" not in told, f"the story {name} broke off:\n{told['broke_off']}"
        return told

    def tail(self) -> str:
        console = self.out / "console"
        return console.read_text(errors="replace")[-3000:] if console.exists() else "(nothing was printed)"

    def close(self) -> None:
        """Cut its power and drop what it left."""
        self.cut()
        shutil.rmtree(self.folder)
