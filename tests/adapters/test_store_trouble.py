"""What the store says while its disk is in trouble, and that it goes on afterwards."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.core.errors import DiskTrouble, NameTaken, StateUnusable
from bulkgpt_watchd.core.job import State
from tests.adapters.open_state import open_state
from tests.sample_jobs import sample_job, step

JOB = sample_job("aaaa1111")
LARGE = sample_job("large000", message="x" * 100_000)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_state(path)
    await opened.add([JOB])
    yield opened
    await opened.close()


async def run(store: SqliteStore, statement: str) -> int:
    def execute(state: sqlite3.Connection) -> int:
        return int(state.execute(statement).fetchone()[0])

    return await store._thread.ask(execute, writes=False)  # noqa: SLF001 a limit of SQLite's stands for a full disk


async def fill(store: SqliteStore) -> None:
    await run(store, f"PRAGMA max_page_count = {await run(store, 'PRAGMA page_count')}")


async def test_a_full_disk_is_told_and_waited_out(store: SqliteStore) -> None:
    await fill(store)

    with pytest.raises(DiskTrouble, match="full"):
        await store.add([LARGE])

    assert await store.get(JOB.id) == JOB
    await run(store, "PRAGMA max_page_count = 100000")
    await store.add([LARGE])
    assert await store.get(LARGE.id) == LARGE


async def test_a_full_disk_undoes_all_that_shared_the_commit(store: SqliteStore) -> None:
    await fill(store)

    told = await asyncio.gather(
        store.save(step(JOB, state=State.CLAIMED)), store.add([JOB]), store.add([LARGE]), return_exceptions=True
    )

    assert [type(each) for each in told] == [DiskTrouble] * 3
    assert len({id(each) for each in told}) == 3  # each waiter adds its own traceback
    assert await store.get(JOB.id) == JOB
    with pytest.raises(NameTaken):
        await store.add([JOB])


@contextmanager
def no_file_may_grow_beyond(size_bytes: int) -> Iterator[None]:
    """Let the kernel fail writes with EFBIG, which is an I/O error to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault("F38")
async def test_an_input_output_error_is_told_and_waited_out(store: SqliteStore, path: Path) -> None:
    log_bytes = os.path.getsize(f"{path}-wal")

    with no_file_may_grow_beyond(log_bytes):
        for _ in range(3):
            with pytest.raises(DiskTrouble, match="I/O"):
                await store.add([LARGE])

    assert await store.get(JOB.id) == JOB
    assert await store.save(step(JOB, state=State.CLAIMED)) is True
    await store.add([LARGE])


async def test_a_reading_that_fails_is_told_and_waited_out(store: SqliteStore, path: Path) -> None:
    """Here the state cannot be opened again after an error, so that not even reading goes on."""
    hidden = path.with_name("hidden.db")
    with no_file_may_grow_beyond(os.path.getsize(f"{path}-wal")), pytest.raises(DiskTrouble):
        await store.add([LARGE])
    path.rename(hidden)

    with pytest.raises(DiskTrouble, match="unable to open"):
        await store.counts()

    hidden.rename(path)
    assert await store.counts() == {("leads", State.DISCOVERED): 1}


async def test_damage_that_shows_while_running_is_told_as_such(store: SqliteStore, path: Path) -> None:
    await store.add([sample_job(f"job{number:05}", message="x" * 4000) for number in range(1000)])
    await run(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    # In another process: closing the file in this one would take SQLite's locks away.
    blocks = path.stat().st_size // 4096 - 1
    zeros = ["dd", "if=/dev/zero", f"of={path}", "bs=4096", "seek=1", f"count={blocks}", "conv=notrunc", "status=none"]
    subprocess.run(zeros, check=True)

    with pytest.raises(StateUnusable, match="damaged"):
        await asyncio.gather(*(store.get(f"job{number:05}") for number in range(1000)))
