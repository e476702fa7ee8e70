"""
Measure what sharing commits is worth: `python -m bench.commits [FOLDER]`.

Prints writes per second for so many writes at once, and how many of them shared a commit; the first line is one commit
for each write. Run it on the disk that is to hold the state; a tmpfs shows only what Python costs.
"""

# A script that prints, in no package.
# ruff: noqa: INP001, T201

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.core.events import Deferred
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change

WRITES = 4000  # some seconds at 1,000 commits per second
AT_ONCE = (1, 4, 16, 64, 256, 1024)
EVENT = Deferred("measured")


def next_of(job: Job) -> Job:
    """Give the job one state change later: a claim and back, so that the index of what is due is written too."""
    state = State.CLAIMED if job.state is State.DISCOVERED else State.DISCOVERED
    return replace(job, state=state, due_at=job.due_at or 0.0, revision=job.revision + 1)


async def save_by_turns(store: SqliteStore, jobs: list[Job], writes: int) -> None:
    """Save every job at once, again and again, until so many writes are done."""
    for _ in range(writes // len(jobs)):
        changed = [next_of(job) for job in jobs]
        await asyncio.gather(*(store.save(Change(old, new, EVENT)) for old, new in zip(jobs, changed, strict=True)))
        jobs = changed


async def measure(folder: Path) -> None:
    """Print one line for each degree of sharing."""
    store = await SqliteStore.open(folder / "state.db", fstype="", now=time.time, new_uuid=lambda: "bench")
    alone = 0.0
    for at_once in AT_ONCE:
        jobs = [
            Job(
                id=f"{at_once}-{number}",
                route="bench",
                file=f"orders-{number}.csv",
                state=State.DISCOVERED,
                created_at=0.0,
                changed_at=0.0,
                due_at=float(number),
                inbox="/srv/bulkgpt/bench/inbox",
                work="/srv/bulkgpt/bench/inbox/.bulkgpt-watchd",
                inode=number,
                size_bytes=1000,
                mtime_ns=0,
            )
            for number in range(at_once)
        ]
        await store.add(jobs)
        before, started = store.commits, time.perf_counter()
        await save_by_turns(store, jobs, WRITES)
        seconds, commits = time.perf_counter() - started, store.commits - before
        writes = WRITES // at_once * at_once
        alone = alone or writes / seconds
        print(
            f"{at_once:5} at once: {writes / seconds:8,.0f} writes/s, {writes / commits:7.1f} a commit,"
            f" {writes / seconds / alone:5.1f} times as fast"
        )
    await store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as scratch:
        asyncio.run(measure(Path(scratch)))
