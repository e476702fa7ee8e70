"""Decide when `run --once` is done: everything that was there is taken and ended, or cannot go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from bulkgpt_watchd.core.job import TERMINAL, Stamp, State
from bulkgpt_watchd.scheduler.inbox import NOT_LOOKED_AT
from bulkgpt_watchd.scheduler.loop import Scheduler

SOME_FAILED = 10
HELD = 11
GATE_SHUT = 77
"""Exit codes (contract: commands)."""

WAITING = frozenset({State.DISCOVERED, State.CLAIMED, State.READY})


@dataclass(slots=True)
class Once:
    """Remember how the inboxes looked at first: what changes after that is still being written, and is left."""

    scheduler: Scheduler
    failed_before: int
    first: dict[str, dict[str, Stamp]] = field(default_factory=dict)

    def verdict(self) -> int | None:
        """Give the exit code; None while there is something to wait for."""
        scheduler = self.scheduler
        gate = scheduler.passage.gate
        for name, inbox in scheduler.inboxes.items():
            if name in scheduler.looking or inbox.reason == NOT_LOOKED_AT:
                return None
            if self._may_settle(name):
                return None
        if scheduler.running:
            return None
        left = {key: number for key, number in scheduler.book.counts.items() if number > 0 and key[1] not in TERMINAL}
        if gate.position == "shut" and scheduler.passage.is_denied and all(state in WAITING for _, state in left):
            return GATE_SHUT
        if any(not self._is_stuck(route, state) for route, state in left):
            return None
        if left or any(inbox.reason is not None or inbox.unreadable for inbox in scheduler.inboxes.values()):
            return HELD
        failed = sum(number for (_, state), number in scheduler.book.counts.items() if state is State.FAILED)
        return SOME_FAILED if failed > self.failed_before else 0

    def _may_settle(self, route: str) -> bool:
        """Tell whether a file that was there at first, has content and did not change since, is not whole yet."""
        inbox = self.scheduler.inboxes[route]
        if inbox.reason is not None or inbox.is_draining or inbox.route.ready.done_file is not None:
            return False
        seen = {name: entry.stamp for name, entry in inbox.settler.seen.items() if name not in inbox.waiting}
        first = self.first.setdefault(route, seen)
        return any(first.get(name) == stamp and stamp.bytes > 0 for name, stamp in seen.items())

    def _is_stuck(self, route: str, state: State) -> bool:
        """Tell whether jobs in this state cannot go on without a person, or without a folder that is not there."""
        inbox = self.scheduler.inboxes.get(route)
        if inbox is None or (inbox.reason is not None and state is not State.SUBMITTED):
            return True
        if state not in WAITING:
            return False
        gate = self.scheduler.passage.gate
        return (
            self.scheduler.passage.pause_of(route) is not None
            or inbox.disk_low is not None
            or gate.is_locked
            or self.scheduler.lanes.is_held_for_itself(inbox)
        )
