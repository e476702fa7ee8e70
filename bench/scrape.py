"""
Measure what a scrape of /metrics costs: `python -m bench.scrape [JOBS ROUTES]`.

Prints how long it takes, and for how long the event loop cannot do anything else meanwhile.
"""

# A script that prints, in no package.
# ruff: noqa: INP001, T201

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

from bulkgpt_watchd.adapters.metrics import Meter
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.scheduler.figures import Figures
from bulkgpt_watchd.service.monitoring import Monitoring
from tests.daemon import Place
from tests.sample_jobs import sample_job

SCRAPES = 20


async def main(jobs: int, routes: int) -> None:
    """Fill a state, scrape it, and tell."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for number in range(routes):
            place.route(f"route-{number}")
        daemon = await place.build()
        codes = list(OUTCOMES)
        ends = (State.DONE, State.FAILED, State.SUBMITTED, State.DISCOVERED)
        await daemon.store.add(
            [
                replace(
                    sample_job(f"job{number:05}", route=f"route-{number % routes}", state=ends[number % 4]),
                    code=codes[number % len(codes)] if number % 4 == 1 else None,
                )
                for number in range(jobs)
            ]
        )
        await daemon.begin()
        monitoring = Monitoring(place.state, Meter(place.clock.now), Figures(daemon.scheduler, lambda _key: True))
        monitoring.figures.start()
        took: list[float] = []
        held: list[float] = []
        for _ in range(SCRAPES):
            scrape = asyncio.create_task(monitoring.metrics())
            started_at = last = perf_counter()
            worst = 0.0
            while not scrape.done():
                await asyncio.sleep(0)
                worst, last = max(worst, perf_counter() - last), perf_counter()
            took.append(perf_counter() - started_at)
            held.append(worst)
        body, _ = await scrape
        print(
            f"{jobs} jobs, {routes} routes: {median(took) * 1000:.0f} ms a scrape, the loop held for"
            f" {median(held) * 1000:.1f} ms at once, {len(body.splitlines())} lines, {len(body)} bytes"
        )
        await daemon.stop()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:] or ("10000", "50"))))
