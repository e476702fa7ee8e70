"""A network of a test's own: nothing of this machine is in it, and its only name server is ours."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.system.process import wait

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
"""Source: linux/sched.h. `os.setns` came with Python 3.12."""

PUBLIC = "93.184.216.34"
"""An address of the open internet for the guard; here it is an address of the loopback device."""

SETTING_UP = f"""
ip link set lo up
ip address add {PUBLIC}/32 dev lo
mount --bind "$1/resolv.conf" /etc/resolv.conf
touch "$1/is-up"
exec sleep 600
"""

HEADER = struct.Struct(">HHHHHH")


def why_not() -> str | None:
    """Say why there can be no such network here."""
    if os.geteuid() != 0:
        return "as root only: a network namespace"
    if shutil.which("ip") is None:
        return "no ip here (apt install iproute2)"
    if subprocess.run(["unshare", "-n", "-m", "ip", "link"], check=False, capture_output=True).returncode:
        return "as root only, who may make namespaces (in a container: --privileged)"
    return None


@contextmanager
def network(folder: Path) -> Iterator[int]:
    """Give the process whose network it is; it ends with it."""
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1\n")
    command = ["unshare", "-n", "-m", "--propagation", "private", "sh", "-ec", SETTING_UP, "sh", str(folder)]
    process = subprocess.Popen(command)
    try:
        wait(lambda: (folder / "is-up").exists() or process.poll() is not None, "it is up")
        assert process.poll() is None
        yield process.pid
    finally:
        process.kill()
        process.wait()


def within(
    pid: int, open_it: Callable[[], AbstractAsyncContextManager[T]]
) -> Callable[[], AbstractAsyncContextManager[T]]:
    """Open something in the network of a process: the thread goes there, and stays."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[T]:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{pid}/ns/net", "rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        async with open_it() as value:
            yield value

    return opened


class NameServer(asyncio.DatagramProtocol):
    """
    Answer for each name with the next of its answers, and with the last one ever after; nothing may be kept (TTL 0).

    Shape: *answers* gives lists of IPv4 addresses by name; IPv6 addresses and other names there are none.
    """

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[NameServer]:
        """Listen on the port of name servers."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 53))
        try:
            yield self
        finally:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question (RFC 1035 section 4)."""
        end = data.index(b"\0", HEADER.size) + 5
        question, labels, position = data[HEADER.size : end], [], HEADER.size
        while length := data[position]:
            labels.append(data[position + 1 : position + 1 + length].decode())
            position += 1 + length
        name, kind = ".".join(labels), int.from_bytes(question[-4:-2])
        found: list[str] = []
        if kind == 1 and (answers := self.answers.get(name)):
            found = answers[min(self.asked[name], len(answers) - 1)]
            self.asked[name] += 1
        records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address) for address in found)
        flags = 0x8180 if name in self.answers else 0x8183
        header = HEADER.pack(int.from_bytes(data[:2]), flags, 1, len(found), 0, 0)
        self._transport.sendto(header + question + records, addr)
