"""
Tell systemd how it goes, from the first moment to the last.

Theory of operation
-------------------
One beat asks the store's thread for an answer and sends what follows from it, in the daemon's own loop. So a beat says
that the loop turns and that the thread answers, and nothing else: any answer will do, also "the disk is full", and no
folder of a route is touched. While starting, a beat asks for more time instead of feeding the watchdog, which runs only
from READY=1 on; while stopping it goes on feeding, although systemd does not look any more once it stops a service
itself, because a stop may also be asked for by a signal of somebody else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from bulkgpt_watchd.adapters import systemd
from bulkgpt_watchd.core.job import SHOWN_AS
from bulkgpt_watchd.core.routes import EVERY_ROUTE
from bulkgpt_watchd.scheduler.loop import Scheduler

BEATS_EVERY_S = 5.0
"""How old the status line may be; a beat costs one read of the state."""

MORE_TIME_S = 60
"""
What a beat of the start asks for, counted from that beat: many beats, so that a busy machine cannot miss them all.

A start that gets on may so take as long as it needs, and one whose loop hangs ends after `TimeoutStartSec`.
"""


@dataclass
class Heartbeat:
    """Beat from start to stop; nothing happens where systemd does not listen."""

    environ: Mapping[str, str]
    _phase: Literal["starting", "running", "stopping"] = "starting"
    _ask_store: Callable[[], Awaitable[object]] | None = None
    _say: Callable[[], str] = lambda: "starting"
    _told: str = ""

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat until the context ends."""
        beats = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beats.cancel()

    def watch(self, ask_store: Callable[[], Awaitable[object]], say: Callable[[], str]) -> None:
        """Have a store from now on that must answer, and something to say."""
        self._ask_store, self._say = ask_store, say

    def ready(self) -> None:
        """Say that the start is over."""
        self._phase = "running"
        systemd.notify(self.environ, READY=1, **self._status())

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._phase = "stopping"
        systemd.notify(self.environ, STOPPING=1, **self._status())

    async def _beat(self) -> None:
        allowed_s = systemd.watchdog_interval_s(self.environ)
        every_s = min(BEATS_EVERY_S, allowed_s or BEATS_EVERY_S)
        while self.environ.get("NOTIFY_SOCKET"):
            if self._ask_store is not None:
                with suppress(Exception):  # trouble is an answer too; only no answer is none
                    await self._ask_store()
            facts = self._status()
            if self._phase == "starting":
                facts["EXTEND_TIMEOUT_USEC"] = MORE_TIME_S * 1_000_000
            elif allowed_s is not None:
                facts["WATCHDOG"] = 1
            if facts:
                systemd.notify(self.environ, **facts)
            await asyncio.sleep(every_s)

    def _status(self) -> dict[str, Any]:
        """Give the status line where it is another than before."""
        line = self._say()
        if line == self._told:
            return {}
        self._told = line
        return {"STATUS": line}


def status_line(scheduler: Scheduler) -> str:
    """Say on one line how it is, from memory alone: for `systemctl status`."""
    book, gate = scheduler.book, scheduler.passage.gate
    if book.is_stopping:
        return f"stopping; {len(scheduler.running)} in progress; their answers are awaited"
    shown = Counter[str]()
    for (_, state), number in book.counts.items():
        shown[SHOWN_AS[state]] += number
    inboxes = book.inboxes.values()
    routes = "1 route" if len(inboxes) == 1 else f"{len(inboxes)} routes"
    if away := sum(inbox.unavailable_since is not None for inbox in inboxes):
        routes += f" ({away} unavailable)"
    jobs = ", ".join(f"{shown[name]} {name}" for name in ("waiting", "running"))
    position = "open" if gate.position == "open" else f"shut: {gate.reason}"
    paused = "; paused" if EVERY_ROUTE in scheduler.passage.pauses else ""
    return f"{routes}; {jobs}; gate {position}{paused}"
