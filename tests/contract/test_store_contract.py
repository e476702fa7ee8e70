"""Hold every store to what `core.ports.Store` promises of jobs, changes and waiters."""

from __future__ import annotations

import asyncio

import pytest

from bulkgpt_watchd.core.errors import NameTaken
from bulkgpt_watchd.core.events import Claimed, GaveUp, Progressed
from bulkgpt_watchd.core.job import Stamp, State
from bulkgpt_watchd.core.ports import Query, Store
from tests.adapters.open_state import NOW
from tests.sample_jobs import sample_job, step


def test_a_store_tells_which_state_it_is(store: Store) -> None:
    assert store.uuid == "fresh"


async def test_a_job_is_found_again_as_it_was_added(store: Store) -> None:
    job = sample_job("aaaa1111", earlier_task_ids=("t1", "t2"), is_closed=True, rows=24)

    await store.add([job])

    assert await store.get("aaaa1111") == job


async def test_a_job_that_nobody_added_is_none(store: Store) -> None:
    assert await store.get("aaaa1111") is None


async def test_names_that_are_not_utf_8_survive(store: Store) -> None:
    job = sample_job("aaaa1111", file="caf\udce9\n.csv", inbox="/srv/\udcff", error_path="/srv/\udcff/caf\udce9")
    await store.add([job])
    said = step(job, GaveUp("rejected", "no: caf\udce9"), message="no: caf\udce9", api_message="half \ud83d")

    await store.save(said)

    assert await store.get(job.id) == said.new
    assert (await store.journal(job.id))[0].facts["message"] == "no: caf\udce9"


async def test_a_stamp_of_any_file_system_survives(store: Store) -> None:
    """Inodes use all 64 bits, and an mtime of the year 2400 in nanoseconds needs more than 63."""
    job = sample_job("aaaa1111", inode=2**64 - 1, mtime_ns=13_569_465_600 * 10**9)

    await store.add([job])

    assert await store.get(job.id) == job


async def test_jobs_are_added_all_or_none(store: Store) -> None:
    await store.add([sample_job("aaaa1111")])

    with pytest.raises(NameTaken):
        await store.add([sample_job("bbbb2222"), sample_job("aaaa1111")])

    assert await store.get("bbbb2222") is None


async def test_a_change_is_written_with_a_line_of_the_journal(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job])
    change = step(job, Claimed(Stamp(7, 24, 5), is_settled=False), state=State.CLAIMED, inode=7)

    assert await store.save(change) is True

    assert await store.get(job.id) == change.new
    line = (await store.journal(job.id))[0]
    assert (line.at, line.event) == (NOW, "claimed")
    assert line.facts == {"stamp": {"inode": 7, "bytes": 24, "mtime_ns": 5}, "is_settled": False}


async def test_a_journal_tells_in_order_and_leaves_out_what_is_not_known(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.SUBMITTED)
    await store.add([job])
    first = step(job, Progressed("inProgress", rows_done=3))
    second = step(first.new, GaveUp("task_error", "It ended."))

    await store.save(first)
    await store.save(second)

    lines = [(line.event, line.facts) for line in await store.journal(job.id)]
    assert lines == [
        ("progressed", {"word": "inProgress", "rows_done": 3}),
        ("gave_up", {"code": "task_error", "message": "It ended."}),
    ]


async def test_what_is_no_news_is_written_without_a_line(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job])

    await store.save(change := step(job, due_at=NOW, is_news=False))

    assert await store.get(job.id) == change.new
    assert await store.journal(job.id) == []


async def test_a_stale_change_is_refused_whole(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job])
    await store.save(first := step(job, due_at=NOW))

    assert await store.save(step(job, due_at=None)) is False

    assert await store.get(job.id) == first.new
    assert len(await store.journal(job.id)) == 1


async def test_of_two_changes_at_once_one_wins(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job])

    won = await asyncio.gather(store.save(step(job, due_at=1.0)), store.save(step(job, due_at=2.0)))

    assert sorted(won) == [False, True]


async def test_two_thousand_changes_at_once_are_all_written(store: Store) -> None:
    jobs = [sample_job(f"job{number:05}") for number in range(2000)]
    await store.add(jobs)

    won = await asyncio.gather(*(store.save(step(job, state=State.CLAIMED)) for job in jobs))

    assert all(won)
    assert await store.counts() == {("leads", State.CLAIMED): 2000}


async def test_a_write_whose_waiter_was_cancelled_disturbs_nobody(store: Store) -> None:
    jobs = [sample_job("aaaa1111"), sample_job("bbbb2222")]
    await store.add(jobs)
    cancelled, kept = (asyncio.ensure_future(store.save(step(job, state=State.CLAIMED))) for job in jobs)
    await asyncio.sleep(0)

    cancelled.cancel()

    assert await kept is True
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_a_call_that_fails_takes_nobody_with_it(store: Store) -> None:
    await store.add([sample_job("taken000")])

    told = await asyncio.gather(
        store.add([sample_job("before00")]),
        store.add([sample_job("half0000"), sample_job("taken000")]),
        store.add([sample_job("after000")]),
        return_exceptions=True,
    )

    assert [type(each) for each in told] == [type(None), NameTaken, type(None)]
    assert {job.id for job in await store.query(Query())} == {"taken000", "before00", "after000"}
