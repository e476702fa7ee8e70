"""What was acknowledged outlives the process, whatever it dies of."""

from __future__ import annotations

import subprocess
from itertools import islice
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from tests.adapters.open_state import open_state
from tests.adapters.state_writer import writer


def acknowledged(process: subprocess.Popen[str], lines: int) -> dict[str, int]:
    """Read so many acknowledgements, kill the process, and read those that were under way."""
    assert process.stdout is not None
    read = list(islice(process.stdout, lines))
    process.kill()
    return {job_id: int(revision) for job_id, revision in map(str.split, [*read, *process.stdout])}


@pytest.mark.parametrize("lines", [1, 50, 900])
async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "state.db"
    with writer(path) as process:
        kept = acknowledged(process, lines)

    with StateReader.open(path) as state:
        seen = {job_id: job.revision for job_id in kept if (job := state.get(job_id))}
    store = await open_state(path)
    found = {job_id: job.revision for job_id in kept if (job := await store.get(job_id))}
    await store.close()

    assert all(found[job_id] >= revision for job_id, revision in kept.items())
    assert seen == found


def test_a_reader_looks_on_while_the_state_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with writer(path) as process:
        assert process.stdout is not None
        for line in islice(process.stdout, 0, 200, 20):
            job_id, revision = line.split()
            with StateReader.open(path) as state:
                job = state.get(job_id)
                assert job is not None
                assert job.revision >= int(revision)
