"""
Let submits through, one after the other: gate, pauses and pacing.

The gate's rules are in core/gate.py; here its value is kept, written down, and asked. Pauses are what people said.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from bulkgpt_watchd.core import gate as rules
from bulkgpt_watchd.core.errors import Denied, DiskTrouble, ReplyNotUnderstood, TaskNotKnown, Unavailable
from bulkgpt_watchd.core.events import Accepted, Event, GaveUp
from bulkgpt_watchd.core.gate import Gate
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.core.routes import EVERY_ROUTE
from bulkgpt_watchd.core.shown import rfc3339
from bulkgpt_watchd.core.status import STUCK_FAILURES
from bulkgpt_watchd.scheduler.book import Book

KEY_STATUS = frozenset({401, 403})
"""Answers after which the key is read again (contract: the gate)."""


@dataclass(slots=True)
class Passage:
    """Keep what lets submits through."""

    book: Book = field(repr=False)
    gate: Gate = field(default_factory=Gate)
    pauses: dict[str, dict[str, Any]] = field(default_factory=dict)
    unanswered: int = 0  # probes in a row, of this life, that nobody answered
    denied_last: str | None = None  # the route whose submit, or poll, was denied last
    _pace: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _holder: str | None = None
    _answered_at: float = float("-inf")

    @property
    def retry_s(self) -> tuple[float, float]:
        """Give the bounds of the backoff."""
        return self.book.api.retry.min, self.book.api.retry.max

    @property
    def is_unheard(self) -> bool:
        """Tell whether the gate is shut and nobody answers what is asked to open it."""
        return self.gate.position == "shut" and self.unanswered >= STUCK_FAILURES

    def load(self, facts: dict[str, Any]) -> None:
        """Take over what was written down before."""
        self.gate = rules.from_json(facts.get("gate"))
        self.pauses = dict(facts.get("pauses") or {})

    # --- the gate -----------------------------------------------------------------------------------------------------

    async def set_gate(self, gate: Gate) -> None:
        """Take the new value at once, tell it, and write it down."""
        old, self.gate = self.gate, gate
        if replace(gate, accepted_at=old.accepted_at) == old:
            return  # a time of acceptance is worth no commit of its own
        facts = {"reason": gate.reason, "position": gate.position, "next_try_at": rfc3339(gate.probe_at)}
        if gate.position == "open" != old.position:
            self.book.log("gate.opened", "info", after_s=round(self.book.outside.clock.now() - (old.since or 0.0), 3))
        elif gate.position == "shut" and (old.position != "shut" or gate.reason != old.reason):
            self.book.log("gate.shut", "error", needs_resume=gate.is_locked, **facts)
        elif gate.position == "half" != old.position:
            self.book.log("gate.half_opened", "info", **facts)
        for scope in ("routes", "workflows"):
            for key in getattr(gate, scope).keys() - getattr(old, scope).keys():
                self.book.log(
                    "gate.held", "error", scope=scope.rstrip("s"), key=key, reason=getattr(gate, scope)[key].reason
                )
            for key in getattr(old, scope).keys() - getattr(gate, scope).keys():
                self.book.log("gate.released", "info", scope=scope.rstrip("s"), key=key)
        try:
            await self.book.outside.store.set_fact("gate", rules.to_json(gate))
        except DiskTrouble as error:
            # The value in memory holds; after a restart the jobs themselves tell of their doubts.
            self.book.tell_trouble(error)

    async def start_after(self, doubts: int) -> None:
        """Start half open when our own death left doubts; they do not count."""
        await self.set_gate(rules.restarted(self.gate, doubts, self.book.outside.clock.now()))

    async def learn(self, job: Job, workflow_id: str, epoch: int, event: Event, error: Exception | None) -> None:
        """Draw the conclusions of one ended submit, or of a denied free call."""
        now, gate = self.book.outside.clock.now(), self.gate
        match event:
            case Accepted():
                await self.set_gate(rules.accepted(gate, job.route, workflow_id, now))
            case GaveUp(code="submission_unknown", message=message):
                await self.set_gate(rules.doubt(gate, epoch, f"job {job.id}: {message}", now, self.retry_s))
            case GaveUp(code="rejected", api_message=words):
                reason = f"BulkGPT rejected several files in a row: {words}"
                await self.set_gate(rules.rejected(gate, workflow_id, reason, now, self.retry_s))
        if isinstance(error, Denied):
            await self._denied(job.route, epoch, error)

    async def _denied(self, route: str, epoch: int, error: Denied) -> None:
        self.denied_last, now = route, self.book.outside.clock.now()
        await self.set_gate(rules.denied(self.gate, epoch, route, error.http_status, str(error), now, self.retry_s))
        if error.http_status in KEY_STATUS and await self.book.outside.api.reload_key():
            await self.key_changed()

    async def key_changed(self) -> None:
        """Try a changed key at once."""
        self.book.log("key.changed", "info")
        await self.set_gate(replace(self.gate, routes={}))  # a route's own refusal was of the old key
        if self.gate.position == "shut" and not self.gate.is_locked:
            await self.set_gate(rules.half(self.gate))

    async def probe(self) -> None:
        """Ask a free question while the gate is shut; a readable answer opens it by half, and without a task, time."""
        if await self.book.outside.api.reload_key():
            await self.key_changed()
            return
        now, epoch = self.book.outside.clock.now(), self.gate.epoch
        is_answered, denial = False, None
        task_id = await self._some_task_id()
        if task_id is None:
            opens_at = now if self.gate.shut_at is None else self.gate.shut_at + self.book.api.retry.max
            if now < opens_at:
                failed = rules.probed(self.gate, is_answered=False, now=now, retry_s=self.retry_s)
                await self.set_gate(replace(failed, probe_at=min(failed.probe_at or opens_at, opens_at)))
                return
            is_answered = True
        else:
            try:
                await self.book.outside.api.status(task_id)
                is_answered = True
            except TaskNotKnown:
                is_answered = True
            except (Denied, Unavailable, ReplyNotUnderstood) as error:
                self.book.log("gate.probed", "info", reason=str(error))
                denial = str(error) if isinstance(error, Denied) else None
        self.unanswered = 0 if is_answered or denial is not None else self.unanswered + 1
        now, gate = self.book.outside.clock.now(), self.gate
        if denial is not None:  # whatever its status: a question about some task is no route's own
            gate = rules.denied(gate, epoch, "", None, denial, now, self.retry_s)
        await self.set_gate(rules.probed(gate, is_answered=is_answered, now=now, retry_s=self.retry_s))

    async def _some_task_id(self) -> str | None:
        """Give the newest task; what became of it does not matter, any readable answer is one."""
        jobs = await self.book.outside.store.query(Query(has_task=True, limit=1))
        return jobs[0].task_id if jobs else None

    async def release(self, route: str) -> None:
        """End the hold of a route whose workflow is another now."""
        await self.set_gate(replace(self.gate, routes={k: v for k, v in self.gate.routes.items() if k != route}))

    # --- pauses -------------------------------------------------------------------------------------------------------

    def pause_of(self, route: str) -> dict[str, Any] | None:
        """Give the pause that keeps this route from taking and submitting files; None if there is none."""
        now = self.book.outside.clock.now()
        for key in (EVERY_ROUTE, route):
            pause = self.pauses.get(key)
            if pause is not None and (pause["until"] is None or now < pause["until"]):
                return pause
        return None

    async def pause(self, route: str, reason: str, until: float | None) -> None:
        """Stop taking and submitting files of one route or (`*`) of all; polling and fetching go on."""
        self.pauses[route] = {"reason": reason, "until": until, "since": self.book.outside.clock.now()}
        await self.book.outside.store.set_fact("pauses", self.pauses)
        self.book.log("route.paused", "warning", route=route, reason=reason, until=rfc3339(until))

    async def rebase(self, at: float, by_s: float) -> None:
        """Move what gate and pauses wait for by *by_s*: the clock was set and shows *at*. Repeat: with 0, yes."""
        await self.set_gate(rules.rebased(self.gate, by_s, at + self.book.api.retry.max))
        timed = [pause for pause in self.pauses.values() if pause["until"] is not None]
        for pause in timed:
            pause["until"] += by_s
        if timed:
            await self.book.outside.store.set_fact("pauses", self.pauses)

    async def resume(self, route: str, workflow_id: str | None) -> None:
        """
        End a pause and what keeps the gate shut, as a person says so.

        Shape: `*` ends the pause of all and opens the gate; what single routes were paused for, a held backlog for
            one, is another decision and stays.
        """
        is_all = route == EVERY_ROUTE
        if self.pauses.pop(route, None) is not None:
            self.book.log("route.resumed", "info", route=route)
        await self.book.outside.store.set_fact("pauses", self.pauses)
        await self.set_gate(rules.resumed(self.gate, None if is_all else route, workflow_id))

    # --- pacing -------------------------------------------------------------------------------------------------------

    async def take_turn(self, job_id: str) -> None:
        """Wait until nobody else is past the point of no return and `submit_spacing` went by since the last answer."""
        if self.book.api.submit_spacing <= 0:
            return
        await self._pace.acquire()
        self._holder = job_id
        wait_s = self._answered_at + self.book.api.submit_spacing - self.book.outside.clock.monotonic()
        if wait_s > 0:
            await self.book.outside.clock.sleep(wait_s)

    def end_turn(self, job_id: str) -> None:
        """Let the next one pass, if this one had its turn."""
        if self._holder == job_id:
            self._answered_at = self.book.outside.clock.monotonic()
            self._holder = None
            self._pace.release()
