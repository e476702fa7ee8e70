"""Look at the folders of one route with the rights of the daemon's user; whoever calls this may be left hanging."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bulkgpt_watchd.adapters.clock import SystemClock
from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.cli.doctor.account import Account
from bulkgpt_watchd.cli.doctor.finding import FIX, Finding, fail, ok, warn
from bulkgpt_watchd.cli.words import count
from bulkgpt_watchd.config import Route
from bulkgpt_watchd.config.quantities import format_duration
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, SourceVanished, WatchdError
from bulkgpt_watchd.core.names import OURS, printable
from bulkgpt_watchd.effects.outside import NETWORK_SETTLE_S, settle_s
from bulkgpt_watchd.scheduler.inbox import MARKER, NO_INODES, Inbox, Unusable

T = TypeVar("T")

SHOWN_FILES = 5
"""Unreadable or unknown files that are named; often the reason is one for all."""

MOST_FOLDERS = 100_000
"""Sub-folders that are counted at most, for the limit of inotify watches."""


@dataclass(frozen=True)
class Disk:
    """Be what `Inbox` needs of the ports, each call at once: this process may hang."""

    folders: LocalFolders = field(default_factory=LocalFolders)
    clock: SystemClock = field(default_factory=SystemClock)

    async def run(
        self, _route: str, function: Callable[..., T], /, *args: Any, deadline_s: float | None = None, **named: Any
    ) -> T:
        """Call it here and now."""
        del deadline_s
        return function(*args, **named)


@dataclass(frozen=True)
class RouteLook:
    """
    Say how a route is looked at.

    Shape: *facts* and *uuid* as the state has them; *uuid* None: no state that we may read. Not *writes*: rights are
        told by their modes alone. *pid* of the daemon, if it runs.
    """

    route: Route
    key: str
    facts: Mapping[str, Any]
    uuid: str | None
    has_state: bool
    account: Account
    writes: bool
    pid: int | None

    def look(self) -> dict[str, Any]:
        """Look, and give findings, names in work, and how many folders are watched, as data."""
        return asyncio.run(self._look())

    async def _look(self) -> dict[str, Any]:
        disk = Disk()
        inbox = Inbox(self.key, self.route, disk, self.uuid or "")
        found = [one async for one in _findings(self, inbox, disk.folders)]
        try:
            work = list(disk.folders.list_work(self.route.work))
        except WatchdError:
            work = []
        return {
            "findings": [asdict(one) for one in found],
            "work": [name for name in work if name != MARKER and not name.startswith(OURS)],
            "watches": 0 if self.route.watch == "scan" or inbox.on_network else _folders_below(self.route),
        }


async def _findings(look: RouteLook, inbox: Inbox, folders: LocalFolders) -> Any:
    """Yield all that there is to say; a generator, so that one thing that fails hides nothing that was seen before."""
    route = look.route
    try:
        await inbox.check((look.facts.get("mounts") or {}).get(look.key, {}), creates=False)
    except (Unusable, WatchdError) as error:
        yield fail(f"folders {route.name}", str(error))
        if not _is_there(folders, route.inbox):
            return
    for one in _rights(look, folders):
        yield one
    async for one in _marker(look, inbox):
        yield one
    for one in _mounts(route, folders):
        yield one
    for one in _seen_by_daemon(look):
        yield one
    for one in _space(route, folders):
        yield one
    try:
        seen, _ = await inbox.look()
    except WatchdError as error:
        yield fail(f"inbox {route.name}", str(error))
        return
    for file, why in sorted(seen.unreadable.items())[:SHOWN_FILES]:
        path = shlex.quote(printable(str(route.inbox / file)))
        yield warn(f"file {route.name}", f"{printable(file)}: {why}", f"setfacl -m u:{look.account.name}:r {path}")
    if len(seen.unreadable) > SHOWN_FILES:
        yield warn(f"file {route.name}", f"and {len(seen.unreadable) - SHOWN_FILES} more cannot be read")
    yield ok(f"inbox {route.name}", f"{count(len(seen.files), 'file')} in it of {' '.join(route.match)}")


def _rights(look: RouteLook, folders: LocalFolders) -> Iterator[Finding]:
    route, is_fine = look.route, True
    made = []
    for role in ("inbox", "work", "outbox", "error", "archive"):
        path = getattr(route, role)
        if not _is_there(folders, path):
            if role not in {"work", *route.creatable}:
                continue  # told above
            path = path.parent
            made.append(role)
        try:
            if role == "work" and role not in made:
                folders.make_work(path)  # it is there: this asks whose it is
            if look.writes:
                folders.probe(path)
            elif not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                command = f"setfacl -m u:{look.account.name}:rwx {shlex.quote(str(path))}"
                raise DiskTrouble(f"{path} may not be written to by {look.account}{FIX}{command}")
        except (DiskTrouble, InUse, SourceVanished) as error:
            is_fine = False
            yield fail(f"{role} {route.name}", str(error))
    if is_fine:
        how = "tried by making and removing a file" if look.writes else "by their modes; nothing was tried"
        will = f"; {', '.join(made)} will be made" if made else ""
        yield ok(f"folders {route.name}", f"{look.account.name} may write to all ({how}){will}")
    yield from _sticky(look)


def _sticky(look: RouteLook) -> Iterator[Finding]:
    try:
        mode = os.stat(look.route.inbox)
    except OSError:
        return
    if mode.st_mode & stat.S_ISVTX and look.account.uid not in {0, mode.st_uid}:
        text = f"its sticky bit lets {look.account} move only files of its own; what others drop stays"
        yield fail(f"inbox {look.route.name}", text, f"chmod -t {shlex.quote(str(look.route.inbox))}")


async def _marker(look: RouteLook, inbox: Inbox) -> Any:
    route, what = look.route, f"marker {look.route.name}"
    if look.uuid is None and look.has_state:
        yield warn(what, "skipped: the state cannot be read by you, so whose work folder it is cannot be told")
        return
    is_known = (look.facts.get("inboxes") or {}).get(str(route.inbox)) == look.key
    try:
        is_first = await inbox.judge_marker(is_known=is_known)
    except Unusable as error:
        yield fail(what, str(error), f"bulkgpt-watchd adopt {route.name}, once no other daemon uses this inbox")
    except WatchdError as error:
        yield warn(what, str(error))
    else:
        yield ok(what, "none yet: the first start makes it" if is_first else "ours")


def _mounts(route: Route, folders: LocalFolders) -> Iterator[Finding]:
    what, mount = f"inbox {route.name}", folders.mount_of(route.inbox)
    if mount.is_network:
        settle = format_duration(settle_s(route, on_network=True))
        text = (
            f"lies on {mount.fstype} ({mount.point}): the kernel does not tell of what other hosts do there, so it is "
            f"scanned every {format_duration(route.scan_every)}, and files have to be quiet for {settle}"
        )
        is_short = route.settle is not None and 0 < route.settle < NETWORK_SETTLE_S and route.ready.done_file is None
        fix = "leave out `settle` (60s there), or let senders write a marker (ready.done_file)" if is_short else None
        yield warn(what, text, fix)
    else:
        yield ok(what, f"lies on {mount.fstype} ({mount.point})")
    if _is_there(folders, route.work):
        work = folders.mount_of(route.work)
        if work.point != mount.point:
            text = (
                f"{route.work} lies on {work.point}, the inbox on {mount.point}: no rename leads from one to the other"
            )
            yield fail(f"work {route.name}", text, "set `work` to a folder on the mount of the inbox, or leave it out")
    if (layers := _layers(mount.point)) > 1:
        text = f"{layers} mounts lie over one another at {mount.point}; only the last is seen"
        yield warn(what, text, f"findmnt {shlex.quote(mount.point)}, then umount what should not be there")


def _seen_by_daemon(look: RouteLook) -> Iterator[Finding]:
    """Tell where the daemon that runs sees another folder than we do: its unit gives it mounts of its own."""
    root = f"/proc/{look.pid}/root"
    if look.pid is None or not os.access(root, os.X_OK):
        return
    found: dict[str, list[str]] = {}
    for role in ("inbox", "outbox", "error", "archive"):
        path = os.path.realpath(getattr(look.route, role))  # a link would lead out of its root
        with suppress(OSError):  # we do not see it either, which was told
            if (how := _compared(path, root)) is not None:
                found.setdefault(how, []).append(role)
    for how, roles in found.items():
        text = f"the running daemon {how}: {', '.join(roles)}; its mounts are as they were at its start"
        yield fail(f"folders {look.route.name}", text, "restart the daemon, once its unit lets it (see `unit`)")


def _compared(path: str, root: str) -> str | None:
    ours, is_ours_closed = os.stat(path), os.statvfs(path).f_flag & os.ST_RDONLY
    try:
        theirs, is_closed = os.stat(root + path), os.statvfs(root + path).f_flag & os.ST_RDONLY
    except OSError:
        return "does not see"
    if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
        return "sees another folder than you"
    return "may only read" if is_closed and not is_ours_closed else None


def _layers(point: str) -> int:
    escaped = point.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        return sum(line.split(" ")[4] == escaped for line in mountinfo)


def _space(route: Route, folders: LocalFolders) -> Iterator[Finding]:
    for role in ("outbox", "work"):
        path: Path = getattr(route, role)
        try:
            room = folders.room(path if _is_there(folders, path) else path.parent)
        except WatchdError:
            continue  # told with the rights
        if room.bytes < route.min_free:
            least = f"less than min_free ({route.min_free:,})"
            text = f"{path} has {room.bytes:,} bytes free, {least}: nothing is taken or sent"
            yield fail(f"disk {route.name}", text, "make room there, or lower min_free")
        elif room.files == 0:
            yield fail(f"disk {route.name}", f"{path} {NO_INODES}: nothing is taken or sent", "remove files there")


def _is_there(folders: LocalFolders, path: Path) -> bool:
    try:
        return folders.exists(path)
    except WatchdError:
        return True  # closed to us: trying it tells why


def _folders_below(route: Route) -> int:
    number = 1
    if route.recursive:
        for _, names, _ in os.walk(route.inbox):
            number += len(names)
            if number > MOST_FOLDERS:
                break
    return number
