"""Decide when `run --once` is done: everything that was there is taken and ended, or cannot go on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.exit_codes import HELD, REFUSED, SOME_FAILED
from bulkgpt_watchd.core.gate import hurried
from bulkgpt_watchd.core.job import TERMINAL, Stamp, State
from bulkgpt_watchd.core.status import STUCK
from bulkgpt_watchd.scheduler.inbox import NOT_LOOKED_AT, Inbox
from bulkgpt_watchd.scheduler.loop import Scheduler

WAITING = frozenset({State.DISCOVERED, State.CLAIMED, State.READY})

OF_BULKGPT = frozenset({State.READY, State.SUBMITTED})
"""States whose effects wait for BulkGPT and, if at all, no longer than a while for a folder."""

TIRED = replace(STUCK, limit=None)
"""What to ask the store for, to have the jobs that failed several times in a row."""


@dataclass(slots=True)
class Once:
    """Remember how the inboxes looked at first: what changes after that is still being written, and is left."""

    scheduler: Scheduler
    failed_before: int
    tired_before: dict[str, int]  # job ID → revision
    first: dict[str, dict[str, Stamp]] = field(default_factory=dict)

    @classmethod
    async def begin(cls, scheduler: Scheduler) -> Once:
        """Remember what was there before; what BulkGPT denied before is asked again, for nobody stays to wait."""
        passage = scheduler.passage
        await passage.set_gate(hurried(passage.gate, scheduler.outside.clock.now()))
        tired = {job.id: job.revision for job in await scheduler.outside.store.query(TIRED)}
        failed = sum(number for (_, state), number in scheduler.book.counts.items() if state is State.FAILED)
        return cls(scheduler, failed, tired)

    async def verdict(self) -> int | None:
        """Give the exit code; None while there is something to wait for."""
        scheduler = self.scheduler
        for name, inbox in scheduler.inboxes.items():
            if inbox.reason == NOT_LOOKED_AT or (
                inbox.reason is None and (name in scheduler.looking or inbox.is_unsure)
            ):
                return None  # a route that cannot be used is looked at again and again: each look may hang for long
            if self._may_settle(name):
                return None
        if self._is_busy():
            return None
        try:
            tired = await self._tired()
        except DiskTrouble:  # the steps tell of it
            return None
        gate = scheduler.passage.gate
        left = {key: number for key, number in scheduler.book.counts.items() if number > 0 and key[1] not in TERMINAL}
        moving = [key for key, number in left.items() if not self._is_stuck(*key, is_tired=tired[key] >= number)]
        if gate.position == "shut" and gate.is_denied and all(state in WAITING for _, state in moving):
            return REFUSED
        if moving:
            return None
        if left or any(inbox.reason is not None or inbox.unreadable for inbox in scheduler.inboxes.values()):
            return HELD
        failed = sum(number for (_, state), number in scheduler.book.counts.items() if state is State.FAILED)
        failed += scheduler.book.forgotten[State.FAILED]
        return SOME_FAILED if failed > self.failed_before else 0

    def _may_settle(self, route: str) -> bool:
        """Tell whether a file that was there at first, has content and did not change since, is not whole yet."""
        inbox = self.scheduler.inboxes[route]
        if inbox.reason is not None or inbox.is_draining or inbox.route.ready.done_file is not None:
            return False
        seen = {name: entry.stamp for name, entry in inbox.settler.seen.items() if name not in inbox.waiting}
        first = self.first.setdefault(route, seen)
        return any(first.get(name) == stamp and stamp.bytes > 0 for name, stamp in seen.items())

    def _is_busy(self) -> bool:
        """Tell whether something is under way that will end; what hangs on the folders of a route may never."""
        scheduler = self.scheduler
        probe_at = scheduler.passage.gate.probe_at
        if probe_at is not None and probe_at <= scheduler.outside.clock.now():
            return True
        hung = {name for name, inbox in scheduler.inboxes.items() if inbox.reason is not None}
        return any(route not in hung or state in OF_BULKGPT for route, state in scheduler.lanes.running.values())

    async def _tired(self) -> Counter[tuple[str, State]]:
        """Count by route and state the jobs that failed again and again; unless they are paid, in this run too."""
        jobs = await self.scheduler.outside.store.query(TIRED)
        return Counter(
            (job.route, job.state)
            for job in jobs
            if job.state is State.SUBMITTED or job.revision > self.tired_before.get(job.id, -1)
        )

    def _is_stuck(self, route: str, state: State, *, is_tired: bool) -> bool:
        """Tell whether jobs in this state cannot go on without a person, or for a good while."""
        inbox = self.scheduler.inboxes.get(route)
        if inbox is None or (inbox.reason is not None and state is not State.SUBMITTED):
            return True
        passage, lanes = self.scheduler.passage, self.scheduler.lanes
        gate = passage.gate
        if state is State.SUBMITTED:  # it is paid: only who may not even ask about it waits for nothing
            return is_tired and ((gate.position == "shut" and gate.is_denied) or route in gate.routes)
        if is_tired or state not in WAITING:
            return is_tired
        return (
            passage.pause_of(route) is not None
            or inbox.disk_low is not None
            or gate.is_locked
            or passage.is_unheard
            or lanes.is_held_for_itself(inbox)
            # Behind others, which are stuck themselves if it comes to that.
            or (state is State.DISCOVERED and gate.position != "shut" and lanes.places(inbox, state) <= 0)
            or self._waits_for_budget(inbox, state)
        )

    def _waits_for_budget(self, inbox: Inbox, state: State) -> bool:
        """Tell whether all jobs in this state wait for a budget; one that is claimed gets that far by itself."""
        lanes, held = self.scheduler.lanes, self.scheduler.lanes.budgets.held_in(inbox.key)
        if state is State.READY:
            return held >= self.scheduler.book.counts[inbox.key, state]
        is_full = held > 0 and lanes.places(inbox, State.DISCOVERED) <= 0
        return state is State.DISCOVERED and (lanes.budgets.used_up(inbox) is not None or is_full)
