"""Put together what is shown of the daemon: status, jobs, health, readiness and metrics."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from bulkgpt_watchd import __version__
from bulkgpt_watchd.adapters.metrics import CONTENT_TYPE, Meter
from bulkgpt_watchd.adapters.sqlite_file import MIGRATIONS
from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.figures import Sample
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.status import NEEDS_DECISION, READY, STUCK, status
from bulkgpt_watchd.scheduler.figures import Figures, Remembered
from bulkgpt_watchd.scheduler.health import Health
from bulkgpt_watchd.web.jobs import job_routes
from bulkgpt_watchd.web.pages import pages

READS = "reading the state"
"""What the threads that look into the state are known by; no route is called so, for it has spaces."""

READ_S = 5.0
"""
How long a look into the state may take: half of what Prometheus gives a scrape, which then has all the rest.

300,000 waiting files are counted in under a second.
"""

BUILD = Sample("build_info", (__version__, platform.python_version(), str(len(MIGRATIONS))), 1)

T = TypeVar("T")


@dataclass
class Monitoring:
    """
    Show how it is.

    What takes a look into the state is asked on a connection of its own, in a thread: it holds no commit up, and where
    the disk of the state hangs it ends with DiskTrouble.
    """

    state: Path
    meter: Meter
    figures: Figures
    health: Health = field(init=False)
    _rendering: asyncio.Lock = field(default_factory=asyncio.Lock)

    def start(self, stack: AsyncExitStack) -> None:
        """Begin to count; the routes must be known."""
        self.figures.start()
        self.health = Health(self.figures.scheduler, self.figures)
        watching = asyncio.create_task(self.figures.watch_loop())
        stack.callback(watching.cancel)

    def routes(self) -> list[web.RouteDef]:
        """Give what is served beside acts and status."""
        return [*job_routes(self.read), *pages(self.health.alive, self.health.ready, self.metrics)]

    async def status(self) -> dict[str, Any]:
        """Give the content of `status --json`."""
        now = self.figures.scheduler.outside.clock.now()
        troubles = (await self.health.ready())["reasons"]  # a disk that is full keeps them from being written down

        def content(state: StateReader) -> dict[str, Any]:
            doubts, stuck, ready = state.query(NEEDS_DECISION), state.query(STUCK), state.query(READY)
            facts, counts, spent = state.facts(), state.counts(), state.spent(day_of(now))
            return status(
                facts,
                counts,
                doubts,
                stuck=stuck,
                ready=ready,
                spent=spent,
                troubles=troubles,
                now=now,
                is_running=True,
            )

        return await self.read(content)

    async def metrics(self) -> tuple[bytes, str]:
        """Give all metrics; those that only the state knows are left out while it cannot be read."""
        async with self._rendering:  # one at a time, however many ask
            try:
                remembered = await self.read(_remembered)
            except DiskTrouble:
                remembered = None
            samples = [*self.figures.samples(remembered), Sample("state_writable", (), self.meter.is_writable), BUILD]
            body = await asyncio.to_thread(self.meter.render, samples)
        return body, CONTENT_TYPE

    def read(self, question: Callable[[StateReader], T]) -> Awaitable[T]:
        """
        Ask the state.

        Errors: DiskTrouble.
        """

        def ask() -> T:
            with StateReader.open(self.state) as state:
                return question(state)

        return self.figures.scheduler.outside.run(READS, ask, deadline_s=READ_S)


def _remembered(state: StateReader) -> Remembered:
    return Remembered(state.oldest(), state.failed(), state.size_bytes())
