"""Be the service manager: take what a daemon says by sd_notify(3)."""

from __future__ import annotations

import itertools
import os
import socket
import time
from typing import Self

_NUMBERS = itertools.count()


class Manager:
    """Listen on a socket of its own; `environ` is what systemd sets."""

    def __init__(self, watchdog_s: float = 0.2) -> None:
        name = f"bulkgpt-watchd-test-{os.getpid()}-{next(_NUMBERS)}"
        self.environ = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": str(int(watchdog_s * 1_000_000))}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(f"\0{name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> list[dict[str, str]]:
        """Give what was said since the last time, each datagram as its facts."""
        found: list[dict[str, str]] = []
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in text.splitlines()))

    def meals(self, seconds: float) -> int:
        """Count how often the watchdog is fed from now on."""
        self.heard()
        time.sleep(seconds)
        return sum("WATCHDOG" in facts for facts in self.heard())
