"""
Run THE loop: discover, start what is due, commit what came of it, say how long it may sleep.

Theory of operation
-------------------
`step()` looks at the routes whose bell rang or whose time has come, starts the effects that are due while their lanes
have room, and returns the seconds until something else falls due. It waits for no effect: each runs in a task of its
own and ends in `Book.commit`, the only place where a state changes. Whoever ends wakes the loop. Memory holds what is
being worked on; what waits are rows. So a restart is the ordinary path: the same step, on the same rows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bulkgpt_watchd.core import gate as gate_rules
from bulkgpt_watchd.core.budget import Overrun, Spent, overrun
from bulkgpt_watchd.core.duplicates import obstacle
from bulkgpt_watchd.core.errors import DiskTrouble, NotOurTurn, Refused, SourceChanged, WatchdError
from bulkgpt_watchd.core.events import Accepted, Deferred, Event, Passed, Vanished
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.effects import EFFECTS, Outside, Task, event_of, what_it_means
from bulkgpt_watchd.effects.intake import duplicate_of, duplicate_rule
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.condition import told_if_slow
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.lanes import Lanes
from bulkgpt_watchd.scheduler.passing import Passage
from bulkgpt_watchd.scheduler.telling import Log, of_job
from bulkgpt_watchd.scheduler.timeline import Timeline

CUT_S = 10.0
"""How long a stop waits for what it cut short: twice as long as removing an unfinished result may take."""


@dataclass
class Scheduler:
    """
    Own what is being worked on.

    Shape: *tend* looks at one route (see discovery.py); *looking* and *running* are what it and the effects do now.
    """

    book: Book
    state_folder: Path
    tend: Callable[[Inbox], Coroutine[Any, Any, None]] | None = None
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    looking: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stepping_since: float | None = None  # monotonic; a step that does not end is how a standing loop is seen
    _passing: set[str] = field(default_factory=set)  # at their point of no return, or past it: no longer cut short
    _passed: dict[str, Job] = field(default_factory=dict)  # past their point of no return, as they now stand
    _epochs: dict[str, int] = field(default_factory=dict)  # the gate's epoch when a submit was started
    _probing: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.passage = Passage(self.book)
        self.lanes = Lanes(self.book, self.passage)
        self.timeline = Timeline(self.book, self.passage, self.lanes)

    @property
    def outside(self) -> Outside:
        """Give the ports."""
        return self.book.outside

    @property
    def inboxes(self) -> dict[str, Inbox]:
        """Give the routes, by their keys."""
        return self.book.inboxes

    @property
    def log(self) -> Log:
        """Give the log."""
        return self.book.log

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def step(self) -> float:
        """Do what is due and give the seconds until something else is."""
        self.wake.clear()
        await self.timeline.follow()
        now = self.outside.clock.now()  # one for the whole step: what falls due within it is later than this
        self._start_looks(now)
        self._start_probe(now)
        await self._start_due(now)
        return await self.timeline.wait_s(now, self.looking, is_probing=self._probing is not None)

    async def guarded_step(self) -> float:
        """Step; after trouble, or a bug of ours, try again later: what is under way must get its end written."""
        self.stepping_since = self.outside.clock.monotonic()
        try:
            return await self.step()
        except DiskTrouble as error:
            self.book.tell_trouble(error)
        except Exception:  # noqa: BLE001 a bug in one step must not cost the answers that are awaited
            self.log("daemon.bug", "error", exc_info=True)
        finally:
            self.stepping_since = None
        return self.book.api.retry.min

    async def run(self) -> None:
        """Step until told to stop; sleep in between, unless something ends or rings."""
        while not self.book.is_stopping:
            seconds = await self.guarded_step()
            try:
                await asyncio.wait_for(self.wake.wait(), None if seconds == math.inf else seconds)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """
        End what can be ended: uploads before their point of no return are cut, answers of the others are awaited.

        Repeat: yes.
        """
        self.book.is_stopping = True
        self.wake.set()
        passing = [task for job_id, task in self.running.items() if job_id in self._passing]
        cut = [task for job_id, task in self.running.items() if job_id not in self._passing] + self._background()
        for task in cut:
            task.cancel()
        if cut:
            await asyncio.wait(cut, timeout=CUT_S)  # what hangs on a share is left: to die there is as safe as a kill
        await asyncio.gather(*passing, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until nothing is running."""
        while tasks := [*self.running.values(), *self._background()]:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)

    def ring(self, key: str) -> None:
        """Look at a route soon."""
        if key in self.inboxes:
            self.inboxes[key].is_rung = True
            self.wake.set()

    # --- looks and probes ---------------------------------------------------------------------------------------------

    def _background(self) -> list[asyncio.Task[None]]:
        return [*self.looking.values(), *([] if self._probing is None else [self._probing])]

    def _start_looks(self, now: float) -> None:
        for key, inbox in self.inboxes.items():
            if self.tend is not None and key not in self.looking and (inbox.is_rung or inbox.next_look_at <= now):
                inbox.is_rung = inbox.is_unsure = False
                inbox.next_look_at = now + inbox.route.scan_every
                self.looking[key] = self._spawn(partial(self.tend, inbox), partial(self.looking.pop, key, None))

    def _start_probe(self, now: float) -> None:
        gate = self.passage.gate
        if self._probing is None and gate.probe_at is not None and gate.probe_at <= now:
            self._probing = self._spawn(self.passage.probe, self._probe_ended)

    def _probe_ended(self) -> None:
        self._probing = None

    def _spawn(self, work: Callable[[], Awaitable[None]], at_end: Callable[[], object]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work()
            except DiskTrouble as error:
                self.book.tell_trouble(error)
            except Exception:  # noqa: BLE001 a bug in one look must not end the daemon
                self.log("daemon.bug", "error", exc_info=True)
            finally:
                at_end()
                self.wake.set()

        return asyncio.create_task(guarded())

    # --- start and perform --------------------------------------------------------------------------------------------

    async def _start_due(self, now: float) -> None:
        wants = [] if self.book.is_stopping else self.lanes.wants()
        if not wants:
            return
        for job in self.lanes.in_turn(await self.outside.store.due(wants, now)):
            inbox = self.inboxes.get(job.route)
            if inbox is not None and self.lanes.has_place(job) and not self.lanes.budgets.waits(job, inbox):
                self._start(job, inbox)

    def _start(self, job: Job, inbox: Inbox) -> None:
        if job.state is State.READY:
            self._epochs[job.id] = self.passage.gate.epoch
            if self.lanes.is_held_for_itself(inbox):
                now, later_s = self.outside.clock.now(), self.book.api.retry.max
                gate = self.passage.gate
                self.passage.gate = gate_rules.tried(gate, inbox.key, inbox.route.workflow_id, now, later_s)
        self.lanes.running[job.id] = (job.route, job.state)
        self.running[job.id] = asyncio.create_task(self._perform(job, inbox))

    async def _perform(self, job: Job, inbox: Inbox) -> None:
        try:
            event, error = await self._attempt(job, inbox)
            if isinstance(event, Accepted):
                self._passing.add(job.id)  # also where it was accepted before its last block: a stop must not cut this
            stands = self._passed.get(job.id, job)
            if job.state is State.READY or error is not None:
                epoch = self._epochs.get(job.id, self.passage.gate.epoch)
                workflow_id = stands.workflow_id or inbox.route.workflow_id
                await self.passage.learn(job, workflow_id, epoch, event, error)
            if isinstance(error, DiskTrouble):
                self.inboxes[job.route].is_open = False  # the next look probes the folders, and says what is wrong
            if isinstance(event, Vanished):
                self.inboxes[job.route].look_again(self.outside.clock.now() + self.book.api.retry.min)
            self.passage.end_turn(job.id)
            await self.book.commit(stands, what_it_means(stands, event))
        except Exception:  # noqa: BLE001 a bug in one commit must not end the daemon
            self.log("daemon.bug", "error", exc_info=True, **of_job(job))
        finally:
            self.passage.end_turn(job.id)
            self._passing.discard(job.id)
            self.lanes.budgets.reserved.pop(job.id, None)
            for kept in (self.running, self.lanes.running, self._passed, self._epochs):
                kept.pop(job.id, None)
            self.wake.set()

    async def _attempt(self, job: Job, inbox: Inbox) -> tuple[Event, Exception | None]:
        reason = self.lanes.budgets.hold(job, inbox) if job.state is State.READY else None
        if reason is not None:
            self.log("job.over_budget", "warning", **of_job(job), rows=job.rows, reason=reason)
            return Deferred(reason, is_failure=False, is_held=True), None
        try:
            with told_if_slow(self.log, inbox, job):
                return await EFFECTS[job.state].run(self.outside, self._task(job, inbox)), None
        except Exception as error:  # noqa: BLE001 every end of an effect is one event, our own bugs included
            if not isinstance(error, WatchdError):
                self.log("daemon.bug", "error", exc_info=True, **of_job(job))
            return event_of(self._passed.get(job.id, job), error), error

    def _task(self, job: Job, inbox: Inbox) -> Task:
        is_taking = not inbox.is_draining and job.inbox == str(inbox.route.inbox)
        is_unsent = job.id in self.book.unsent
        return Task(job, inbox.route, self.book.api, self.book.policy(inbox), is_taking, is_unsent, self._pass_point)

    # --- the point of no return ---------------------------------------------------------------------------------------

    async def _pass_point(self, job: Job, workflow_id: str) -> None:
        """
        Let one submit pass its point of no return: in its turn, within the limits, and on disk.

        Errors: NotOurTurn, Refused (a duplicate), DiskTrouble: it does not pass.
        """
        await self.passage.take_turn(job.id)
        inbox = self.inboxes[job.route]  # as it is now: its settings may be others than at the start of the upload
        self._check_turn(inbox, job, workflow_id)
        rule = duplicate_rule(inbox.route, self.outside.clock.now())
        change = self.book.change(job, Passed(workflow_id))
        limit, limits, need = self.book.api.max_outstanding, self.lanes.budgets.limits(inbox), Spent(job.rows or 0, 1)
        self._passing.add(job.id)  # before the commit, which is carried out even where its waiter is cancelled
        try:
            refusal = await self.outside.store.pass_point(
                change,
                max_outstanding=limit,
                obstacle=lambda twins: obstacle(job, twins, rule),
                overrun=lambda spent: overrun(inbox.key, need, limits, spent),
            )
        except SourceChanged as error:
            raise NotOurTurn(str(error)) from error
        if isinstance(refusal, Job):
            verdict = duplicate_of(refusal)
            raise Refused(verdict.code, verdict.message, related_job=refusal.id)
        if isinstance(refusal, Overrun):
            await self.lanes.budgets.follow(change.new.passed_at or change.new.changed_at)
            raise NotOurTurn(self.lanes.budgets.reason(inbox, refusal))
        if refusal is not None:
            raise NotOurTurn(f"{refusal} tasks are outstanding; api.max_outstanding is {limit}")
        self.book.count(change)
        self.lanes.budgets.release(job.id)
        self._passed[job.id] = change.new

    def _check_turn(self, inbox: Inbox, job: Job, workflow_id: str) -> None:
        """Ask once more, right before the point of no return, what was asked when the submit was started."""
        gate = self.passage.gate
        reasons = {
            "the daemon is stopping": self.book.is_stopping,
            "the route has another workflow_id now": inbox.route.workflow_id != workflow_id,
            f"the gate shut meanwhile: {gate.reason}": self._epochs.get(job.id) != gate.epoch,
            f"the route cannot be used: {inbox.reason}": inbox.reason is not None,
            f"{self.lanes.held_because(inbox)}": self.lanes.held_because(inbox) is not None
            and not self.lanes.is_held_for_itself(inbox),
        }
        for reason, applies in reasons.items():
            if applies:
                raise NotOurTurn(reason)
