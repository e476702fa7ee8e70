"""
A machine that systemd runs as PID 1: a container made of this machine's own /usr, so nothing is downloaded.

Its /etc, /var and the rest are new and empty, it has no network but its loopback, and it lives in cgroups of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pages import ROOT
from tests.system.process import wait

BOOT_S = 60.0
"""It boots in two seconds; a busy machine may need many times that."""

ETC = {
    "hostname": "machine\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nmessagebus:x:100:\n",
    "ld.so.conf": "/opt/python/lib\n/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib/aarch64-linux-gnu\n",
    "machine-id": "0123456789abcdef0123456789abcdef\n",  # without it all services of /usr would be enabled
}

PROGRAM = """\
#!/opt/bulkgpt-watchd/bin/python3
from bulkgpt_watchd.cli import main

main()
"""
"""What pip makes of an entry point."""

CGROUPS = [
    path
    for path in (Path("/sys/fs/cgroup", name) for name in ("", "systemd", "unified"))
    if (path / "cgroup.procs").exists()
]
"""Where this machine's cgroups are mounted: one hierarchy, or systemd's two."""


class Machine:
    """Run commands in it as root; its files are below `root`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.log = folder / "console"
        self._leader = 0

    def path(self, path: str) -> Path:
        """Give a file of the machine, as it is seen from here."""
        return self.root / path.lstrip("/")

    @property
    def proc(self) -> str:
        """Give its /proc, where its process IDs count."""
        return f"/proc/{self._leader}/root/proc"

    def run(self, *command: str, given: str = "", user: str = "root") -> subprocess.CompletedProcess[str]:
        environ = ["env", "-i", "PATH=/usr/local/bin:/usr/bin:/usr/sbin", "LANG=C.UTF-8"]
        as_user = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", *environ, *as_user, *command],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=BOOT_S,
        )

    def does(self, *command: str, given: str = "", user: str = "root") -> str:
        """Run a command that must succeed; give what it prints."""
        done = self.run(*command, given=given, user=user)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def types(self, line: str, given: str = "") -> str:
        """Type a line into a root shell in the checkout."""
        return self.does("bash", "-ec", f"cd /opt/checkout; {line}", given=given)

    # --- its life -----------------------------------------------------------------------------------------------------

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Boot it, and power it off at the end."""
        self._make_root()
        own = [cgroup / f"bulkgpt-watchd-test-{os.getpid()}" for cgroup in CGROUPS]
        try:
            for cgroup in own:
                cgroup.mkdir()
        except OSError as error:
            pytest.skip(f"no cgroups can be made here: {error}")
        enter = "".join(f"echo $$ > {cgroup}/cgroup.procs; " for cgroup in own)
        with open(self.log, "wb") as log:
            inside = ("sh", "-ec", f'{enter}exec "$@"', "sh", *self._nspawn())
            process = subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_booted(process)
            yield
        finally:
            self._power_off(process)
            for cgroup in own:
                for path in sorted(cgroup.glob("**/"), reverse=True):
                    path.rmdir()

    def _nspawn(self) -> list[str]:
        binds = ["/usr", f"{ROOT}:/opt/checkout", f"{sysconfig.get_path('purelib')}:/opt/packages"]
        if not Path(sys.base_prefix).is_relative_to("/usr"):
            binds.append(f"{sys.base_prefix}:/opt/python")
        return [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot"),
            *(f"--directory={self.root}", f"--machine=bulkgpt-{os.getpid()}", "--console=pipe"),
            *(f"--bind-ro={bind}" for bind in binds),
            f"--bind={self.root.parent}/local-bin:/usr/local/bin",
        ]

    def _make_root(self) -> None:
        for name in ("etc/systemd/system", "usr", "var", "root", "srv", "home", "opt", "tmp"):
            self.path(name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            self.path(name).symlink_to(f"usr/{name}")
        for name, content in ETC.items():
            self.path(f"etc/{name}").write_text(content)
        shutil.copy("/etc/os-release", self.path("etc/os-release"))
        shutil.copytree("/usr/local/bin", self.root.parent / "local-bin", symlinks=True)  # one that may be written to

    def _wait_booted(self, process: subprocess.Popen[bytes]) -> None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def is_up() -> bool:
            assert process.poll() is None
            self._leader = int((children.read_text().split() or ["0"])[0])
            state = self.run("systemctl", "is-system-running").stdout.strip() if self._leader else ""
            return state in {"running", "degraded"}

        try:
            wait(is_up, "it boots", BOOT_S)
        except AssertionError:
            console = self.log.read_text(errors="replace")[-2000:]
            pytest.skip(f"systemd does not boot in a container here: {console}")

    def _power_off(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None and self._leader:
            os.kill(self._leader, signal.SIGRTMIN + 4)  # systemd(1): power off
        try:
            process.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def install_program(self) -> None:
        """Put the program where pip would, with the packages of these tests."""
        prefix = "/opt/python" if self.path("opt/python").exists() else sys.base_prefix
        self.does("ldconfig")
        self.does(f"{prefix}/bin/python3", "-m", "venv", "--without-pip", "/opt/bulkgpt-watchd")
        [packages] = self.path("opt/bulkgpt-watchd/lib").glob("python3*/site-packages")
        (packages / "tests.pth").write_text("/opt/checkout\n/opt/packages\n")
        program = self.path("opt/bulkgpt-watchd/bin/bulkgpt-watchd")
        program.write_text(PROGRAM)
        program.chmod(0o755)


def why_not() -> str | None:
    """Say why there can be no such machine here."""
    if os.geteuid() != 0:
        return "not as root: only root can boot a container"
    if shutil.which("systemd-nspawn") is None:
        return "no systemd-nspawn here (apt install systemd-container)"
    if not Path("/usr/lib/systemd/systemd").exists():
        return "no systemd here (apt install systemd)"
    return None
