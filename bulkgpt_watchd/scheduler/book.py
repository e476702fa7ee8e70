"""Write down what happens to jobs: the only place where a state changes, and the only one that logs it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from bulkgpt_watchd.config import ApiSettings
from bulkgpt_watchd.core.budget import Spent
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.events import Abandoned, Accepted, Event, GaveUp, Passed, Prepared, Superseded
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ledger import addition, day_of
from bulkgpt_watchd.core.lifecycle import advance, conflict
from bulkgpt_watchd.core.policy import Policy, backoff
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.effects import Outside
from bulkgpt_watchd.effects.outside import policy_of
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.telling import Log, is_news, line, of_job

STOP_TRIES = 3
"""How often a write is tried again while the daemon stops; before that it is repeated until it is on disk."""

NO_WAITS = Policy(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

T = TypeVar("T")


@dataclass
class Book:
    """
    Keep the jobs in the store, their numbers by route and state, and the routes they belong to.

    Shape: *inboxes* by the keys of the routes, *names* what people call them. *counts*, and *spent* by day and route,
        follow every commit; they are read from the store at the start and never guessed. *forgotten*: how many jobs of
        each state were pruned since then. *unsent* are jobs whose last submit ended, in this process, as certainly not
        accepted: their file may have its sent name all the same, where a share hung.
    """

    outside: Outside
    api: ApiSettings
    log: Log
    names: dict[str, str] = field(default_factory=dict)
    inboxes: dict[str, Inbox] = field(default_factory=dict)
    counts: Counter[tuple[str, State]] = field(default_factory=Counter)
    observe: Callable[[Change], None] = lambda _change: None  # told each written change, once
    unsent: set[str] = field(default_factory=set)
    spent: dict[tuple[str, str], Spent] = field(default_factory=dict)
    forgotten: Counter[State] = field(default_factory=Counter)
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)  # who acts on a job, and who drops a route, take turns
    is_stopping: bool = False
    _told_at: dict[str, float] = field(default_factory=dict)  # trouble with the state → when it was told as an error

    def tell_trouble(self, error: DiskTrouble) -> None:
        """
        Log that the state cannot be written.

        Repeat: each reason is an error once per `retry.max`, until a job is written; a full disk would fill the log.
        """
        now, reason = self.outside.clock.monotonic(), str(error)
        is_repeat = now < self._told_at.get(reason, -math.inf) + self.api.retry.max
        self._told_at[reason] = self._told_at[reason] if is_repeat else now
        self.log("state.unwritable", "debug" if is_repeat else "error", reason=reason)

    async def add(self, jobs: Sequence[Job]) -> None:
        """Write new jobs, all or none; what was told as failed may be written all the same."""
        try:
            await self.outside.store.add(jobs)
        except DiskTrouble:
            if await self.outside.store.get(jobs[0].id) is None:
                raise
        self.counts.update((job.route, job.state) for job in jobs)

    async def commit(self, job: Job, event: Event) -> Job | None:
        """
        Write what happened to a job.

        Shape: the job as it now stands; None when somebody else moved it on and this is dropped.
        Repeat: until it is on disk.
        """
        change = self.change(job, event)
        if isinstance(event, Accepted):
            self._tell(change)  # before it is committed, so that no full disk can hide the task ID
            changes = await self._insist(lambda: self.outside.store.accept(change, partial(self._in_conflict, change)))
        else:
            changes = (change,) if await self._insist(lambda: self.outside.store.save(change)) else ()
        if not changes:
            stands = await self._insist(lambda: self.outside.store.get(job.id))
            if stands is not None and (job.state, stands.state) == (State.READY, State.SUBMITTING):
                # Nobody but this submit itself passes its point of no return, and it was told that it did not.
                self.count(Change(job, stands, Passed(stands.workflow_id or "")))
                return await self.commit(stands, event)
            changes = await self._written_all_the_same(change, stands)
        for written in changes:
            self.count(written)
            if written is not change or not isinstance(event, Accepted):
                self._tell(written)
        if not changes:
            self.log("job.stale", "debug", **of_job(job))
            return None
        if isinstance(event, Prepared | GaveUp):
            await self._supersede(event.supersedes, job.id)
        if job.state is State.DISCOVERED and change.new.state is not State.DISCOVERED:
            self.inboxes[job.route].waiting.pop(job.file, None)
        return changes[0].new

    def change(self, job: Job, event: Event) -> Change:
        """Give the step that *event* means for a job, not yet written."""
        clock = self.outside.clock
        # A person may close a job whose route is gone: nothing of it waits, so no number of a policy counts.
        policy = NO_WAITS if isinstance(event, Abandoned) else self.policy(self.inboxes[job.route])
        new = advance(job, event, clock.now(), policy, clock.jitter())
        return Change(job, new, event, is_news=is_news(job, new, event))

    def count(self, change: Change) -> None:
        """Follow a written change in the numbers."""
        self.counts[change.old.route, change.old.state] -= 1
        self.counts[change.new.route, change.new.state] += 1
        self.observe(change)
        if change.new.state is State.READY and change.old.state is State.SUBMITTING:
            self.unsent.add(change.new.id)
        elif change.new.state is not State.READY:
            self.unsent.discard(change.new.id)
        today = day_of(self.outside.clock.now())
        if (line := addition(change)) is not None and line.day >= today:
            self.spent = {key: used for key, used in self.spent.items() if key[0] >= today}
            sent = Spent(line.submitted_rows - line.refused_rows, line.submitted_files - line.refused_files)
            self.spent[line.day, line.route] = self.spent.get((line.day, line.route), Spent()) + sent

    async def forget(self, jobs: Sequence[Job]) -> list[Job]:
        """Remove ended jobs; give those that are gone."""
        gone = await self.outside.store.forget(jobs)
        self.counts.subtract((job.route, job.state) for job in gone)
        self.forgotten.update(job.state for job in gone)
        return gone

    def policy(self, inbox: Inbox) -> Policy:
        """Give the numbers of a route."""
        return policy_of(inbox.route, self.api, on_network=inbox.on_network)

    async def _written_all_the_same(self, change: Change, stands: Job | None) -> tuple[Change, ...]:
        """Say what is on disk of a change that was told as failed; nothing, where somebody else moved the job on."""
        if stands == change.new:
            return (change,)
        if stands is not None and (stands.code, stands.revision) == ("task_id_conflict", change.new.revision):
            holders = await self._insist(lambda: self.outside.store.holders(stands))
            for held in [stands, *(holder for holder in holders if holder.related_job == stands.id)]:
                event = GaveUp("task_id_conflict", held.message or "", related_job=held.related_job)
                self._tell(Change(held, held, event))
            # Which states they were in is not known any more. What was written before is counted before this is.
            counts = await self._insist(self.outside.store.counts)
            self.counts = Counter(counts)
        return ()

    async def _supersede(self, old_ids: Iterable[str], by: str) -> None:
        for old_id in old_ids:
            old = await self.outside.store.get(old_id)
            if old is not None and old.state is State.FAILED:
                await self.commit(old, Superseded(by))

    def _in_conflict(self, change: Change, holders: Sequence[Job]) -> tuple[Change, ...]:
        policy = self.policy(self.inboxes[change.new.route])
        return conflict(change, holders, self.outside.clock.now(), policy)

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write until it is on disk; while stopping only a few times."""
        failures = 0
        while True:
            try:
                written = await write()
            except DiskTrouble as error:
                failures += 1
                self.tell_trouble(error)
                if self.is_stopping and failures >= STOP_TRIES:
                    raise
                seconds = backoff(failures, self.api.retry.min, self.api.retry.max, self.outside.clock.jitter())
                await self.outside.clock.sleep(seconds)
            else:
                self._told_at.clear()
                return written

    def _tell(self, change: Change) -> None:
        told = line(change.old, change.new, change.event)
        if told is not None:
            name, level, facts = told
            self.log(name, level, **of_job(change.new), **facts)
