"""Build the whole daemon on real folders and a real state, with a fake clock and a fake BulkGPT."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bulkgpt_watchd.adapters.folders import Kernel, LocalFolders
from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.adapters.threads import RouteThreads
from bulkgpt_watchd.config import ApiSettings, Route
from bulkgpt_watchd.core.job import TERMINAL, Job
from bulkgpt_watchd.core.ports import Mount, Query
from bulkgpt_watchd.effects import Outside
from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.discovery import Discovery
from bulkgpt_watchd.scheduler.inbox import NOT_LOOKED_AT, Inbox
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.telling import with_names
from bulkgpt_watchd.service.wiring import dump_route, parse_route
from tests.fakes import FakeApi, FakeClock

T = TypeVar("T")

WEEK_S = 7 * 86_400.0

STEPS = 20_000
"""A story that takes more steps turns in circles without time going by."""


@dataclass(frozen=True)
class Line:
    """Hold one line of the log."""

    event: str
    level: str
    facts: dict[str, Any]


class FoldersOnNetwork(LocalFolders):
    """Say of every folder that it lies on NFS."""

    def mount_of(self, folder: Path) -> Mount:
        return Mount(super().mount_of(folder).point, "nfs4", is_network=True)


@dataclass
class Place:
    """
    Hold what outlives a daemon: folders, state, clock, BulkGPT, and the lines of its log.

    *is_on_network*: its folders are said to lie on NFS. *deadline_share*: so much of each deadline of a call on a
    folder is waited for; that time is real, also where the clock is not.
    A place without a route gets one named `leads` at its first start.
    """

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    settings: ApiSettings = field(default_factory=ApiSettings)
    routes: dict[str, Route] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    api: FakeApi = field(init=False)
    daemon: Daemon | None = None
    is_on_network: bool = False
    deadline_share: float = 1.0
    dropped: list[bytes] = field(default_factory=list)
    states: int = 0  # how many were made

    def __post_init__(self) -> None:
        self.api = FakeApi(self.clock)
        (self.folder / "state").mkdir()

    @property
    def state(self) -> Path:
        return self.folder / "state" / "state.db"

    def route(self, name: str = "leads", **changes: Any) -> Route:
        """Give the route of this name, made anew with *changes*; its folders are made where they are missing."""
        folders = {role: self.folder / name / role for role in ("inbox", "outbox", "error", "archive")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        usual = {"name": name, "workflow_id": f"workflow of {name}", "settle": 0.0, "hold_backlog": None}
        old = self.routes.get(name)
        kept = {} if old is None else {key: getattr(old, key) for key in old.model_fields_set}
        work = folders["inbox"] / ".bulkgpt-watchd"
        self.routes[name] = Route(**{**usual, **folders, "work": work, **kept, **changes})
        return self.routes[name]

    def drop(self, name: str, content: bytes = b"Input_1\n1\n2\n3\n", route: str = "leads") -> Path:
        """Put a whole file into an inbox by renaming it into place."""
        if route not in self.routes:
            self.route(route)
        target = self.routes[route].inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        dotted = target.with_name(f".{target.name}")
        dotted.write_bytes(content)
        self.dropped.append(content)
        return dotted.rename(target)

    def files(self, role: str, route: str = "leads") -> dict[str, bytes]:
        """Give all that stands in a folder of a route (`work` too), dot-files included, by relative path."""
        folder: Path = getattr(self.routes[route], role)
        found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        ours = f"{self.routes[route].work.name}/"
        return {name: path.read_bytes() for name, path in found.items() if not name.startswith(ours)}

    def told(self, event: str) -> list[dict[str, Any]]:
        """Give the facts of all lines of the log with this name."""
        return [line.facts for line in self.lines if line.event == event]

    def log(self, event: str, level: str = "info", **facts: Any) -> None:
        self.lines.append(Line(event, level, facts))

    async def start(self, uuid: str = "state-1") -> Daemon:
        """Start a daemon here; the one before must have ended. *uuid* is that of a state made anew."""
        self.uuid = uuid
        daemon = await self.build()
        await daemon.begin()
        return daemon

    async def build(
        self, kernel: Kernel | None = None, open_store: Callable[..., Awaitable[SqliteStore]] = SqliteStore.open
    ) -> Daemon:
        """Wire a daemon as the service does, up to where it does something."""
        if not self.routes:
            self.route()
        folders = (FoldersOnNetwork if self.is_on_network else LocalFolders)(kernel)
        threads = RouteThreads()
        path = self.state
        store = await open_store(path, fstype="ext4", now=self.clock.now, new_uuid=self._new_uuid)

        def run(
            route: str, function: Callable[..., T], /, *args: Any, deadline_s: float | None = None, **named: Any
        ) -> Awaitable[T]:
            limit_s = None if deadline_s is None else deadline_s * self.deadline_share
            return threads.run(route, partial(function, *args, **named), deadline_s=limit_s)

        outside = Outside(self.api, folders, store, self.clock, run, threads.later)
        names: dict[str, str] = {}
        log = with_names(self.log, names)
        book = Book(outside, self.settings, log, names)
        scheduler = Scheduler(book, path.parent)
        discovery = Discovery(scheduler, store.uuid, dump_route, parse_route, _no_bell)
        self.daemon = Daemon(self, scheduler, discovery, Acts(scheduler, discovery), store, threads)
        return self.daemon

    def _new_uuid(self) -> str:
        self.states += 1
        return f"state-{self.states}"

    async def close(self) -> None:
        """End the daemon that still lives."""
        if self.daemon is not None:
            await self.daemon.stop()


@dataclass
class Daemon:
    """Be one life of the daemon: it is stepped by the test, and time jumps to what is due next."""

    place: Place
    scheduler: Scheduler
    discovery: Discovery
    acts: Acts
    store: SqliteStore
    threads: RouteThreads

    async def begin(self) -> None:
        await self.discovery.start(self.place.routes.values())

    async def stop(self) -> None:
        """End gracefully, as TERM does."""
        await self.scheduler.stop()
        await self.store.close()
        self.threads.stop()
        self.place.daemon = None

    async def turn(self, most_s: float = math.inf) -> None:
        """Do what is due, wait for its end, and jump to what is due next, but not further than *most_s*."""
        wait_s = await self.scheduler.step()
        await self.scheduler.drain()
        if not self.scheduler.wake.is_set():  # nothing ended meanwhile that might be followed by something
            assert min(wait_s, most_s) < math.inf, "nothing will ever happen again"
            self.place.clock.advance(min(wait_s, most_s))

    async def run_until(self, condition: Callable[[], object], *, within_s: float = WEEK_S) -> None:
        """Run until *condition* holds; fail when it does not *within_s*."""
        ends_at = self.place.clock.monotonic() + within_s
        for _ in range(STEPS):
            if condition():
                return
            assert self.place.clock.monotonic() <= ends_at, f"still not so after {within_s:g} s: {self._numbers()}"
            await self.turn()
        raise AssertionError(f"still not so after {STEPS} steps: {self._numbers()}")

    async def run_for(self, seconds: float) -> None:
        """Run for so long."""
        ends_at = self.place.clock.monotonic() + seconds
        while (left_s := ends_at - self.place.clock.monotonic()) > 0:
            await self.turn(left_s)

    async def run_to_idle(self, *, within_s: float = WEEK_S) -> None:
        """Run until every dropped file has ended: each inbox was looked at and nothing is under way."""
        for inbox in self.scheduler.inboxes.values():
            self.scheduler.ring(inbox.name)
        await self.turn(0.0)
        await self.run_until(self._is_idle, within_s=within_s)

    def _is_idle(self) -> bool:
        counts = self.scheduler.book.counts
        inboxes = self.scheduler.inboxes.values()
        return all(inbox.unsettled == 0 and inbox.reason != NOT_LOOKED_AT for inbox in inboxes) and all(
            number == 0 or state in TERMINAL for (_, state), number in counts.items()
        )

    def _numbers(self) -> dict[str, int]:
        return {f"{route} {state}": n for (route, state), n in self.scheduler.book.counts.items() if n}

    async def jobs(self) -> list[Job]:
        """Give all jobs, the oldest first."""
        return (await self.store.query(Query()))[::-1]

    async def job(self, file: str) -> Job:
        """Give the newest job of a file's name."""
        return [job for job in await self.jobs() if job.file == file][-1]


async def _no_bell(inbox: Inbox, *, is_removed: bool = False) -> None:
    """Watch nothing: the scan is the truth."""
    del inbox, is_removed
