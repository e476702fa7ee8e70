"""
Know when something falls due next, and keep every wait as long as it was where the machine's clock is set.

Waits are written down as times of the calendar, so that they outlive us. A clock that is set while we run (or after a
sleep of the machine) is followed: days, receipts and reports are right from then on, and what was due in an hour is
due in an hour. At the start nobody knows what the clock was before: what would wait for longer than anything has to
is due at once. To ask too early is free, and a submit that is tried again is one that was certainly not accepted.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

from bulkgpt_watchd.core.policy import RETRY_AFTER_AT_MOST_S
from bulkgpt_watchd.core.shown import rfc3339
from bulkgpt_watchd.effects import EFFECTS
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.lanes import Lanes
from bulkgpt_watchd.scheduler.passing import Passage


@dataclass
class Timeline:
    """Hold what falls due, and when."""

    book: Book
    passage: Passage
    lanes: Lanes
    _owed_s: float | None = 0.0  # how far waits are to be moved; at the start nobody knows what the clock was before

    async def follow(self) -> None:
        """
        Take over what the clock was set to.

        Errors: DiskTrouble: the next call makes good that nothing waits too long; something may fall due early.
        """
        clock, store = self.book.outside.clock, self.book.outside.store
        if step_s := clock.follow():
            self.book.log("clock.stepped", "warning", by_s=round(step_s, 3), now=rfc3339(clock.now()))
            self._owed_s = (self._owed_s or 0.0) + step_s
            for inbox in self.book.inboxes.values():
                inbox.next_look_at = -math.inf
        if self._owed_s is not None:
            by_s, self._owed_s = self._owed_s, 0.0  # a write that was told as failed may be on disk: never twice so far
            await store.rebase(clock.now(), by_s, self._longest_s)
            await self.passage.rebase(clock.now(), by_s)
            self._owed_s = None

    @property
    def _longest_s(self) -> float:
        polls = (inbox.route.poll.max for inbox in self.book.inboxes.values())
        return max(RETRY_AFTER_AT_MOST_S, self.book.api.retry.max, *polls)

    async def wait_s(self, now: float, looking: Container[str], *, is_probing: bool) -> float:
        """Say how many seconds nothing falls due, apart from what is *looking* or *is_probing* already."""
        gate = self.passage.gate
        times = [inbox.next_look_at for key, inbox in self.book.inboxes.items() if key not in looking]
        if gate.probe_at is not None and not is_probing:
            times.append(gate.probe_at)
        times += [hold.try_at for hold in (*gate.routes.values(), *gate.workflows.values()) if hold.try_at > now]
        times += [pause["until"] for pause in self.passage.pauses.values() if pause["until"] and pause["until"] > now]
        if (wakes_at := self.lanes.budgets.wakes_at(now)) is not None:
            times.append(wakes_at)
        due = await self.book.outside.store.next_due(list(EFFECTS), list(self.book.inboxes), after=now)
        if due is not None:
            times.append(due)
        return max(0.0, min(times, default=math.inf) - self.book.outside.clock.now())
