"""
Say how many effects of each kind may be started now, and for which routes.

A lane bounds one kind of effect, so that a backlog of one kind cannot starve another; routes take turns in each. A
route whose folders cannot be used is owed nothing but polls; what hangs there is not counted against the lanes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Want
from bulkgpt_watchd.effects import EFFECTS
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.budgets import Budgets
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.passing import Passage

AHEAD_PER_SUBMIT = 2
"""Files claimed ahead for each concurrent submit: enough to keep the senders busy while others are being checked."""

INTAKE = frozenset({State.DISCOVERED, State.READY})
"""States whose effects stop while paused, while the gate is shut, or while a disk is low."""

OUTSTANDING = frozenset({State.SUBMITTING, State.SUBMITTED})
"""States whose task may be running at BulkGPT (`api.max_outstanding`)."""


@dataclass
class Lanes:
    """Count what runs; *running* maps job IDs to their route and the state they were started in."""

    book: Book
    passage: Passage
    running: dict[str, tuple[str, State]] = field(default_factory=dict)
    budgets: Budgets = field(init=False)
    _turn: int = 0

    def __post_init__(self) -> None:
        """Follow the budgets in the same book."""
        self.budgets = Budgets(self.book)

    def wants(self) -> list[Want]:
        """Give what may be started: so many jobs for each kind and route, beside those that run or wait already."""
        room = {state: self.room(state) for state in EFFECTS}
        return [
            Want(state, key, min(places, room[state]) + self.running_in(key, state) + self._in_line(inbox, state))
            for state in EFFECTS
            if room[state] > 0
            for key, inbox in self.book.inboxes.items()
            if (places := self.places(inbox, state)) > 0
        ]

    def has_place(self, job: Job) -> bool:
        """
        Tell whether this job may be started now: each start takes a place from the next.

        The last place of a lane is left to a route that has none, so that one which hangs cannot fill it.
        """
        inbox, room = self.book.inboxes[job.route], self.room(job.state)
        others_may_want_it = len(self.book.inboxes) > 1 and self.running_in(job.route, job.state) > 0
        is_free = room > (1 if others_may_want_it else 0)
        return job.id not in self.running and is_free and self.places(inbox, job.state) > 0

    def room(self, state: State) -> int:
        """Say how many effects of this kind may be started, whatever the route."""
        inboxes = self.book.inboxes
        running = sum(
            1
            for route, started_in in self.running.values()
            if started_in is state and route in inboxes and inboxes[route].reason is None
        )
        room = EFFECTS[state].lane - running
        if state is State.READY:
            # Money knows no excuse: a submit of a route that hangs counts here as any other.
            in_flight = sum(1 for _, started_in in self.running.values() if started_in is state)
            room = min(room, self.passage.gate.places(in_flight, self.book.api.max_concurrent_submits))
        if state in INTAKE:
            outstanding = sum(number for (_, state), number in self.book.counts.items() if state in OUTSTANDING)
            on_the_way = running if state is State.READY else 0
            room = min(room, self.book.api.max_outstanding - outstanding - on_the_way)
        return room

    def places(self, inbox: Inbox, state: State) -> int:
        """Say how many effects of this kind the route itself allows now."""
        if state is State.SUBMITTED:
            return EFFECTS[state].lane
        if state is State.DISCOVERED and inbox.is_draining and inbox.reason is None:
            return EFFECTS[state].lane  # nothing is taken: what is not in work yet is left to its owner
        if inbox.reason is not None or (state in INTAKE and self.held_because(inbox) is not None):
            return 0
        if state is State.DISCOVERED:
            return self._ahead(inbox)
        if state is State.READY and self.is_held_for_itself(inbox):
            return 1 - self.running_in(inbox.key, state)
        return EFFECTS[state].lane

    def _in_line(self, inbox: Inbox, state: State) -> int:
        """Count the jobs that may stand first in the line and wait for a budget: what is behind them may fit."""
        is_bounded = state is State.READY and self.budgets.is_bounded(inbox)
        return self.book.counts[inbox.key, state] if is_bounded else 0

    def _ahead(self, inbox: Inbox) -> int:
        """Say how many files may be claimed ahead of what is being sent; the others can still be taken back."""
        wanted = AHEAD_PER_SUBMIT * self.book.api.max_concurrent_submits
        if self.passage.gate.position == "half" or self.is_held_for_itself(inbox):
            wanted = 1
        if self.budgets.used_up(inbox) is not None:
            return 0
        counts = self.book.counts
        taken = counts[inbox.key, State.CLAIMED] + counts[inbox.key, State.READY]
        taken -= self.budgets.too_large_in(inbox.key)
        left = self.budgets.files_left(inbox)
        free = wanted - taken if left is None else min(wanted - taken, left)
        return free - self.running_in(inbox.key, State.DISCOVERED)

    def held_because(self, inbox: Inbox) -> str | None:
        """Say why a route takes and submits nothing now; None if it does."""
        pause = self.passage.pause_of(inbox.key)
        if pause is not None:
            return f"paused: {pause['reason']}"
        gate = self.passage.gate
        if gate.position == "shut":
            return f"gate shut: {gate.reason}"
        hold = gate.holds(inbox.key, inbox.route.workflow_id, self.book.outside.clock.now())
        return inbox.disk_low if hold is None else f"held: {hold.reason}"

    def is_held_for_itself(self, inbox: Inbox) -> bool:
        """Tell whether this route, or its workflow, is held while others go on."""
        gate = self.passage.gate
        return inbox.key in gate.routes or inbox.route.workflow_id in gate.workflows

    def running_in(self, route: str, state: State) -> int:
        """Count what runs of one kind for one route."""
        return sum(1 for running in self.running.values() if running == (route, state))

    def in_turn(self, jobs: Iterable[Job]) -> list[Job]:
        """
        Mix the routes, beginning with another one each time.

        At half open the one that was denied last comes last: it may be denied for itself, and would shut the gate to
        all others again and again.
        """
        by_route: dict[str, list[Job]] = {}
        for job in jobs:
            by_route.setdefault(job.route, []).append(job)
        rows = list(by_route.values())
        self._turn += 1
        rows = rows[self._turn % max(len(rows), 1) :] + rows[: self._turn % max(len(rows), 1)]
        if self.passage.gate.position == "half":
            rows.sort(key=lambda row: row[0].route == self.passage.denied_last)
        longest = max(map(len, rows), default=0)
        return [row[index] for index in range(longest) for row in rows if index < len(row)]
