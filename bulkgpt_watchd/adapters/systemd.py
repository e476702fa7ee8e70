"""
Speak with systemd: readiness, watchdog, journal. Everything is a no-op where systemd is not.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5) on $JOURNAL_STREAM.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(environ: Mapping[str, str], **facts: str | int) -> bool:
    """
    Send facts to the service manager in one datagram; tell whether it took them.

    Shape: `notify(os.environ, READY=1, STATUS="…")`. RELOADING=1 needs MONOTONIC_USEC in the same call.
    Errors: none; a manager that does not listen must not stop us.
    """
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    # A line end in a value would begin another fact.
    text = "\n".join(f"{name}={' '.join(str(value).split())}" for name, value in facts.items())
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)  # noqa: FBT003  # a full queue must not stop the loop; the next ping comes soon
            sock.sendto(text.encode("utf-8", "replace"), address)
    except OSError:
        return False
    return True


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """
    Say how often WATCHDOG=1 is to be sent: half of what systemd allows, as it asks for; None: never.

    Units: seconds.
    """
    allowed_us = environ.get("WATCHDOG_USEC", "")
    # The variables are inherited; WATCHDOG_PID says for whom they are.
    if not allowed_us.isdecimal() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(allowed_us) / 2_000_000 or None


def is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Tell whether what is written to *fd* goes to the journal, which then reads a priority before each line."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
