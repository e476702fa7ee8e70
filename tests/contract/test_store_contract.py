"""
Hold every store to what `core.ports.Store` promises.

Another store joins by a name in STORES and a branch in `store`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.core.errors import NameTaken, SourceChanged
from bulkgpt_watchd.core.events import Accepted, Claimed, GaveUp, Passed, Progressed
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.ports import Change, Query, Store, Want
from tests.sample_jobs import sample_job, step

STORES = ("sqlite",)
NOW = 1_800_000_000.0


@pytest.fixture(params=STORES)
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(
        tmp_path / "state.db", fstype="ext4", now=lambda: NOW, new_uuid=lambda: "5f2c-the-state"
    )
    yield opened
    await opened.close()


def no_obstacle(_twins: Sequence[Job]) -> Job | None:
    return None


def holders_are_not_expected(holders: Sequence[Job]) -> tuple[Change, ...]:
    raise AssertionError(f"holders: {holders}")


# --- One job ---------------------------------------------------------------------------------------------------------


def test_a_store_tells_which_state_it_is(store: Store) -> None:
    assert store.uuid == "5f2c-the-state"


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


# --- Changes ---------------------------------------------------------------------------------------------------------


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


# --- Due -------------------------------------------------------------------------------------------------------------


async def test_due_jobs_come_by_time_and_then_by_arrival(store: Store) -> None:
    await store.add(
        [
            sample_job("late0000", due_at=30.0),
            sample_job("zfirst00", due_at=10.0),
            sample_job("asecond0", due_at=10.0),
            sample_job("future00", due_at=31.0),
            sample_job("never000", due_at=None),
        ]
    )

    due = await store.due([Want(State.DISCOVERED, "leads", 9)], 30.0)

    assert [job.id for job in due] == ["zfirst00", "asecond0", "late0000"]


async def test_each_want_has_its_own_limit(store: Store) -> None:
    await store.add([sample_job(f"leads{number}", due_at=1.0) for number in range(3)])
    await store.add([sample_job(f"other{number}", route="other", due_at=0.0) for number in range(3)])
    await store.add([sample_job("ready0", state=State.READY)])

    due = await store.due([Want(State.DISCOVERED, "leads", 2), Want(State.DISCOVERED, "other", 1)], NOW)

    assert [job.id for job in due] == ["leads0", "leads1", "other0"]


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_want_without_a_free_place_gets_nothing(store: Store, limit: int) -> None:
    """A limit that was lowered while more were running leaves less than none."""
    await store.add([sample_job("aaaa1111")])

    assert await store.due([Want(State.DISCOVERED, "leads", limit)], NOW) == []


async def test_the_next_time_counts_only_what_is_asked_about(store: Store) -> None:
    await store.add(
        [
            sample_job("ready000", state=State.READY, due_at=20.0),
            sample_job("claimed0", state=State.CLAIMED, due_at=30.0),
            sample_job("other000", route="other", state=State.READY, due_at=5.0),
            sample_job("never000", state=State.READY, due_at=None),
        ]
    )
    states = {State.READY, State.CLAIMED}

    assert await store.next_due(states, {"leads"}, after=0.0) == 20.0
    assert await store.next_due(states, {"leads"}, after=20.0) == 30.0
    assert await store.next_due(states, {"leads"}, after=30.0) is None
    assert await store.next_due(states, {"leads", "other"}, after=0.0) == 5.0
    assert await store.next_due(set(), {"leads"}, after=0.0) is None


# --- The point of no return ------------------------------------------------------------------------------------------


def passed(job: Job) -> Change:
    return step(job, Passed("v0#W"), state=State.SUBMITTING, due_at=None, workflow_id="v0#W")


async def test_a_submit_without_obstacle_passes(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([job])

    assert await store.pass_point(passed(job), max_outstanding=1, obstacle=no_obstacle) is None

    assert await store.get(job.id) == passed(job).new
    assert [line.event for line in await store.journal(job.id)] == ["passed"]


async def test_a_twin_that_stands_in_the_way_stops_a_submit(store: Store) -> None:
    twin = sample_job("twin0000", state=State.DONE, sha256="a" * 64)
    job = sample_job("aaaa1111", state=State.READY, sha256="a" * 64)
    await store.add([twin, job])

    stopped = await store.pass_point(passed(job), max_outstanding=9, obstacle=lambda twins: twins[0])

    assert stopped == twin
    assert await store.get(job.id) == job


@pytest.mark.parametrize("state", [State.SUBMITTING, State.SUBMITTED])
async def test_outstanding_tasks_of_any_route_stop_a_submit(store: Store, state: State) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([sample_job("running0", state=state, route="other"), job])

    assert await store.pass_point(passed(job), max_outstanding=1, obstacle=no_obstacle) == 1

    assert await store.get(job.id) == job


async def test_of_two_submits_at_once_the_last_place_takes_one(store: Store) -> None:
    jobs = [sample_job(job_id, state=State.READY) for job_id in ("aaaa1111", "bbbb2222")]
    await store.add(jobs)

    told = await asyncio.gather(
        *(store.pass_point(passed(job), max_outstanding=1, obstacle=no_obstacle) for job in jobs)
    )

    assert sorted(map(repr, told)) == ["1", "None"]


async def test_a_submit_of_a_stale_row_is_told_before_anything_else(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([job])
    await store.save(step(job))

    with pytest.raises(SourceChanged):
        await store.pass_point(passed(job), max_outstanding=0, obstacle=lambda _: job)


async def test_an_obstacle_that_fails_writes_nothing(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([job])

    with pytest.raises(ZeroDivisionError):
        await store.pass_point(passed(job), max_outstanding=9, obstacle=lambda _: 1 // 0)  # type: ignore[arg-type, return-value]

    assert await store.get(job.id) == job


async def test_twins_have_the_same_bytes_or_failed_under_the_same_name(store: Store) -> None:
    job = sample_job("itself00", file="a.csv", sha256="a" * 64)
    twin = replace(job, file="other.csv")
    await store.add(
        [
            replace(twin, id="bytes000", state=State.DONE),
            sample_job("name0000", file="a.csv", state=State.FAILED, sha256="b" * 64),
            replace(twin, id="both0000", file="a.csv", state=State.FAILED),
            job,
            replace(twin, id="route000", route="other"),
            replace(twin, id="withdraw", state=State.WITHDRAWN),
            replace(twin, id="replaced", state=State.FAILED, superseded_by="itself00"),
            sample_job("running0", file="a.csv", state=State.SUBMITTED, sha256="b" * 64),
        ]
    )

    assert [each.id for each in await store.twins(job)] == ["both0000", "name0000", "bytes000"]


async def test_a_job_without_a_hash_has_twins_by_name_only(store: Store) -> None:
    failed = sample_job("failed00", file="a.csv", state=State.FAILED)
    await store.add([failed, sample_job("nohash00"), job := sample_job("aaaa1111", file="a.csv")])

    assert await store.twins(job) == [failed]


# --- Accepted submits ------------------------------------------------------------------------------------------------


def accepted(job: Job, task_id: str = "t1") -> Change:
    return step(job, Accepted(task_id), state=State.SUBMITTED, task_id=task_id)


async def test_an_accepted_submit_is_written(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.SUBMITTING)
    await store.add([job, sample_job("other000", task_id="t2", earlier_task_ids=("t3",))])

    written = await store.accept(accepted(job), holders_are_not_expected)

    assert written == (accepted(job),)
    assert await store.get(job.id) == accepted(job).new


@pytest.mark.parametrize("holds", [{"task_id": "t1"}, {"task_id": "t2", "earlier_task_ids": ("t0", "t1")}])
async def test_whoever_holds_the_task_id_is_changed_together_with_it(store: Store, holds: dict[str, str]) -> None:
    holder = sample_job("holder00", state=State.SUBMITTED, route="other", **holds)
    job = sample_job("aaaa1111", state=State.SUBMITTING)
    await store.add([holder, job])
    verdict = GaveUp("task_id_conflict", "one ID for two")

    def settle(holders: Sequence[Job]) -> tuple[Change, ...]:
        return tuple(step(each, verdict, state=State.FAILING) for each in (job, *holders))

    written = await store.accept(accepted(job), settle)

    assert [change.old for change in written] == [job, holder]
    assert await store.counts() == {("leads", State.FAILING): 1, ("other", State.FAILING): 1}
    assert [line.event for line in await store.journal(holder.id)] == ["gave_up"]


async def test_a_superseded_job_holds_no_task_id(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.SUBMITTING)
    await store.add([sample_job("old00000", state=State.FAILED, task_id="t1", superseded_by="aaaa1111"), job])

    assert await store.accept(accepted(job), holders_are_not_expected) == (accepted(job),)


async def test_an_answer_for_a_stale_row_writes_nothing(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.SUBMITTING)
    await store.add([job, sample_job("holder00", task_id="t1")])
    await store.save(step(job))

    assert await store.accept(accepted(job), holders_are_not_expected) == ()


# --- What people ask -------------------------------------------------------------------------------------------------


async def test_a_query_selects_by_everything_that_it_names(store: Store) -> None:
    await store.add(
        [
            sample_job("old00000", state=State.FAILED, code="rejected", changed_at=5.0),
            sample_job("first000", state=State.FAILED, code="rejected", changed_at=20.0),
            sample_job("second00", state=State.FAILED, code="rejected", changed_at=10.0),
            sample_job("othercod", state=State.FAILED, code="duplicate", changed_at=20.0),
            sample_job("othersta", state=State.FAILING, code="rejected", changed_at=20.0),
            sample_job("otherrou", route="other", state=State.FAILED, code="rejected", changed_at=20.0),
        ]
    )

    async def ids(**selected: object) -> list[str]:
        return [job.id for job in await store.query(Query(**selected))]  # type: ignore[arg-type]

    exact = {"routes": ("leads",), "states": (State.FAILED, State.DONE), "codes": ("rejected",), "since": 10.0}
    assert await ids(**exact) == ["second00", "first000"]
    assert await ids(**exact, limit=1) == ["second00"]
    assert await ids(states=(State.FAILING,)) == ["othersta"]
    assert await ids(states=()) == []
    assert len(await ids()) == 6


async def test_counts_follow_every_change(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job, sample_job("bbbb2222"), sample_job("cccc3333", route="other")])

    await store.save(step(job, state=State.DONE))

    assert await store.counts() == {
        ("leads", State.DONE): 1,
        ("leads", State.DISCOVERED): 1,
        ("other", State.DISCOVERED): 1,
    }


async def test_the_jobs_of_a_renamed_route_follow(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job, sample_job("bbbb2222", state=State.DONE), sample_job("cccc3333", route="new")])

    await store.rename_route("leads", "new")

    assert await store.counts() == {("new", State.DISCOVERED): 2, ("new", State.DONE): 1}
    assert len(await store.due([Want(State.DISCOVERED, "new", 9)], NOW)) == 2


async def test_a_change_under_way_outlives_the_renaming_of_its_route(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job])
    await store.rename_route("leads", "new")

    assert await store.save(step(job, state=State.CLAIMED)) is True

    assert await store.counts() == {("new", State.CLAIMED): 1}


async def test_a_fact_is_kept_in_place_of_the_one_before(store: Store) -> None:
    await store.set_fact("gate", {"is_shut": True})
    await store.set_fact("gate", {"is_shut": False, "why": ["n\udcff", None, 1.5]})
    await store.set_fact("paused \udcff", None)

    assert await store.facts() == {"gate": {"is_shut": False, "why": ["n\udcff", None, 1.5]}, "paused \udcff": None}


async def test_a_fact_is_kept_as_it_was_when_the_call_was_made(store: Store) -> None:
    value = {"is_shut": True}
    keeping = asyncio.ensure_future(store.set_fact("gate", value))
    await asyncio.sleep(0)
    value["is_shut"] = False
    await keeping

    assert await store.facts() == {"gate": {"is_shut": True}}


# --- Waiters ---------------------------------------------------------------------------------------------------------


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
