"""Write a state in a process of its own: `python -m tests.adapters.state_writer PATH`. Prints what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkgpt_watchd.core.job import Job
from tests.adapters.open_state import open_state
from tests.sample_jobs import sample_job, step

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that writes jobs and prints each acknowledgement; it is killed at the end."""
    command = [sys.executable, "-m", __name__, str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledge(job: Job) -> None:
    """Print a line by one write, so that a kill leaves it whole or not at all."""
    os.write(sys.stdout.fileno(), f"{job.id} {job.revision}\n".encode())


async def write(path: Path) -> None:
    store = await open_state(path)

    async def work(worker: int) -> None:
        for number in itertools.count():
            job = sample_job(f"w{worker}-{number:05}")
            await store.add([job])
            acknowledge(job)
            await store.save(change := step(job))
            acknowledge(change.new)

    await asyncio.gather(*map(work, range(4)))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
