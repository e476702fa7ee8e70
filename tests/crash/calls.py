"""
Tell which system calls of the daemon can be seen from outside, and what each is about.

Counted is what changes something in our folders or the state, and whatever is said or heard on a socket. A call that
only looks (stat, read, a lock of SQLite) leaves nothing behind: a kill at it is a kill at the counted call after it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.tracer import Call, Tracer

ON_DESCRIPTOR = {
    1: "write", 18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 91: "fchmod", 93: "fchown",
    285: "fallocate",
}  # fmt: skip
ON_SOCKET = {
    1: "write", 20: "writev", 3: "close", 42: "connect", 44: "sendto", 45: "recvfrom", 46: "sendmsg", 47: "recvmsg",
    48: "shutdown", 288: "accept4",
}  # fmt: skip
ON_PATHS: dict[int, tuple[str, tuple[tuple[int | None, int], ...]]] = {
    82: ("rename", ((None, 0), (None, 1))), 83: ("mkdir", ((None, 0),)), 84: ("rmdir", ((None, 0),)),
    86: ("link", ((None, 0), (None, 1))), 87: ("unlink", ((None, 0),)), 90: ("chmod", ((None, 0),)),
    257: ("openat", ((0, 1),)), 258: ("mkdirat", ((0, 1),)), 263: ("unlinkat", ((0, 1),)),
    264: ("renameat", ((0, 1), (2, 3))), 265: ("linkat", ((0, 1), (2, 3))), 268: ("fchmodat", ((0, 1),)),
    280: ("utimensat", ((0, 1),)), 316: ("renameat2", ((0, 1), (2, 3))),
}  # fmt: skip
"""
Numbers of system calls on x86_64 (syscalls.h) with their names.

Shape: by path, each path with the places of its folder's descriptor and of its name among the arguments.
"""

COUNTED = {*ON_DESCRIPTOR, *ON_SOCKET, *ON_PATHS}
LOOKS = {0: "read", 17: "pread64"}
SOCKET = 41
CREATES = os.O_CREAT | os.O_TRUNC


class Calls:
    """Name the counted calls of one process; *roots* are the folders below *base* that concern us."""

    def __init__(self, tracer: Tracer, base: Path, roots: tuple[str, ...]) -> None:
        self._tracer = tracer
        self._base = f"{base}/"
        self._roots = tuple(f"{base}/{root}" for root in roots)
        self._is_ours: dict[str, bool] = {}

    def name(self, call: Call) -> str | None:
        """Say what a call does, as `rename leads/inbox/a.csv -> …`; None: it is not counted."""
        if call.number not in COUNTED:
            return None
        told = self.any_name(call)
        return None if told and told.startswith("openat ") and not call.args[2] & CREATES else told

    def any_name(self, call: Call) -> str | None:
        """Say what a call does, those included that only look; None: it does not concern us."""
        if call.number in ON_PATHS:
            name, places = ON_PATHS[call.number]
            return self._about(name, *(self._path(call, *place) for place in places))
        if call.number == SOCKET:
            return "socket"
        if call.number not in COUNTED | LOOKS.keys():
            return None
        on = self._tracer.descriptor(call.args[0])
        if on.startswith("socket:"):
            return f"{ON_SOCKET[call.number]} socket" if call.number in ON_SOCKET and self._speaks(on) else None
        name_on = ON_DESCRIPTOR.get(call.number) or LOOKS.get(call.number)
        return self._about(name_on, on) if name_on else None

    def _about(self, name: str, *paths: str) -> str | None:
        if not any(path.startswith(self._roots) for path in paths):
            return None
        return f"{name} {' -> '.join(path.removeprefix(self._base) for path in paths)}"

    def _path(self, call: Call, folder: int | None, name: int) -> str:
        """Give a path from a folder's descriptor, if it has one, and a name; ours are started with absolute paths."""
        text = os.fsdecode(self._tracer.text(call.args[name]))
        return text if folder is None else os.path.join(self._tracer.descriptor(call.args[folder]), text)

    def _speaks(self, socket: str) -> bool:
        """Tell a socket to somebody else from the pairs without a name by which threads wake the loop."""
        if socket not in self._is_ours:
            inode = socket.removeprefix("socket:[").removesuffix("]")
            with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
                pairs = {fields[6] for fields in map(str.split, file) if len(fields) == 7}
            self._is_ours[socket] = inode not in pairs
        return self._is_ours[socket]
