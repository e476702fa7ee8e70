"""Real servers that take uploads, on a high port of the loopback: OpenSSH, Samba, vsftpd. All of them as root."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.process import wait

USER = "daemon"
"""Whose uploads become: on every Debian, with a home (vsftpd wants one), and may log in with a key."""

PACKAGES = {
    "/usr/sbin/sshd": "openssh-server",
    "sftp": "openssh-client",
    "/usr/sbin/smbd": "samba",
    "smbclient": "smbclient",
    "/usr/sbin/vsftpd": "vsftpd",
}


def why_not(*programs: str) -> str | None:
    """Say why these programs cannot be used; None where they can."""
    if os.geteuid() != 0:
        return "as root only: a server of other users' files"
    missing = [PACKAGES[program] for program in programs if shutil.which(program) is None]
    return f"apt-get install {' '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Server:
    """Say where a server is, and where it keeps what it needs."""

    port: int
    place: Path


Opening = Callable[[Path, Path], AbstractContextManager[Server]]
"""How a server is opened: its own folder, and the inbox."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str], port: int, place: Path) -> Iterator[Server]:
    """Run a server and all that it forks, until its context ends."""
    log = place / "server.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait(lambda: _listens(port) or process.poll() is not None, f"{command[0]} listens")
        assert process.poll() is None, log.read_text(errors="replace")
        yield Server(port, place)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def sshd(place: Path, folder: Path) -> Iterator[Server]:
    """Let USER send files by SFTP; a session begins in *folder*. What it makes gets the mode that the client has."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    port = free_port()
    (place / "client.pub").chmod(0o644)  # USER reads it
    (place / "sshd_config").write_text(f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host
PidFile none
AuthorizedKeysFile {place}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {folder} -u 0022
AllowUsers {USER}
""")
    Path("/run/sshd").mkdir(exist_ok=True)  # its privileges are separated there; Debian's unit makes it too
    with serving(["/usr/sbin/sshd", "-D", "-e", "-f", str(place / "sshd_config")], port, place) as server:
        yield server


@contextmanager
def smbd(place: Path, folder: Path) -> Iterator[Server]:
    """Let USER send files into the share `inbox`, in small blocks: the usual ones have 8 MiB."""
    port = free_port()
    (place / "private").mkdir()
    (place / "smb.conf").write_text(f"""\
[global]
 server role = standalone server
 interfaces = 127.0.0.1
 bind interfaces only = yes
 smb ports = {port}
 disable netbios = yes
 map to guest = Bad User
 guest account = {USER}
 log file = {place}/smbd.log
 pid directory = {place}
 lock directory = {place}
 state directory = {place}
 cache directory = {place}
 private dir = {place}/private
 load printers = no
 smb2 max write = 65536
[inbox]
 path = {folder}
 guest ok = yes
 read only = no
""")
    command = ["/usr/sbin/smbd", "-F", "--no-process-group", "-s", str(place / "smb.conf")]
    with serving(command, port, place) as server:
        yield server


@contextmanager
def vsftpd(place: Path, folder: Path) -> Iterator[Server]:
    """Let USER send files by FTP, as the anonymous user; a session begins above *folder*."""
    port = free_port()
    (place / "empty").mkdir()
    config = place / "vsftpd.conf"
    config.write_text(f"""\
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=YES
no_anon_password=YES
ftp_username={USER}
anon_root={folder.parent}
anon_upload_enable=YES
anon_other_write_enable=YES
anon_umask=022
anon_world_readable_only=NO
write_enable=YES
secure_chroot_dir={place}/empty
seccomp_sandbox=NO
xferlog_enable=NO
""")
    with serving(["/usr/sbin/vsftpd", str(config)], port, place) as server:
        yield server
