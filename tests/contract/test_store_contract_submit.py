"""Hold every store to its two transactions that decide: the point of no return, and an accepted submit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bulkgpt_watchd.core.errors import SourceChanged
from bulkgpt_watchd.core.events import Accepted, GaveUp, Passed
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change, Store
from tests.sample_jobs import sample_job, step


def no_obstacle(_twins: Sequence[Job]) -> Job | None:
    return None


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


def holders_are_not_expected(holders: Sequence[Job]) -> tuple[Change, ...]:
    raise AssertionError(f"holders: {holders}")


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
