"""
Watch over the folders of one route: may they be used, what is in them, and does work agree with the state.

A route is *unavailable* while a folder is missing or not writable, lies on another mount than it did, or its marker is
not ours. It waits, says so, and returns by itself; nobody else is touched by it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkgpt_watchd.config import Route
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished, WatchdError
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.ports import Look, LookRules, Mount, Room
from bulkgpt_watchd.core.settle import Quiet, Settler
from bulkgpt_watchd.effects.outside import OnDisk, settle_s

MARKER = "route.json"
"""Name of the marker in work: whose folder this is."""

LOOK_DEADLINE_S = 60.0
"""A look that takes longer means that the share hangs; 300,000 names on a slow disk took a tenth of that."""

CHECK_DEADLINE_S = 20.0
"""Whether the folders are there is known in microseconds; a dead CIFS server is given up by the kernel after 11 s."""

NOT_LOOKED_AT = "not looked at yet"
"""Reason of a route before its first look."""

NO_INODES = "has room for no other file: its disk is out of inodes (df -i)"

COUNT_BYTES = 1024 * 1024
"""Block size of counting lines."""


class Unusable(WatchdError):
    """Say why a route cannot be used now, and what to do."""


@dataclass(slots=True)
class Inbox:
    """
    Hold one route and what is known of its folders.

    Shape: *key* is what the route is known by, whatever its name is now.
    Units: *next_look_at* and *unavailable_since* Unix seconds.
    """

    key: str
    route: Route
    outside: OnDisk = field(repr=False)
    state_uuid: str
    is_draining: bool = False
    is_open: bool = False
    is_open_before: bool = False  # since the start, or since its settings changed
    is_buried: bool = False  # what our own death left SUBMITTING has its end
    reason: str | None = NOT_LOOKED_AT
    unavailable_since: float | None = None
    disk_low: str | None = None
    free_bytes: dict[str, int] = field(
        default_factory=dict
    )  # at the last look: in outbox, work, and where the state is
    next_look_at: float = -math.inf
    is_rung: bool = True
    is_unsure: bool = False  # a file was replaced as it was claimed: what stands there now was not looked at
    on_network: bool = False
    settler: Settler = field(default_factory=Settler)
    waiting: dict[str, str] = field(default_factory=dict)  # file → job ID, of those that are DISCOVERED
    unsettled: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)  # files whose move or check does not come back
    told: set[str] = field(default_factory=set)  # names that were told as ignored or unreadable

    @property
    def name(self) -> str:
        """Give the route's name."""
        return self.route.name

    @property
    def roles(self) -> dict[str, Path]:
        """Give the folders of the route that are ours to write to."""
        return {role: getattr(self.route, role) for role in ("inbox", "outbox", "error", "archive")}

    def look_again(self, at: float) -> None:
        """Look by then at the latest, since a file was replaced; not at once, or who writes for long has us spin."""
        self.is_unsure, self.next_look_at = True, min(self.next_look_at, at)

    def new_job(self, job_id: str, file: str, stamp: Stamp, state: State) -> Job:
        """Give a job for a file that was found here just now."""
        now = self.outside.clock.now()
        return Job(
            id=job_id,
            route=self.key,
            file=file,
            state=state,
            created_at=now,
            changed_at=now,
            due_at=now,
            inbox=str(self.route.inbox),
            work=str(self.route.work),
            inode=stamp.inode,
            size_bytes=stamp.bytes,
            mtime_ns=stamp.mtime_ns,
        )

    async def check(self, mounts: dict[str, Any], *, creates: bool = True) -> dict[str, Any]:
        """
        Look whether every folder is there and where it was; give the mounts as they are.

        Shape: *mounts* maps roles to [path, mount point, type] as they were when the route was last usable; a folder
            that the configuration has put elsewhere since then is compared with nothing. Not *creates*: a folder that
            would be made is left out.
        Errors: Unusable.
        """
        found: dict[str, Any] = {}
        for role, path in self.roles.items():
            if not await self._run(self.outside.folders.exists, path, deadline_s=CHECK_DEADLINE_S):
                if role == "inbox" or role not in self.route.creatable:
                    raise Unusable(f"{role} {path} is missing; create it, or mount what it lies on")
                if not creates:
                    continue
                await self._run(self.outside.folders.make_folder, path)
            mount: Mount = await self._run(self.outside.folders.mount_of, path, deadline_s=CHECK_DEADLINE_S)
            found[role] = [str(path), mount.point, mount.fstype]
            if role == "inbox":
                self.on_network = mount.is_network
            before = mounts.get(role, found[role])
            if before[0] == found[role][0] and before != found[role]:
                raise Unusable(
                    f"{role} {path} lies on {mount.point} ({mount.fstype}) and used to lie on {before[1]} "
                    f"({before[2]}); mount it again, or run `bulkgpt-watchd adopt {self.name}` if that is meant"
                )
        return found

    async def open(self, *, is_first: bool) -> None:
        """
        Probe the folders, and make work at the first start of the route.

        Errors: DiskTrouble: a right is missing, or room.
        """
        folders, work = self.outside.folders, self.route.work
        await self._run(folders.probe, self.route.inbox)
        if is_first:
            await self._run(folders.make_work, work)
        for path in {work, self.route.outbox, self.route.error, self.route.archive}:
            await self._run(folders.probe, path)

    async def may_write(self) -> bool:
        """Tell whether the kernel says that we may write to all folders: asked at each look, where a probe is not."""
        return bool(await self._run(self._may_write))

    def _may_write(self) -> bool:
        return all(self.outside.folders.may_write(path) for path in (*self.roles.values(), self.route.work))

    async def judge_marker(self, *, is_known: bool) -> bool:
        """
        Read the marker; tell whether there is none, since this is the first start of the route.

        Errors: Unusable: it is another's, or that of a known route is gone.
        """
        work, owner = self.route.work, await self._owner()
        if owner is None and is_known:
            raise Unusable(
                f"the marker {work / MARKER} is gone, so this may be another folder than before; put it back, or run "
                f"`bulkgpt-watchd adopt {self.name}`"
            )
        if owner is not None and owner.get("state") != self.state_uuid:
            raise Unusable(
                f"{work} belongs to another daemon or another state ({owner.get('state')}); stop that one, or run "
                f"`bulkgpt-watchd adopt {self.name}` to take it over"
            )
        if owner is not None and owner.get("key", self.key) != self.key:
            raise Unusable(
                f"{work} belongs to route {owner.get('route')}, so this is not the folder that was here; mount the "
                f"right one, or run `bulkgpt-watchd adopt {self.name}` if that is meant"
            )
        return owner is None

    async def _owner(self) -> dict[str, Any] | None:
        content = await self._run(self.outside.folders.read_small, self.route.work / MARKER)
        if content is None:
            return None
        try:
            owner = json.loads(content)
        except ValueError:
            owner = None
        return owner if isinstance(owner, dict) else {}

    async def mark(self, *, replace: bool) -> None:
        """
        Write the marker: this work folder is ours.

        Errors: Unusable: somebody else was faster.
        Repeat: yes.
        """
        owner = {"state": self.state_uuid, "route": self.name, "key": self.key}
        content = json.dumps(owner).encode() + b"\n"
        try:
            await self._run(self.outside.folders.write_whole, self.route.work, MARKER, content, replace=replace)
        except NameTaken as error:
            raise Unusable(f"another daemon took {self.route.work} at the same moment") from error

    async def look(self) -> tuple[Look, list[tuple[str, Stamp]]]:
        """
        Take one look at the inbox and give the files that are whole and not yet known.

        Errors: DiskTrouble.
        """
        route, now = self.route, self.outside.clock.monotonic()
        quiet, rules = self.quiet, LookRules(route.match, route.recursive, route.ready.done_file, self.on_network)
        look: Look = await self._run(self.outside.folders.look, route.inbox, rules, frozenset(self.waiting))
        # Last bytes are read in the route's thread together, before the settler asks about single names.
        ends = await self.ends(self.settler.candidates(look.files, now, quiet))
        names, next_s = self.settler.observe(look.files, look.marked, now, quiet, ends)
        self.unsettled = len(look.files) - len(names)
        self.unreadable = dict(look.unreadable)
        self.next_look_at = self.outside.clock.now() + min(route.scan_every, next_s)
        return look, sorted(((name, look.files[name]) for name in names), key=lambda found: found[1].mtime_ns)

    @property
    def quiet(self) -> Quiet:
        """Give the route's rule for when a file is whole."""
        route = self.route
        settle = settle_s(route, on_network=self.on_network)
        return Quiet(settle, route.empty_grace, needs_marker=route.ready.done_file is not None)

    async def ends(self, names: list[str]) -> dict[str, bool]:
        """Tell of these files whether their last byte ends a line."""
        return dict(await self._run(self._ends, names))

    def _ends(self, names: list[str]) -> dict[str, bool]:
        return {name: self.outside.folders.ends_line(self.route.inbox, name) for name in names}

    async def exists(self, path: Path) -> bool:
        """Tell whether something stands there."""
        return bool(await self._run(self.outside.folders.exists, path))

    async def rename_in_work(self, work: Path, source: str, target: str) -> None:
        """Give a file in work another name."""
        await self._run(self.outside.folders.rename_in_work, work, source, target)

    async def hash_of(self, work: Path, name: str) -> str | None:
        """Hash a file in work, so that a copy that is dropped is known as its duplicate; None: it cannot be read."""
        try:
            return str(await self._run(self._hash, work, name))
        except (DiskTrouble, InUse, SourceVanished):
            return None

    def _hash(self, work: Path, name: str) -> str:
        source, _ = self.outside.folders.open_source(work, (name,))
        with source:
            return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto

    async def count_rows(self, names: list[str]) -> int:
        """Count the lines below the header of so many files: what they would cost."""
        return sum([await self._run(self._lines, name) for name in names])

    def _lines(self, name: str) -> int:
        try:
            source, _ = self.outside.folders.open_source(self.route.inbox, (name,))
        except (SourceVanished, InUse):
            return 0
        with source:
            lines = sum(block.count(b"\n") for block in iter(lambda: source.read(COUNT_BYTES), b""))
        return max(lines - 1, 0)

    async def low_disk(self, state_folder: Path) -> str | None:
        """Say which folder has less room than `min_free`, or none for another file; None if there is room."""
        for role, path in (("outbox", self.route.outbox), ("work", self.route.work), ("state", state_folder)):
            room: Room = await self._run(self.outside.folders.room, path)
            self.free_bytes[role] = room.bytes
            if room.bytes < self.route.min_free:
                return f"{path} has {room.bytes} bytes free; min_free of route {self.name} is {self.route.min_free}"
            if room.files == 0:
                return f"{path} {NO_INODES}"
        return None

    async def list_work(self, work: Path | None = None) -> dict[str, Stamp]:
        """Give what stands in work, or in a folder that was the work of this route before."""
        try:
            return dict(await self._run(self.outside.folders.list_work, work or self.route.work))
        except SourceVanished:
            return {}

    async def _run(self, function: Any, *args: Any, deadline_s: float = LOOK_DEADLINE_S, **named: Any) -> Any:
        return await self.outside.run(self.key, function, *args, deadline_s=deadline_s, **named)
