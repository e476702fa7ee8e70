"""A disk that is really full. It needs a small file system of its own, and so a mount namespace."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ports import Query
from tests.adapters.open_state import open_state
from tests.sample_jobs import sample_job, step

SMALL = ["unshare", "--mount", "--propagation", "private"]


async def fill_and_go_on(folder: Path) -> None:
    """Add until the disk is full, look, make place, and go on. Runs in the namespace."""
    path, ballast = folder / "state.db", folder / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    store = await open_state(path)
    added = 0
    with suppress(DiskTrouble):
        while added < 1000:
            await store.add([sample_job(f"job{added:05}", message="x" * 20_000)])
            added += 1
    with pytest.raises(DiskTrouble):
        await store.add([sample_job("again000", message="x" * 20_000)])

    assert len(await store.query(Query())) == added
    ballast.unlink()
    assert await store.save(step(sample_job("job00000"), state=State.CLAIMED)) is True
    await store.close()
    with StateReader.open(path) as state:
        assert len(state.query(Query())) == added > 10


@pytest.mark.fault("F36")
@pytest.mark.skipif(os.geteuid() != 0, reason="not as root: mounts a small file system")
def test_a_disk_that_is_really_full_is_waited_out(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=3m small {tmp_path} && exec {sys.executable} -m {__name__} {tmp_path}"

    subprocess.run([*SMALL, "sh", "-c", script], cwd=Path(__file__).parents[2], check=True, timeout=30)


if __name__ == "__main__":
    asyncio.run(fill_and_go_on(Path(sys.argv[1])))
