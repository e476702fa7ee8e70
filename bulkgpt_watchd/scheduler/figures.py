"""
Give the numbers of the daemon, from what it knows: no call here touches a disk or a share.

Each stands in core/figures.py. Routes are counted by their keys and told by their names, so that a counter goes on
under another name.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from bulkgpt_watchd.core.budget import is_used_up
from bulkgpt_watchd.core.figures import ACTIVE, VALUES, Sample, of_change, zeros
from bulkgpt_watchd.core.job import SHOWN_AS, State
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.loop import Scheduler

LAG_EVERY_S = 1.0
"""How often the loop is asked whether it is late."""

LAGS_KEPT = 60
"""Answers of a minute: scrapes come each 15 s to 60 s, and each shall see the worst since the one before."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Hold when the last look at a route that worked ended, and how long it took."""

    ended_at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Remembered:
    """Hold what only the state knows: the oldest job and the failed ones, by route, and how large it is."""

    oldest: Mapping[tuple[str, State], float]
    failed: Mapping[tuple[str, str], int]
    size_bytes: int


@dataclass
class Figures:
    """
    Count what happens, and tell how it is.

    Shape: *is_watched* tells of the key of a route whether the kernel tells of changes in its inbox.
    """

    scheduler: Scheduler
    is_watched: Callable[[str], bool]
    tally: defaultdict[tuple[str, tuple[str, ...]], float] = field(default_factory=lambda: defaultdict(float))
    scans: dict[str, Scan] = field(default_factory=dict)
    config_read_at: float = 0.0
    is_config_in_use: bool = True  # False: what was read last was rejected
    _lags_s: deque[float] = field(default_factory=lambda: deque(maxlen=LAGS_KEPT))

    def start(self) -> None:
        """Stand where changes are counted and before the looks at the routes."""
        self.reloaded()
        self.scheduler.book.observe = self.count
        look = self.scheduler.tend
        if look is None:
            raise ValueError("there are no looks before the routes are known")

        async def measured(inbox: Inbox) -> None:
            started_at = self.scheduler.outside.clock.now()
            await look(inbox)
            if inbox.reason is None:
                now = self.scheduler.outside.clock.now()
                self.scans[inbox.key] = Scan(now, now - started_at)

        self.scheduler.tend = measured

    def reloaded(self) -> None:
        """Take note of a configuration that came into use."""
        self.config_read_at, self.is_config_in_use = self.scheduler.outside.clock.now(), True

    def count(self, change: Change) -> None:
        """Count one written change."""
        for sample in of_change(change):
            self.tally[sample.figure, sample.labels] += sample.value

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        clock = self.scheduler.outside.clock
        while True:
            asked_at = clock.monotonic()
            await clock.sleep(LAG_EVERY_S)
            self._lags_s.append(max(clock.monotonic() - asked_at - LAG_EVERY_S, 0.0))

    def samples(self, remembered: Remembered | None) -> list[Sample]:
        """Give all numbers; without *remembered* those that only the state knows are left out."""
        inboxes = self.scheduler.inboxes.values()
        told = [*self._of_daemon(), *self._of_jobs(), *self._of_counters(), *self._of_budgets()]
        told += [sample for inbox in inboxes for sample in self._of_route(inbox)]
        if remembered is not None:
            told += self._of_state(remembered)
        return told

    def _of_daemon(self) -> Iterator[Sample]:
        passage = self.scheduler.passage
        is_open = passage.gate.position == "open"
        yield Sample("gate_open", (), is_open)
        yield Sample("gate_needs_resume", (), passage.gate.is_locked)
        yield Sample("gate_denied", (), passage.gate.is_denied and not is_open)
        yield Sample("loop_lag_seconds", (), max(self._lags_s, default=0.0))
        yield Sample("config_last_reload_successful", (), self.is_config_in_use)
        yield Sample("config_last_reload_success_timestamp_seconds", (), self.config_read_at)

    def _of_jobs(self) -> Iterator[Sample]:
        shown: Counter[tuple[str, str]] = Counter()
        for (key, state), number in self.scheduler.book.counts.items():
            shown[key, SHOWN_AS[state]] += number
        for key in self.scheduler.inboxes.keys() | {key for (key, _), number in shown.items() if number}:
            for name in VALUES["jobs", "state"]:
                yield Sample("jobs", (self._name(key), name), shown[key, name])

    def _of_counters(self) -> Iterator[Sample]:
        """Tell each counter of each route, at 0 where nothing was counted."""
        for key in self.scheduler.inboxes:
            name = self._name(key)
            for zero in zeros(key):
                value = self.tally.get((zero.figure, zero.labels), 0.0)
                yield Sample(zero.figure, (name, *zero.labels[1:]), value)

    def _of_budgets(self) -> Iterator[Sample]:
        for scope, limits, sent, is_lifted in self.scheduler.lanes.budgets.standings():
            name = self._name(scope)
            for kind, number, most in (("rows", sent.rows, limits.rows), ("files", sent.files, limits.files)):
                yield Sample("budget_used", (name, kind), number)
                if most is not None:
                    yield Sample("budget_limit", (name, kind), most)
            yield Sample("budget_used_up", (name,), not is_lifted and is_used_up(limits, sent))
            yield Sample("budget_lifted", (name,), is_lifted)

    def _of_route(self, inbox: Inbox) -> Iterator[Sample]:
        key, name = inbox.key, (self._name(inbox.key),)
        scan = self.scans.get(key)
        yield Sample("route_available", name, inbox.reason is None)
        yield Sample("route_paused", name, self.scheduler.passage.pause_of(key) is not None)
        yield Sample("route_held", name, self.scheduler.lanes.is_held_for_itself(inbox))
        waiting = self.scheduler.lanes.budgets.waiting_in(inbox)
        yield Sample("budget_waiting_files", name, len(waiting))
        yield Sample("budget_too_large_files", name, sum(over.is_too_large for over in waiting))
        yield Sample("watch_up", name, self.is_watched(key))
        yield Sample("disk_low", name, inbox.disk_low is not None)
        yield Sample("scan_last_success_timestamp_seconds", name, 0 if scan is None else scan.ended_at)
        yield Sample("scan_duration_seconds", name, math.nan if scan is None else scan.seconds)
        unreadable = len(inbox.unreadable)
        numbers = (len(inbox.waiting), inbox.unsettled, unreadable, max(len(inbox.told) - unreadable, 0))
        for kind, number in zip(VALUES["inbox_files", "kind"], numbers, strict=True):
            yield Sample("inbox_files", (*name, kind), number)
        for folder, free_bytes in inbox.free_bytes.items():
            yield Sample("disk_free_bytes", (*name, folder), free_bytes)

    def _of_state(self, remembered: Remembered) -> Iterator[Sample]:
        now = self.scheduler.outside.clock.now()
        ages: dict[tuple[str, str], float] = {}
        for (key, state), found_at in remembered.oldest.items():
            place = key, SHOWN_AS[state]
            ages[place] = max(ages.get(place, 0.0), now - found_at)
        for key in self.scheduler.inboxes.keys() | {key for key, _ in ages}:
            for shown in ACTIVE:
                yield Sample("oldest_job_age_seconds", (self._name(key), shown), ages.get((key, shown), 0.0))
        for (key, code), number in remembered.failed.items():
            yield Sample("failed_files", (self._name(key), code), number)
        yield Sample("state_size_bytes", (), remembered.size_bytes)

    def _name(self, key: str) -> str:
        return self.scheduler.book.names.get(key, key)
