"""How the store shares commits, and how it ends."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Query, Want
from tests.adapters.open_state import open_state
from tests.sample_jobs import sample_job, step


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_state(tmp_path / "state.db")
    yield opened
    await opened.close()


async def test_what_is_asked_in_one_turn_shares_one_commit(store: SqliteStore) -> None:
    jobs = [sample_job(f"job{number:05}") for number in range(200)]
    await store.add(jobs)
    before = store.commits

    await asyncio.gather(*(store.save(step(job, state=State.CLAIMED)) for job in jobs))

    assert store.commits == before + 1


async def test_what_is_asked_while_a_commit_is_made_shares_the_next(store: SqliteStore) -> None:
    jobs = [sample_job(f"job{number:05}") for number in range(200)]
    await store.add(jobs)
    before = store.commits
    has_begun, goes_on = threading.Event(), threading.Event()

    def holds_up(_twins: Sequence[Job]) -> None:
        has_begun.set()
        goes_on.wait()

    passes = store.pass_point(step(jobs[0]), max_outstanding=1, obstacle=holds_up, overrun=lambda _: None)
    asked = [asyncio.ensure_future(passes)]
    while not has_begun.is_set():  # noqa: ASYNC110  # it is in another thread
        await asyncio.sleep(0)
    for job in jobs[1:]:
        await asyncio.sleep(0)  # each in a turn of its own
        asked.append(asyncio.ensure_future(store.save(step(job, state=State.CLAIMED))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.gather(*asked)

    assert store.commits == before + 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.get("aaaa1111"),
        lambda store: store.due([Want(State.READY, "leads", 1)], 0.0),
        lambda store: store.next_due([State.READY], ["leads"], after=0.0),
        lambda store: store.query(Query()),
        lambda store: store.counts(),
        lambda store: store.journal("aaaa1111"),
        lambda store: store.facts(),
        lambda store: store.twins(sample_job("aaaa1111")),
    ],
)
async def test_a_question_commits_nothing(store: SqliteStore, ask: Callable[[SqliteStore], Awaitable[object]]) -> None:
    await ask(store)

    assert store.commits == 0


async def test_what_was_handed_over_is_carried_out_without_its_waiter(store: SqliteStore) -> None:
    job = sample_job("aaaa1111")
    await store.add([job])
    saving = asyncio.ensure_future(store.save(step(job, state=State.CLAIMED)))
    await asyncio.sleep(0)

    saving.cancel()
    await asyncio.wait([saving])

    assert await store.counts() == {("leads", State.CLAIMED): 1}


async def test_closing_carries_out_what_was_asked_before(tmp_path: Path) -> None:
    store = await open_state(tmp_path / "state.db")
    adding = asyncio.ensure_future(store.add([sample_job("aaaa1111")]))
    await asyncio.sleep(0)

    await store.close()

    await adding
    with StateReader.open(tmp_path / "state.db") as state:
        assert state.get("aaaa1111") is not None


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await open_state(tmp_path / "state.db")
    await store.close()

    with pytest.raises(RuntimeError, match="closed"):
        await store.facts()


def test_a_loop_that_ended_without_closing_leaves_what_was_answered(tmp_path: Path) -> None:
    async def forget() -> None:
        store = await open_state(tmp_path / "state.db")
        await store.add([sample_job("aaaa1111")])
        asyncio.ensure_future(store.add([sample_job("bbbb2222")]))  # noqa: RUF006 nobody waits for it
        await asyncio.sleep(0)

    asyncio.run(forget())

    with StateReader.open(tmp_path / "state.db") as state:
        assert state.get("aaaa1111") is not None


async def test_acts_of_people_are_kept(store: SqliteStore, tmp_path: Path) -> None:
    await store.audit(1.0, "root", "pause", "leads", "for 4h")
    await store.audit(2.0, "ann\udcff", "resolve", "aaaa1111", "")

    with closing(sqlite3.connect(tmp_path / "state.db")) as state:
        told = state.execute("SELECT at, by, action, target, detail FROM audit ORDER BY number").fetchall()
    assert told == [
        (1.0, "root", "pause", "leads", "for 4h"),
        (2.0, "ann\udcff".encode(errors="surrogatepass"), "resolve", "aaaa1111", ""),
    ]
