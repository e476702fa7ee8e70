"""Real clients that upload: what they do slowly can be stopped, killed and gone on with."""

from __future__ import annotations

import contextlib
import ftplib
import io
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.system.process import SOON_S, wait
from tests.system.uploads.servers import USER, Server

BLOCK_BYTES = 8192
"""How much sftp writes at once."""

QUIET_S = 0.3
"""So long a file has to keep its size until nothing of it is under way any more, on loopback."""


def landed(path: Path) -> int:
    """Wait until nothing arrives any more; give the size."""
    size, since = -1, time.monotonic()

    def is_quiet() -> bool:
        nonlocal size, since
        now = path.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        return time.monotonic() - since > QUIET_S

    wait(is_quiet, f"{path.name} does not grow any more")
    return size


class Transfer:
    """A client under way, with everything that it started."""

    def __init__(self, command: list[str], script: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(script)
        self.process.stdin.close()
        self.process.stdin = None  # communicate() would write to it

    def send(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.communicate(timeout=SOON_S)

    def ended(self) -> str:
        """Wait for its end, which must be a good one; give what it printed."""
        printed, _ = self.process.communicate(timeout=SOON_S)
        assert self.process.returncode == 0, printed
        return printed


class Client:
    """
    Upload by a program.

    Shape: a line is `put LOCAL NAME`, `reput LOCAL NAME`, `rename OLD NEW` or another command of the program.
    """

    def started(self, *lines: str, slowly: bool = False) -> Transfer:
        raise NotImplementedError

    def does(self, *lines: str) -> str:
        """Do these lines to the end."""
        return self.started(*lines).ended()

    @contextlib.contextmanager
    def sending(self, local: Path, name: str, seen: Path, size: int) -> Iterator[Transfer]:
        """Begin a slow upload; the context is entered when so many bytes have arrived."""
        transfer = self.started(f"put {local} {name}", slowly=True)
        try:
            wait(lambda: seen.exists() and seen.stat().st_size >= size, f"{size} bytes of {name} arrive")
            yield transfer
        finally:
            if transfer.process.poll() is None:
                transfer.kill()


class Sftp(Client):
    """OpenSSH's sftp."""

    def __init__(self, server: Server) -> None:
        self._command = ["sftp", "-q", "-b", "-", "-P", str(server.port), "-i", str(server.place / "client")]
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "LogLevel=ERROR")
        self._command += [part for option in options for part in ("-o", option)]
        self._command += ["-F", "none", "-B", str(BLOCK_BYTES)]

    def started(self, *lines: str, slowly: bool = False) -> Transfer:
        """Start it; *slowly*: a quarter of a megabyte a second."""
        pace = ["-l", "2000"] if slowly else []
        script = "".join(f"{line}\n" for line in lines)
        return Transfer([*self._command, *pace, f"{USER}@127.0.0.1"], script)


class Smb(Client):
    """Samba's smbclient."""

    def __init__(self, server: Server) -> None:
        self._command = ["smbclient", "//127.0.0.1/inbox", "-p", str(server.port), "-N", "-E"]
        self._command += ["-s", str(server.place / "smb.conf")]

    def started(self, *lines: str, slowly: bool = False) -> Transfer:
        """Start it; it is as slow as the pipe from which it puts."""
        assert not slowly
        return Transfer([*self._command, "-c", "; ".join(lines)], "")


class Pipe:
    """A file whose content comes as a test says: smbclient uploads it meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._opened = os.open(path, os.O_RDWR)  # so that no open of either end waits

    def write(self, content: bytes) -> None:
        """Write more than the pipe holds only while somebody reads."""
        while content:
            content = content[os.write(self._opened, content) :]

    def end(self) -> None:
        """Let the reader see the end, once it has read all."""
        os.close(self._opened)


class Ftp:
    """Python's ftplib, with a hand on its data connection."""

    def __init__(self, server: Server, folder: str) -> None:
        self.control = ftplib.FTP()
        self.control.connect("127.0.0.1", server.port, timeout=SOON_S)
        self.control.login()
        self.control.cwd(folder)

    def put(self, name: str, content: bytes, rest: int | None = None) -> None:
        """Upload to the end; with *rest* from that byte of the server's file on."""
        self.control.storbinary(f"STOR {name}", io.BytesIO(content), rest=rest)

    def rename(self, old: str, new: str) -> None:
        self.control.rename(old, new)

    def begin(self, name: str, content: bytes) -> socket.socket:
        """Begin an upload with these bytes; give its data connection."""
        self.control.voidcmd("TYPE I")
        data = self.control.transfercmd(f"STOR {name}")
        data.sendall(content)
        return data

    def end(self, data: socket.socket) -> None:
        """End an upload cleanly, wherever it is: the server cannot know better, and calls it complete."""
        data.close()
        assert self.control.voidresp().startswith("226")

    def cut(self, data: socket.socket) -> None:
        """Die in the middle of an upload: both connections are reset."""
        for connection in (data, self.control.sock):
            assert connection is not None
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        self.close()

    def close(self) -> None:
        self.control.close()
