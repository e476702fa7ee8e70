"""Kill the daemon at any boundary: from that instant nothing of it reaches disk or BulkGPT any more."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, Literal, Self, TypeVar, cast

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.adapters.sqlite_thread import CommitThread
from bulkgpt_watchd.core.budget import Overrun, Spent
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ports import Change
from tests.adapters.kernels import Hooked, is_change
from tests.daemon import Daemon, Place

T = TypeVar("T")


class Killed(BaseException):
    """Be the kill: nothing catches it."""


class Fuse:
    """
    Count the boundaries that are met, and burn through at one of them.

    Shape: *steps* names them in order; *at* counts from 1, None: never. Names with *skips* in them are not counted.
    """

    def __init__(self, at: int | None = None, skips: str | None = None) -> None:
        self.at = at
        self.skips = skips
        self.steps: list[str] = []
        self.is_blown = False
        self.blown = asyncio.Event()
        self.lock = RLock()  # so that no call of another thread is under way at the instant of the kill
        self._loop = asyncio.get_running_loop()

    def boundary(self, step: str) -> None:
        with self.lock:
            self.check()
            if self.skips is not None and self.skips in step:
                return
            self.steps.append(step)
            if len(self.steps) == self.at:
                self.is_blown = True
                self._loop.call_soon_threadsafe(self.blown.set)
                self.check()

    @property
    def is_dead(self) -> bool:
        return self.is_blown

    def check(self) -> None:
        """Let nobody act who is dead."""
        if self.is_dead:
            raise Killed(self.steps[-1])

    @property
    def instant(self) -> str:
        """Name the boundary of the kill."""
        return f"killed at boundary {self.at}: {self.steps[self.at - 1]}" if self.at and self.is_blown else "not killed"


Refusal = Callable[[str, str], int | None]
"""Gives the errno with which a file system answers a call, told its name and what it would do; None: it does it."""


def on_local_disk(_name: str, _step: str) -> int | None:
    return None


class Term(Fuse):
    """Be a fuse that asks for a graceful end, as SIGTERM does; what threads still do dies with the process."""

    has_ended = False

    @property
    def is_dead(self) -> bool:
        return self.has_ended


class FusedKernel(Hooked):
    """Put a boundary before and after every call that changes something, and amid every write."""

    def __init__(self, fuse: Fuse, root: Path, refusal: Refusal = on_local_disk) -> None:
        self.fuse = fuse
        self.root = root
        self.refusal = refusal

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if not is_change(name, args):
            if name != "close":
                self.fuse.check()
            return call(*args, **named)
        step = self._told(name, args, named)
        if (code := self.refusal(name, step)) is not None:
            self.fuse.check()
            raise OSError(code, os.strerror(code))
        with self.fuse.lock:
            self.fuse.boundary(f"before {step}")
            if name == "write" and len(args[1]) > 1:
                half = call(args[0], args[1][: len(args[1]) // 2])
                self.fuse.boundary(f"amid {step}")
                result = half + call(args[0], args[1][half:])
            else:
                result = call(*args, **named)
            self.fuse.boundary(f"after {step}")
        return result

    def _told(self, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> str:
        def path(folder: int, file: str = "") -> str:
            return os.path.relpath(os.path.join(os.readlink(f"/proc/self/fd/{folder}"), file), self.root)

        if "src_dir_fd" in named:
            return f"{name} {path(named['src_dir_fd'], args[0])} -> {path(named['dst_dir_fd'], args[1])}"
        return f"{name} {path(named['dir_fd'], args[0]) if 'dir_fd' in named else path(args[0])}"


class _Gate:
    """Stand before the store's thread: what was asked and not yet written at the kill is not written after it."""

    def __init__(self, thread: CommitThread, fuse: Fuse) -> None:
        self.thread = thread
        self.fuse = fuse

    def ask(self, run: Callable[[sqlite3.Connection], T], *, writes: bool) -> asyncio.Future[T]:
        def unless_dead(connection: sqlite3.Connection) -> T:
            if self.fuse.is_dead:
                error = sqlite3.OperationalError("killed")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY  # undoes the whole transaction
                raise error
            return run(connection)

        self.fuse.check()
        return self.thread.ask(unless_dead, writes=writes)

    async def close(self) -> None:
        await self.thread.close()


class FusedStore(SqliteStore):
    """Put a boundary before and after every commit."""

    gate: _Gate

    @classmethod
    async def open_with(cls, fuse: Fuse, path: Path, **named: Any) -> Self:
        store = await cls.open(path, **named)
        store.gate = _Gate(store._thread, fuse)  # noqa: SLF001  # it is one of us
        store._thread = cast("CommitThread", store.gate)  # noqa: SLF001  # the same
        return store

    async def add(self, jobs: Sequence[Job]) -> None:
        await self._bounded("add", super().add(jobs))

    async def save(self, change: Change) -> bool:
        return await self._bounded(_name_of(change), super().save(change))

    async def pass_point(
        self,
        change: Change,
        *,
        max_outstanding: int,
        obstacle: Callable[[Sequence[Job]], Job | None],
        overrun: Callable[[Mapping[str, Spent]], Overrun | None],
    ) -> Job | Overrun | int | None:
        call = super().pass_point(change, max_outstanding=max_outstanding, obstacle=obstacle, overrun=overrun)
        return await self._bounded(_name_of(change), call)

    async def forget(self, jobs: Sequence[Job]) -> list[Job]:
        return await self._bounded("forget", super().forget(jobs))

    async def accept(self, change: Change, settle: Callable[[Sequence[Job]], tuple[Change, ...]]) -> tuple[Change, ...]:
        return await self._bounded(_name_of(change), super().accept(change, settle))

    async def set_fact(self, key: str, value: Any) -> None:
        await self._bounded(f"set_fact {key}", super().set_fact(key, value))

    async def audit(self, at: float, by: str, action: str, target: str, detail: str) -> None:
        await self._bounded(f"audit {action}", super().audit(at, by, action, target, detail))

    async def _bounded(self, what: str, commit: Coroutine[Any, Any, T]) -> T:
        try:
            self.gate.fuse.boundary(f"before commit of {what}")
            result = await commit
            self.gate.fuse.boundary(f"after commit of {what}")
        finally:
            commit.close()
        return result

    async def leave(self, path: Path) -> None:
        """Leave the files as the kill found them, a log that was not merged included, and free the lock."""
        with suppress(DiskTrouble):  # of what was refused beside it; answered, the thread writes no more
            await self.gate.thread.ask(lambda _connection: None, writes=False)
        files = [path, Path(f"{path}-wal")]
        for file in files:
            shutil.copyfile(file, f"{file}.left")
        await self.close()
        for file in files:
            os.replace(f"{file}.left", file)


def _name_of(change: Change) -> str:
    return f"{type(change.event).__name__} of {change.old.id}"


Life = Callable[[Daemon], Awaitable[None]]


async def live(place: Place, fuse: Fuse, life: Life, refusal: Refusal = on_local_disk) -> None:
    """Live one life to its end, or up to the kill; after it, nothing of it is left but what is on disk."""
    daemon = await hatch(place, fuse, refusal)

    async def all_of_it() -> None:
        await daemon.begin()
        await life(daemon)

    lived, blown = asyncio.create_task(all_of_it()), asyncio.create_task(fuse.blown.wait())
    await asyncio.wait({lived, blown}, return_when=asyncio.FIRST_COMPLETED)
    if not fuse.is_dead:
        await _end(daemon, lived, blown)
        if isinstance(fuse, Term):
            with fuse.lock:
                fuse.has_ended = True
        return
    await die(daemon)


async def hatch(
    place: Place, fuse: Fuse, refusal: Refusal = on_local_disk, store: type[FusedStore] = FusedStore
) -> Daemon:
    """Wire a daemon that dies when the fuse has blown; it has not begun."""
    asyncio.get_running_loop().set_exception_handler(partial(_unless_dead, fuse))
    daemon = await place.build(FusedKernel(fuse, place.folder, refusal), partial(store.open_with, fuse))
    place.api.boundary = fuse.boundary
    return daemon


async def die(daemon: Daemon) -> None:
    """Clear away the daemon whose fuse has blown: it does nothing more, and its state stays as the kill found it."""
    place = daemon.place
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    daemon.threads.stop()
    await cast("FusedStore", daemon.store).leave(place.state)
    place.api.boundary = _nothing
    place.daemon = None


async def _end(daemon: Daemon, lived: asyncio.Task[None], blown: asyncio.Task[Literal[True]]) -> None:
    """End gracefully: the loop first, as the service does."""
    daemon.scheduler.book.is_stopping = blown.done()
    for task in (lived, blown):
        task.cancel()  # where it ended by itself, this does nothing
    await asyncio.wait({lived, blown})
    await daemon.stop()
    daemon.place.api.boundary = _nothing
    if not lived.cancelled():
        lived.result()


def _nothing(_step: str) -> None:
    """Be a boundary nobody dies at."""


def _unless_dead(fuse: Fuse, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep quiet of what the dead never asked about."""
    if not fuse.is_dead:
        loop.default_exception_handler(context)
