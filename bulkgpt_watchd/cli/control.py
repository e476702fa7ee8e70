"""
Speak with the daemon over its control socket.

The socket is where the configuration says, or where the daemon noted it in the state: under systemd only the daemon
knows $RUNTIME_DIRECTORY.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.state import start_it
from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.exit_codes import FAILED, NOT_RUNNING, REFUSED
from bulkgpt_watchd.core.names import printable

if TYPE_CHECKING:
    from bulkgpt_watchd.config import Place

CONNECT_S = 2.0
"""A daemon that lives has its socket's queue emptied in milliseconds; a full queue means that it hangs."""

ANSWER_S = 300.0
"""`resolve --task-id` asks BulkGPT (`api.timeout`, 2m), `reload` looks at every folder; more than both together."""

LOOK_S = 2.0
"""A command that shows something does not wait for a daemon whose disk hangs; it has the state to read."""

UCRED = struct.Struct("3i")
"""struct ucred: pid, uid, gid (man 7 unix, SO_PEERCRED)."""


def act(place: Place, name: str, /, **arguments: Any) -> dict[str, Any]:
    """
    Let the daemon carry out an act and give its answer.

    Errors: Ended: it does not run, does not answer, may not be asked, or refuses.
    """
    try:
        with reach(place) as connected:
            return _ask(connected, name, arguments)
    except TimeoutError:
        raise Ended(
            "the daemon does not answer; it may still carry this out: see `bulkgpt-watchd status`", NOT_RUNNING
        ) from None


def is_running(place: Place, facts: dict[str, Any]) -> bool:
    """Tell whether the daemon of this state runs."""
    try:
        reach(place, facts).close()
    except Ended as ended:
        # Who may not ask the socket can still see the process that the daemon noted.
        pid = (facts.get("daemon") or {}).get("pid")
        return ended.exit_code == REFUSED and os.path.exists(f"/proc/{pid}")
    except TimeoutError:
        return True
    return True


def troubles(place: Place, facts: dict[str, Any]) -> list[dict[str, str]]:
    """Give what a running daemon says of itself (`/readyz`), which it may not be able to write into its state."""
    try:
        with reach(place, facts) as connected:
            connected.settimeout(LOOK_S)
            connection = HTTPConnection("localhost")
            connection.sock = connected
            connection.request("GET", "/readyz")
            return list(json.loads(connection.getresponse().read())["reasons"])
    except (OSError, HTTPException, ValueError, KeyError, Ended):
        return []


def reach(place: Place, facts: dict[str, Any] | None = None) -> socket.socket:
    """
    Connect to the daemon.

    Errors: Ended: it does not run, or the socket is not for us; TimeoutError: it hangs.
    """
    from bulkgpt_watchd.config import control_socket

    path = control_socket(place, os.environ)
    connected = _connect(path)
    if connected is None:
        noted = (_facts(place) if facts is None else facts).get("daemon")
        if noted and noted["socket"] != str(path):
            connected = _connect(Path(noted["socket"]))
            if connected is not None and _pid_behind(connected) != noted["pid"]:
                connected.close()  # another daemon, with another state
                connected = None
    if connected is None:
        raise Ended(f"the daemon is not running (no answer at {printable(str(path))}); {start_it()}", NOT_RUNNING)
    return connected


def _facts(place: Place) -> dict[str, Any]:
    from bulkgpt_watchd.adapters.sqlite_reader import StateReader

    try:
        with StateReader.open(place.state.path) as state:
            return state.facts()
    except WatchdError:
        return {}


def _pid_behind(connected: socket.socket) -> int:
    pid, _, _ = UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return int(pid)


def _connect(path: Path) -> socket.socket | None:
    """
    Connect by way of the folder's descriptor: a path of a socket may have 107 bytes at most.

    Shape: None: nobody is there.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connected.settimeout(CONNECT_S)
            connected.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError as error:
        connected.close()
        if isinstance(error, PermissionError):
            raise _not_for_you(path) from None
        if isinstance(error, TimeoutError | BlockingIOError):  # its queue is full
            raise TimeoutError from None
        return None
    return connected


def _ask(connected: socket.socket, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    connected.settimeout(ANSWER_S)
    connection = HTTPConnection("localhost")
    connection.sock = connected
    try:
        connection.request("POST", f"/api/v1/acts/{name}", json.dumps(arguments), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = json.loads(answer.read())
    except TimeoutError:
        raise
    except (OSError, HTTPException):
        raise Ended("the daemon ended before it answered; look again when it runs", NOT_RUNNING) from None
    except ValueError:
        raise Ended("the daemon met a bug of its own; its log has the traceback", FAILED) from None
    if "error" in content:
        raise Ended(**content["error"])
    return dict(content)


def _not_for_you(path: Path) -> Ended:
    """Say who may: the owner and the group of the socket, or of its folder where that is closed already."""
    who = "its owner"
    for place in (path, path.parent):
        try:
            who = f"user {place.owner()} and group {place.group()}"
            break
        except (OSError, KeyError):
            continue
    return Ended(
        f"you may not use the control socket {printable(str(path))}: only {who} may; join that group, or use sudo",
        REFUSED,
    )
