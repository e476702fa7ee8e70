"""
Say whether the daemon lives, and whether it can do its work.

To *live* depends on nothing outside: not on a disk that is full, not on a share that hangs, not on BulkGPT; whoever is
told no should restart it. To be *ready* depends on all of them, and a restart would change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.scheduler.figures import Figures
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.loop import Scheduler

STORE_S = 10.0
"""How long the state's thread may take to answer: a flush to a busy disk takes seconds; what hangs, hangs for good."""

STEP_S = 60.0
"""How long one step of the loop may take; it takes milliseconds, and waits for nothing but the state's thread."""

SCAN_S = 60.0
"""By how much a scan may be late, beside three of its intervals: as long as one call on a slow share may take."""

WRITE_EVERY_S = 10.0
"""A write within so long ago says whether the state can be written; asked more often, this adds no write of its own."""


@dataclass
class Health:
    """Answer the two questions."""

    scheduler: Scheduler
    figures: Figures
    store_s: float = STORE_S
    _state_reason: str | None = None
    _state_asked_at: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def alive(self) -> dict[str, Any]:
        """Tell whether the loop turns and the state's thread answers; a disk that is full answers, too."""
        store, clock = self.scheduler.outside.store, self.scheduler.outside.clock
        since = self.scheduler.stepping_since
        reasons = []
        if since is not None and clock.monotonic() - since > STEP_S:
            reasons.append(f"the loop stands since {clock.monotonic() - since:.0f} s")
        try:
            async with asyncio.timeout(self.store_s):
                await store.get("")
        except DiskTrouble:
            pass
        except TimeoutError:
            reasons.append(f"the state's thread did not answer for {self.store_s:g} s")
        return {"status": "failing" if reasons else "ok", "reasons": reasons}

    async def ready(self) -> dict[str, Any]:
        """Tell what keeps files from being taken, sent and delivered; a route that a person paused is left out."""
        reasons = []
        gate = self.scheduler.passage.gate
        if gate.position != "open":
            position = "half open" if gate.position == "half" else "shut"
            reasons.append({"what": "gate", "reason": printable(f"{position}: {gate.reason}")})
        for inbox in self.scheduler.inboxes.values():
            if self.scheduler.passage.pause_of(inbox.key) is None:
                reasons += [
                    {"what": what, "route": inbox.name, "reason": printable(why)} for what, why in self._of_route(inbox)
                ]
        if (reason := await self._of_state()) is not None:
            reasons.append({"what": "state", "reason": reason})
        return {"status": "not ready" if reasons else "ready", "reasons": reasons}

    def _of_route(self, inbox: Inbox) -> Iterator[tuple[str, str]]:
        gate, now = self.scheduler.passage.gate, self.scheduler.outside.clock.now()
        if inbox.reason is not None:
            yield "route", inbox.reason
        elif (scan := self.figures.scans.get(inbox.key)) is not None:
            age_s = now - scan.ended_at
            if age_s > 3 * inbox.route.scan_every + SCAN_S:
                yield "scan", f"the last scan that worked ended {age_s:.0f} s ago"
        if inbox.disk_low is not None:
            yield "disk", inbox.disk_low
        hold = gate.routes.get(inbox.key) or gate.workflows.get(inbox.route.workflow_id)
        if hold is not None:
            yield "gate", f"held: {hold.reason}"

    async def _of_state(self) -> str | None:
        """Write a line into the state, at most each WRITE_EVERY_S, and say why that is not possible."""
        store, clock = self.scheduler.outside.store, self.scheduler.outside.clock
        async with self._asking:
            if clock.monotonic() - self._state_asked_at < WRITE_EVERY_S:
                return self._state_reason
            try:
                async with asyncio.timeout(self.store_s):
                    await store.set_fact("asked_whether_writable_at", clock.now())
                self._state_reason = None
            except DiskTrouble as error:
                self._state_reason = str(error)
            except TimeoutError:
                self._state_reason = f"it did not answer for {self.store_s:g} s"
            self._state_asked_at = clock.monotonic()
            return self._state_reason
