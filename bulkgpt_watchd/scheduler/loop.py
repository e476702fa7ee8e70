"""
Run THE loop: discover, start what is due, commit what came of it, say how long it may sleep.

Theory of operation
-------------------
`step()` looks at the routes whose bell rang or whose time has come, starts the effects that are due while their lanes
have room, and returns the seconds until something else falls due. It waits for no effect: each runs in a task of its
own and ends in `commit`, the only place where a state changes and the only one that logs it. Whoever ends wakes the
loop. Memory holds what is being worked on; what waits are rows.

- A lane bounds one kind of effect, so that a backlog of one kind cannot starve another; routes take turns in each.
- A route whose folders cannot be used owes nothing but polls; what hangs there is not counted against the lanes.
- Few files are claimed ahead of what is being sent: the others wait in the inbox, where their owner can take them back.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bulkgpt_watchd.config import ApiSettings
from bulkgpt_watchd.core import gate as gate_rules
from bulkgpt_watchd.core.duplicates import obstacle
from bulkgpt_watchd.core.errors import DiskTrouble, NotOurTurn, Refused, SourceChanged, WatchdError
from bulkgpt_watchd.core.events import Accepted, Event, Passed, Prepared, Superseded
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.lifecycle import advance, conflict
from bulkgpt_watchd.core.policy import Policy, backoff
from bulkgpt_watchd.core.ports import Change, Want
from bulkgpt_watchd.effects import EFFECTS, Outside, Task, event_of
from bulkgpt_watchd.effects.intake import duplicate_of, duplicate_rule
from bulkgpt_watchd.effects.outside import policy_of
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.passing import Passage
from bulkgpt_watchd.scheduler.telling import Log, is_news, line, of_job

AHEAD_PER_SUBMIT = 4
"""Files claimed ahead for each concurrent submit: enough to keep the senders busy while others are being checked."""

INTAKE = frozenset({State.DISCOVERED, State.READY})
"""States whose effects stop while paused, while the gate is shut, or while a disk is low."""

STOP_TRIES = 3
"""How often a write is tried again while the daemon stops; before that it is repeated until it is on disk."""

T = TypeVar("T")


@dataclass
class Scheduler:
    """Own the jobs that are being worked on."""

    outside: Outside
    api: ApiSettings
    passage: Passage
    log: Log
    state_folder: Path
    inboxes: dict[str, Inbox] = field(default_factory=dict)
    counts: Counter[tuple[str, State]] = field(default_factory=Counter)
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # job ID → its effect
    looking: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # route → the look at its folders
    tend: Callable[[Inbox], Awaitable[None]] | None = None  # looks at one route; set by the discovery
    is_stopping: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _states: dict[str, tuple[str, State]] = field(default_factory=dict)  # of the running ones
    _passed: dict[str, Job] = field(default_factory=dict)  # past their point of no return
    _epochs: dict[str, int] = field(default_factory=dict)  # the gate's epoch when a submit was started
    _probing: asyncio.Task[None] | None = None
    _turn: int = 0

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def step(self) -> float:
        """Do what is due and give the seconds until something else is."""
        self.wake.clear()
        self._start_looks()
        self._start_probe()
        await self._start_due()
        return await self._wait()

    async def run(self) -> None:
        """Step until told to stop; sleep in between, unless something ends or rings."""
        while not self.is_stopping:
            try:
                seconds = await self.step()
            except DiskTrouble as error:
                self.log("state.unwritable", "error", reason=str(error))
                seconds = self.api.retry.min
            try:
                await asyncio.wait_for(self.wake.wait(), None if seconds == math.inf else seconds)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """
        End what can be ended: uploads before their point of no return are cut, answers of the others are awaited.

        Repeat: yes.
        """
        self.is_stopping = True
        self.wake.set()
        background = [*self.looking.values(), *([self._probing] if self._probing else [])]
        for job_id, task in self.running.items():
            if job_id not in self._passed:
                task.cancel()
        for task in background:
            task.cancel()
        await asyncio.gather(*self.running.values(), *background, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until nothing is running; for tests and `--once`."""
        while tasks := [*self.running.values(), *self.looking.values(), *([self._probing] if self._probing else [])]:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)

    def ring(self, route: str) -> None:
        """Look at a route soon."""
        if route in self.inboxes:
            self.inboxes[route].is_rung = True
            self.wake.set()

    # --- discover -----------------------------------------------------------------------------------------------------

    def _start_looks(self) -> None:
        now = self.outside.clock.now()
        for name, inbox in self.inboxes.items():
            if self.tend is not None and name not in self.looking and (inbox.is_rung or inbox.next_look_at <= now):
                inbox.is_rung = False
                inbox.next_look_at = now + inbox.route.scan_every
                self.looking[name] = self._spawn(self.tend(inbox), partial(self.looking.pop, name, None))

    def _start_probe(self) -> None:
        gate = self.passage.gate
        if self._probing is None and gate.probe_at is not None and gate.probe_at <= self.outside.clock.now():
            self._probing = self._spawn(self.passage.probe(), self._probe_ended)

    def _probe_ended(self) -> None:
        self._probing = None

    def _spawn(self, work: Awaitable[None], at_end: Callable[[], object]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except DiskTrouble as error:
                self.log("state.unwritable", "error", reason=str(error))
            except Exception:  # noqa: BLE001 a bug in one look must not end the daemon
                self.log("daemon.bug", "error", exc_info=True)
            finally:
                at_end()
                self.wake.set()

        return asyncio.create_task(guarded())

    # --- start what is due --------------------------------------------------------------------------------------------

    async def _start_due(self) -> None:
        if self.is_stopping:
            return
        room = {state: self._room(state) for state in EFFECTS}
        wants = [
            Want(state, name, min(places, room[state]) + self._running_in(name, state))
            for state in EFFECTS
            if room[state] > 0
            for name, inbox in self.inboxes.items()
            if (places := self._places(inbox, state)) > 0
        ]
        if not wants:
            return
        for job in self._in_turn(await self.outside.store.due(wants, self.outside.clock.now())):
            inbox = self.inboxes[job.route]
            # Asked again for each: starting one takes a place from the next.
            if job.id not in self.running and self._room(job.state) > 0 and self._places(inbox, job.state) > 0:
                self._start(job, inbox)

    def _room(self, state: State) -> int:
        """Say how many effects of this kind may be started; those of unusable routes hang and do not count."""
        running = sum(
            1
            for route, running_state in self._states.values()
            if running_state is state and route in self.inboxes and self.inboxes[route].reason is None
        )
        room = EFFECTS[state].lane - running
        if state is State.READY:
            room = min(room, self.passage.gate.places(running, self.api.max_concurrent_submits))
        if state in INTAKE:
            room = min(room, self.api.max_outstanding - self._outstanding() - (running if state is State.READY else 0))
        return room

    def _places(self, inbox: Inbox, state: State) -> int:
        """Say how many effects of this kind the route itself allows now."""
        if state is State.SUBMITTED:
            return EFFECTS[state].lane
        if inbox.reason is not None:
            return 0
        if state in INTAKE and self.held_because(inbox) is not None:
            return 0
        if state is State.DISCOVERED:
            if inbox.is_draining:
                return 0
            at_half = self.passage.gate.position == "half"
            ahead = 1 if at_half else AHEAD_PER_SUBMIT * self.api.max_concurrent_submits
            taken = self.counts[inbox.name, State.CLAIMED] + self.counts[inbox.name, State.READY]
            return ahead - taken - self._running_in(inbox.name, State.DISCOVERED)
        if state is State.READY and self.is_held_for_itself(inbox):
            return 1 - self._running_in(inbox.name, state)
        return EFFECTS[state].lane

    def held_because(self, inbox: Inbox) -> str | None:
        """Say why a route takes and submits nothing now; None if it does."""
        pause = self.passage.pause_of(inbox.name)
        if pause is not None:
            return f"paused: {pause['reason']}"
        if self.passage.gate.position == "shut":
            return f"gate shut: {self.passage.gate.reason}"
        hold = self.passage.gate.holds(inbox.name, inbox.route.workflow_id, self.outside.clock.now())
        if hold is not None:
            return f"held: {hold.reason}"
        return inbox.disk_low

    def is_held_for_itself(self, inbox: Inbox) -> bool:
        """Tell whether this route, or its workflow, is held while others go on."""
        gate = self.passage.gate
        return inbox.name in gate.routes or inbox.route.workflow_id in gate.workflows

    def _running_in(self, route: str, state: State) -> int:
        return sum(1 for running in self._states.values() if running == (route, state))

    def _outstanding(self) -> int:
        return sum(number for (_, state), number in self.counts.items() if state in {State.SUBMITTING, State.SUBMITTED})

    def _in_turn(self, jobs: Iterable[Job]) -> list[Job]:
        """Mix the routes, beginning with another one each time."""
        by_route: dict[str, list[Job]] = {}
        for job in jobs:
            by_route.setdefault(job.route, []).append(job)
        rows = list(by_route.values())
        if not rows:
            return []
        self._turn += 1
        start = self._turn % len(rows)
        rows = rows[start:] + rows[:start]
        longest = max(len(row) for row in rows)
        return [row[index] for index in range(longest) for row in rows if index < len(row)]

    def _start(self, job: Job, inbox: Inbox) -> None:
        if job.state is State.READY:
            self._epochs[job.id] = self.passage.gate.epoch
            if self.is_held_for_itself(inbox):
                now, later_s = self.outside.clock.now(), self.api.retry.max
                self.passage.gate = gate_rules.tried(
                    self.passage.gate, inbox.name, inbox.route.workflow_id, now, later_s
                )
        self._states[job.id] = (job.route, job.state)
        self.running[job.id] = asyncio.create_task(self._perform(job, inbox))

    # --- perform and commit -------------------------------------------------------------------------------------------

    async def _perform(self, job: Job, inbox: Inbox) -> None:
        try:
            event, error = await self._attempt(job, inbox)
            now_job = self._passed.get(job.id, job)
            if job.state is State.READY or error is not None:
                epoch = self._epochs.get(job.id, self.passage.gate.epoch)
                await self.passage.learn(job, inbox.route.workflow_id, epoch, event, error)
            self.passage.end_turn(job.id)
            await self.commit(now_job, event)
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 a bug in one commit must not end the daemon
            self.log("daemon.bug", "error", exc_info=True, **of_job(job))
        finally:
            self.passage.end_turn(job.id)
            for book in (self.running, self._states, self._passed, self._epochs):
                book.pop(job.id, None)
            self.wake.set()

    async def _attempt(self, job: Job, inbox: Inbox) -> tuple[Event, Exception | None]:
        task = Task(job, inbox.route, self.api, self.policy(inbox), partial(self._pass_point, inbox))
        try:
            return await EFFECTS[job.state].run(self.outside, task), None
        except Exception as error:  # noqa: BLE001 every end of an effect is one event, our own bugs included
            if not isinstance(error, WatchdError):
                self.log("daemon.bug", "error", exc_info=True, **of_job(job))
            return event_of(self._passed.get(job.id, job), error), error

    async def _pass_point(self, inbox: Inbox, job: Job, workflow_id: str) -> None:
        """
        Let one submit pass its point of no return: in its turn, within the limits, and on disk.

        Errors: NotOurTurn, Refused (a duplicate), DiskTrouble: it does not pass.
        """
        await self.passage.take_turn(job.id)
        self._check_turn(inbox, job, workflow_id)
        task = Task(job, inbox.route, self.api, self.policy(inbox), partial(self._pass_point, inbox))
        rule = duplicate_rule(task, self.outside.clock.now())
        event = Passed(workflow_id)
        change = Change(job, self._advanced(job, event), event)
        try:
            refusal = await self.outside.store.pass_point(
                change,
                max_outstanding=self.api.max_outstanding,
                obstacle=lambda twins: obstacle(job, twins, rule),
            )
        except SourceChanged as error:
            raise NotOurTurn(str(error)) from error
        if isinstance(refusal, Job):
            verdict = duplicate_of(refusal)
            raise Refused(verdict.code, verdict.message)
        if refusal is not None:
            raise NotOurTurn(f"{refusal} tasks are outstanding; api.max_outstanding is {self.api.max_outstanding}")
        self._count(job, change.new)
        self._passed[job.id] = change.new

    def _check_turn(self, inbox: Inbox, job: Job, workflow_id: str) -> None:
        if self.is_stopping:
            raise NotOurTurn("the daemon is stopping")
        if inbox.route.workflow_id != workflow_id:
            raise NotOurTurn("the route has another workflow_id now")
        if self._epochs.get(job.id) != self.passage.gate.epoch or self.passage.gate.position == "shut":
            raise NotOurTurn(f"the gate shut meanwhile: {self.passage.gate.reason}")
        if self.passage.pause_of(inbox.name) is not None or inbox.disk_low is not None or inbox.reason is not None:
            raise NotOurTurn(inbox.reason or inbox.disk_low or "paused meanwhile")

    async def commit(self, job: Job, event: Event) -> Job | None:
        """
        Write what happened to a job: the only place where a state changes.

        Shape: the job as it now stands; None when somebody else moved it on and this is dropped.
        Repeat: until it is on disk.
        """
        new = self._advanced(job, event)
        change = Change(job, new, event, is_news=is_news(job, new, event))
        if isinstance(event, Accepted):
            self._tell(change)  # before it is committed, so that no full disk can hide the task ID
            settle = partial(self._in_conflict, change)
            changes = await self._insist(lambda: self.outside.store.accept(change, settle))
        else:
            changes = (change,) if await self._insist(lambda: self.outside.store.save(change)) else ()
        for written in changes:
            self._count(written.old, written.new)
            if written is not change or not isinstance(event, Accepted):
                self._tell(written)
        if not changes:
            self.log("job.stale", "debug", **of_job(job))
            return None
        if isinstance(event, Prepared):
            await self._supersede(event.supersedes, job.id)
        if job.state is State.DISCOVERED and new.state is not State.DISCOVERED and job.route in self.inboxes:
            self.inboxes[job.route].waiting.pop(job.file, None)
        return changes[0].new

    async def _supersede(self, old_ids: Iterable[str], by: str) -> None:
        for old_id in old_ids:
            old = await self.outside.store.get(old_id)
            if old is not None and old.state is State.FAILED:
                await self.commit(old, Superseded(by))

    def _in_conflict(self, change: Change, holders: Any) -> tuple[Change, ...]:
        return conflict(change, holders, self.outside.clock.now(), self._policy_of(change.new.route))

    def _advanced(self, job: Job, event: Event) -> Job:
        clock = self.outside.clock
        return advance(job, event, clock.now(), self._policy_of(job.route), clock.jitter())

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write until it is on disk; while stopping only a few times."""
        failures = 0
        while True:
            try:
                return await write()
            except DiskTrouble as error:
                failures += 1
                self.log("state.unwritable", "error" if failures == 1 else "debug", reason=str(error))
                if self.is_stopping and failures >= STOP_TRIES:
                    raise
                seconds = backoff(failures, self.api.retry.min, self.api.retry.max, self.outside.clock.jitter())
                await self.outside.clock.sleep(seconds)

    def policy(self, inbox: Inbox) -> Policy:
        """Give the numbers of a route."""
        return policy_of(inbox.route, self.api, on_network=inbox.on_network)

    def _policy_of(self, route: str) -> Policy:
        return self.policy(self.inboxes[route])

    def _count(self, old: Job, new: Job) -> None:
        self.counts[old.route, old.state] -= 1
        self.counts[new.route, new.state] += 1

    def _tell(self, change: Change) -> None:
        told = line(change.old, change.new, change.event)
        if told is not None:
            name, level, facts = told
            self.log(name, level, **of_job(change.new), **facts)

    # --- how long -----------------------------------------------------------------------------------------------------

    async def _wait(self) -> float:
        now = self.outside.clock.now()
        gate = self.passage.gate
        times = [inbox.next_look_at for name, inbox in self.inboxes.items() if name not in self.looking]
        if gate.probe_at is not None and self._probing is None:
            times.append(gate.probe_at)
        times += [hold.try_at for hold in (*gate.routes.values(), *gate.workflows.values()) if hold.try_at > now]
        times += [pause["until"] for pause in self.passage.pauses.values() if pause["until"] and pause["until"] > now]
        due = await self.outside.store.next_due(list(EFFECTS), list(self.inboxes), after=now)
        if due is not None:
            times.append(due)
        return max(0.0, min(times, default=math.inf) - now)
