"""Keep a daemon alive through kills, stops, sick disks and lost states, and what the world knows beside it."""

from __future__ import annotations

import asyncio
import errno
import shutil
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from bulkgpt_watchd.config import ApiSettings, Route
from bulkgpt_watchd.config.models import RetrySettings
from bulkgpt_watchd.config.route import PollSettings
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.wire import Phase
from tests.crash.fuse import Fuse, FusedStore, die, hatch
from tests.daemon import Daemon, Place
from tests.fakes import FakeTask

T = TypeVar("T")

KEYS = ("quick", "slow")
"""Routes: files are renamed into the first, and written slowly into the second, which waits until they are quiet."""

OURS = ("route.json", ".error.json", ".receipt.json")
"""Ends of names that we make; what begins with a dot is not finished, or a trial."""

HOLDERS = ("inbox", "error", "archive")
"""Folders of a route in which an input may stand; work lies in the inbox."""

Content = tuple[str, bytes]
"""The route that something was dropped on, and its bytes."""


@dataclass
class Sickness:
    """Plan trouble of the state's disk: so many writes are told as failed; *is_late*: they were done all the same."""

    writes: int = 0
    is_late: bool = False


class SickStore(FusedStore):
    """Answer the writes that the world's sickness names with trouble."""

    sickness: Sickness

    async def _bounded(self, what: str, commit: Coroutine[Any, Any, T]) -> T:
        if self.sickness.writes <= 0:
            return await super()._bounded(what, commit)
        self.sickness.writes -= 1
        if self.sickness.is_late:
            await super()._bounded(what, commit)
        commit.close()
        raise DiskTrouble("the state's disk is full")


@dataclass
class Fate:
    """Say how a task will go."""

    end: Phase
    rows_failed: int
    runs_s: float


@dataclass
class World(Place):
    """
    Be the place of a model's daemon.

    Shape: *holds* counts the inputs that must stand somewhere; *shown* how often each was given to a route, by a drop,
        by moving it back, or by a person's order to pay again. *repeats* counts what allows one more accepted submit
        of the same bytes beside the first; *copies* what allows one more result.
        *sick_folders* are role → errno; *known* are all routes there ever were, by key.
    """

    holds: Counter[Content] = field(default_factory=Counter)
    shown: Counter[Content] = field(default_factory=Counter)
    repeats: Counter[Content] = field(default_factory=Counter)
    copies: Counter[Content] = field(default_factory=Counter)
    sick_folders: dict[str, int] = field(default_factory=dict)
    sickness: Sickness = field(default_factory=Sickness)
    fates: deque[Fate] = field(default_factory=deque)
    tasks: list[FakeTask] = field(default_factory=list)
    known: dict[str, Route] = field(default_factory=dict)
    bugs: list[str] = field(default_factory=list)
    has_forgotten: bool = False  # an older state was restored, or it was lost
    kills: int = 0
    fuse: Fuse | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings = ApiSettings(retry=RetrySettings(min=5.0, max=60.0), max_outstanding=5)
        self.api.on_accept = self._begin_task
        for key, settle in zip(KEYS, (0.0, 10.0), strict=True):
            self.known[key] = self.route(
                key, settle=settle, scan_every=60.0, poll=PollSettings(min=2.0, max=300.0), duplicate_window=3.0e7
            )

    def log(self, event: str, level: str = "info", **facts: Any) -> None:
        super().log(event, level, **facts)
        if event == "daemon.bug" or facts.get("code") == "internal_error":
            self.bugs.append(f"{facts} {traceback.format_exc()}")

    def _begin_task(self, task: FakeTask) -> None:
        fate = self.fates.popleft() if self.fates else Fate("completed", 0, 30.0)
        task.end, task.rows_failed, task.runs_s = fate.end, fate.rows_failed, fate.runs_s
        if task.task_id in self.api.tasks:
            task.task_id = f"behind-{len(self.tasks)}"  # BulkGPT goes on answering for the first
        self.tasks.append(task)
        if fate.end != "completed":
            self.repeats[key_of(task.workflow_id), task.csv] += 1

    # --- files --------------------------------------------------------------------------------------------------------

    def standing(self, *roles: str) -> dict[Path, Content]:
        """Give what stands in these folders of all routes, but for what is ours."""
        found = {}
        for key, route in self.known.items():
            for role in roles:
                for path in sorted(getattr(route, role).rglob("*")):
                    is_ours = path.name.startswith(".") or path.name.endswith(OURS)
                    if path.is_file() and not is_ours:
                        found[path] = (key, path.read_bytes())
        return found

    def paid(self, content: Content) -> int:
        """Count the accepted submits of these bytes on this route."""
        return sum(1 for sent in self.api.accepted if (key_of(sent.workflow_id), sent.csv) == content)

    # --- lives --------------------------------------------------------------------------------------------------------

    async def do(self, act: Callable[[Daemon], Awaitable[None]]) -> None:
        """Have the daemon do something to its end, or to the kill; one that does not live is started before."""
        while self.daemon is None:
            await self._begin()
        await self._live(act)

    async def _begin(self) -> None:
        self.fuse = Fuse() if self.fuse is None or self.fuse.is_dead else self.fuse
        daemon = await hatch(self, self.fuse, self._refusal, SickStore)
        cast("SickStore", daemon.store).sickness = self.sickness
        try:
            await self._live(lambda daemon: daemon.begin())
        except DiskTrouble:  # it ends with 74, and is started again
            await daemon.stop()

    async def _live(self, act: Callable[[Daemon], Awaitable[None]]) -> None:
        daemon, fuse = self.daemon, self.fuse
        assert daemon is not None
        assert fuse is not None

        async def whole() -> None:
            await act(daemon)
            await daemon.scheduler.drain()

        lived, blown = asyncio.create_task(whole()), asyncio.create_task(fuse.blown.wait())
        await asyncio.wait({lived, blown}, return_when=asyncio.FIRST_COMPLETED)
        if fuse.is_dead:
            self.kills += 1
            await die(daemon)
            return
        blown.cancel()
        await asyncio.wait({blown})
        lived.result()

    async def stop(self) -> None:
        """Stop gracefully, unless a kill comes in between."""
        if self.daemon is not None:
            await self._live(lambda daemon: daemon.stop())
            self.fuse = None

    async def arm(self, boundaries: int) -> None:
        """Have the daemon killed so many boundaries from now."""
        if self.fuse is None or self.fuse.is_dead:
            self.fuse = Fuse()
        with self.fuse.lock:
            self.fuse.at = len(self.fuse.steps) + boundaries

    def keep_state(self) -> None:
        """Copy the state of a daemon that does not live."""
        for file in self._state_files():
            if file.exists():
                shutil.copyfile(file, f"{file}.kept")

    def put_back_state(self, *, is_lost: bool) -> None:
        """Put the copy in the place of the state, or nothing: from now on what was written meanwhile is unknown."""
        for file in self._state_files():
            file.unlink(missing_ok=True)
            kept = Path(f"{file}.kept")
            if kept.exists() and not is_lost:
                shutil.copyfile(kept, file)
        Path(f"{self.state}-shm").unlink(missing_ok=True)
        self.has_forgotten = True
        for content in list(self.shown):
            self.repeats[content] += self.paid(content)
            self.copies[content] += self.paid(content)

    def _state_files(self) -> tuple[Path, Path]:
        return self.state, Path(f"{self.state}-wal")

    def _refusal(self, name: str, step: str) -> int | None:
        if "state/" in step:
            return None
        for role, code in self.sick_folders.items():
            adds = name in {"open", "write", "mkdir"}
            if f"/{role}/" in f"{step}/" and (adds or code == errno.EROFS):
                return code
        return None


def key_of(workflow_id: str) -> str:
    """Give the route that submits to this workflow."""
    return workflow_id.removeprefix("workflow of ")


def place_of(found: Job | Route) -> str:
    """Give the folder of a job's or a route's inbox: what it is called here, whatever the daemon knows it by."""
    return Path(found.inbox).parent.name
