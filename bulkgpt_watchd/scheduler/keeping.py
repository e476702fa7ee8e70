"""
Forget what ended long ago, and empty the archive, as `keep` says.

In small batches with rests between them, a few times a day: neither the loop nor the store is held up.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bulkgpt_watchd.config import Route
from bulkgpt_watchd.core.errors import DiskTrouble, InUse
from bulkgpt_watchd.core.events import Cleared
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.keep import HISTORY_S, IN_ERROR, Ended, Span, stands_in_error
from bulkgpt_watchd.core.shown import rfc3339
from bulkgpt_watchd.effects.outside import CALL_DEADLINE_S
from bulkgpt_watchd.effects.tidying import clear
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.inbox import Inbox

BATCH = 200
"""Jobs that are forgotten in one transaction: with their journals it takes 10 to 20 ms."""

AT_ONCE = 10_000
"""Jobs that one `prune` forgets before it answers: 3 to 30 s, so that who asks sees it get on."""

REST_S = 0.05
"""Between two batches, for those who wait for the store."""

FIRST_S, EVERY_S = 60.0, 6 * 3600.0
"""When the daemon tidies up: not amid the work of a start, and often enough that a day's jobs are few."""


@dataclass(slots=True)
class Pruned:
    """Count the jobs that were old enough: what is forgotten, by state, and what is kept, by why."""

    forgotten: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)


def span_of(route: Route | None, older_than_s: float | None, now: float) -> Span | None:
    """
    Say what of a route may be forgotten; None: nothing.

    Shape: without *route* it is no longer configured.
    Units: older than *older_than_s*, or than the route's `keep.history`.
    """
    age_s = older_than_s
    if age_s is None:
        age_s = HISTORY_S if route is None else route.keep.history
    if age_s is None:
        return None
    window_s = 0.0 if route is None else route.duplicate_window
    return Span(now - age_s, now - window_s, empties_archive=route is not None and route.keep.archive is not None)


@dataclass(frozen=True, slots=True)
class Pruner:
    """
    Forget ended jobs, beside a running daemon or without one.

    Shape: *stands* tells whether a failed job's file may stand in the error folder still.
    """

    store: Ended
    forget: Callable[[Sequence[Job]], Awaitable[list[Job]]]
    stands: Callable[[Job], Awaitable[bool]]
    rest: Callable[[float], Awaitable[None]]

    async def prune(
        self, route: str, span: Span, pruned: Pruned, *, is_trial: bool = False, most: float = math.inf
    ) -> None:
        """
        Forget what ended before then, until it is *most*, and add it up in *pruned*; a trial counts all.

        Repeat: yes.
        """
        last, enough = None, math.inf if is_trial else most
        while pruned.forgotten.total() < enough and (
            page := await self.store.ended(route, span.before, after=last, limit=BATCH)
        ):
            last, batch = page[-1], list[Job]()
            for job in page:
                why = span.why_kept(job)
                if why is None and stands_in_error(job) and await self.stands(job):
                    why = IN_ERROR
                if why is None:
                    batch.append(job)
                else:
                    pruned.kept[why] += 1
            gone = batch if is_trial else await self.forget(batch)
            pruned.forgotten.update(job.state.value for job in gone)
            if not is_trial:  # who only reads holds the store up for no longer than its page
                await self.rest(REST_S)


@dataclass(frozen=True, slots=True)
class Keeper:
    """Tidy up the routes of a running daemon."""

    book: Book

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tidy up again and again, as long as the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        clock = self.book.outside.clock
        await clock.sleep(FIRST_S)
        while True:
            await self.tidy()
            await clock.sleep(EVERY_S)

    async def tidy(self) -> None:
        """
        Do once what `keep` says.

        Repeat: yes.
        """
        try:
            for inbox in list(self.book.inboxes.values()):
                await self._empty_archive(inbox)
            await self.prune()
        except DiskTrouble as error:
            self.book.tell_trouble(error)
        except Exception:  # noqa: BLE001 a bug here must not end the daemon
            self.book.log("daemon.bug", "error", exc_info=True)

    async def prune(
        self, older_than_s: float | None = None, *, is_trial: bool = False, most: float = math.inf
    ) -> Pruned:
        """
        Forget ended jobs of all routes, until they are *most*.

        Units: older than *older_than_s*, or than the route's `keep.history`; never within its `duplicate_window`.
        """
        book, now, total = self.book, self.book.outside.clock.now(), Pruned()
        pruner = Pruner(book.outside.store, book.forget, self._stands, book.outside.clock.sleep)
        for key in sorted({key for key, _ in book.counts} | book.inboxes.keys()):
            inbox = book.inboxes.get(key)
            span = span_of(inbox.route if inbox else None, older_than_s, now)
            if span is None:
                continue
            pruned = Pruned()
            await pruner.prune(key, span, pruned, is_trial=is_trial, most=most - total.forgotten.total())
            total.forgotten.update(pruned.forgotten)
            total.kept.update(pruned.kept)
            if pruned.forgotten and not is_trial:
                jobs = pruned.forgotten.total()
                book.log("history.pruned", "info", route=key, jobs=jobs, before=rfc3339(span.before))
        return total

    async def _stands(self, job: Job) -> bool:
        """Look for a failed job's file; where that cannot be done now, it may be there."""
        inbox, outside = self.book.inboxes.get(job.route), self.book.outside
        if inbox is None or inbox.reason is not None:
            return True
        if job.error_path is None:
            return False
        try:
            path, exists = Path(job.error_path), outside.folders.exists
            return bool(await outside.run(job.route, exists, path, deadline_s=CALL_DEADLINE_S))
        except (DiskTrouble, InUse):
            return True

    async def _empty_archive(self, inbox: Inbox) -> None:
        """Remove what is old enough; what cannot be removed keeps nothing else, and is tried the next time."""
        age_s, outside = inbox.route.keep.archive, self.book.outside
        if age_s is None:
            return
        before, last, troubles = outside.clock.now() - age_s, None, list[str]()
        while inbox.reason is None and (
            jobs := await outside.store.archived(inbox.key, before, after=last, limit=BATCH)
        ):
            last = jobs[-1]
            for job in jobs:
                try:
                    await outside.run(inbox.key, clear, outside.folders, job, deadline_s=CALL_DEADLINE_S)
                except (DiskTrouble, InUse) as error:
                    troubles.append(str(error))
                else:
                    await self.book.commit(job, Cleared())
            await outside.clock.sleep(REST_S)
        if troubles:
            self.book.log("archive.kept", "warning", route=inbox.key, jobs=len(troubles), reason=troubles[0])
