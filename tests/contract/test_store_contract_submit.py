"""Hold every store to its two transactions that decide: the point of no return, and an accepted submit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from bulkgpt_watchd.core.budget import Overrun, Spent
from bulkgpt_watchd.core.errors import SourceChanged
from bulkgpt_watchd.core.events import Accepted, GaveUp, Passed
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change, Store
from tests.sample_jobs import sample_job, step


def no_obstacle(_twins: Sequence[Job]) -> Job | None:
    return None


def no_budget(_spent: Mapping[str, Spent]) -> Overrun | None:
    return None


def passed(job: Job) -> Change:
    return step(job, Passed("v0#W"), state=State.SUBMITTING, due_at=None, workflow_id="v0#W")


async def test_a_submit_without_obstacle_passes(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([job])

    assert await store.pass_point(passed(job), max_outstanding=1, obstacle=no_obstacle, overrun=no_budget) is None

    assert await store.get(job.id) == passed(job).new
    assert [line.event for line in await store.journal(job.id)] == ["passed"]


async def test_a_twin_that_stands_in_the_way_stops_a_submit(store: Store) -> None:
    twin = sample_job("twin0000", state=State.DONE, sha256="a" * 64)
    job = sample_job("aaaa1111", state=State.READY, sha256="a" * 64)
    await store.add([twin, job])

    stopped = await store.pass_point(passed(job), max_outstanding=9, obstacle=lambda twins: twins[0], overrun=no_budget)

    assert stopped == twin
    assert await store.get(job.id) == job


@pytest.mark.parametrize("state", [State.SUBMITTING, State.SUBMITTED])
async def test_outstanding_tasks_of_any_route_stop_a_submit(store: Store, state: State) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([sample_job("running0", state=state, route="other"), job])

    assert await store.pass_point(passed(job), max_outstanding=1, obstacle=no_obstacle, overrun=no_budget) == 1

    assert await store.get(job.id) == job


async def test_of_two_submits_at_once_the_last_place_takes_one(store: Store) -> None:
    jobs = [sample_job(job_id, state=State.READY) for job_id in ("aaaa1111", "bbbb2222")]
    await store.add(jobs)

    told = await asyncio.gather(
        *(store.pass_point(passed(job), max_outstanding=1, obstacle=no_obstacle, overrun=no_budget) for job in jobs)
    )

    assert sorted(map(repr, told)) == ["1", "None"]


async def test_a_submit_of_a_stale_row_is_told_before_anything_else(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([job])
    await store.save(step(job))

    with pytest.raises(SourceChanged):
        await store.pass_point(passed(job), max_outstanding=0, obstacle=lambda _: job, overrun=no_budget)


async def test_an_obstacle_that_fails_writes_nothing(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY)
    await store.add([job])

    def fail(_twins: Sequence[Job]) -> Job | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.pass_point(passed(job), max_outstanding=9, obstacle=fail, overrun=no_budget)

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


@pytest.mark.fault("F10")
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


# --- the ledger -------------------------------------------------------------------------------------------------------

DAY_S = 86_400.0
AT = 20_000 * DAY_S


def passes(job: Job, at: float = AT) -> Change:
    return step(job, Passed("v0#W"), state=State.SUBMITTING, due_at=None, workflow_id="v0#W", passed_at=at)


async def test_a_submit_counts_for_its_day_and_route_until_it_is_refused(store: Store) -> None:
    jobs = [sample_job(f"job{number:05}", state=State.READY, rows=7, route=f"r{number % 2}") for number in range(3)]
    await store.add(jobs)

    for job in jobs:
        assert await store.pass_point(passes(job), max_outstanding=9, obstacle=no_obstacle, overrun=no_budget) is None
    assert await store.spent(AT + 5) == {"r0": Spent(14, 2), "r1": Spent(7, 1)}
    assert await store.spent(AT + DAY_S) == {}

    await store.save(step(passes(jobs[0]).new, state=State.READY))
    await store.save(step(passes(jobs[1]).new, GaveUp("submission_unknown", "lost"), state=State.FAILING))
    assert await store.spent(AT) == {"r0": Spent(7, 1), "r1": Spent(7, 1)}


async def test_a_submit_beyond_the_budget_is_not_written(store: Store) -> None:
    first, second = (sample_job(f"job{number:05}", state=State.READY, rows=7) for number in range(2))
    await store.add([first, second])
    over = Overrun("leads", "rows", 10, 7, 7)
    await store.pass_point(passes(first), max_outstanding=9, obstacle=no_obstacle, overrun=no_budget)
    asked: list[dict[str, Spent]] = []

    def is_over(spent: Mapping[str, Spent]) -> Overrun | None:
        asked.append(dict(spent))
        return over

    told = await store.pass_point(passes(second), max_outstanding=9, obstacle=no_obstacle, overrun=is_over)

    assert told == over
    assert asked == [{"leads": Spent(7, 1)}]
    assert await store.get(second.id) == second
    assert await store.spent(AT) == {"leads": Spent(7, 1)}


async def test_of_two_submits_at_once_the_budget_takes_one(store: Store) -> None:
    jobs = [sample_job(f"job{number:05}", state=State.READY, rows=7) for number in range(2)]
    await store.add(jobs)

    def is_over(spent: Mapping[str, Spent]) -> Overrun | None:
        return Overrun("leads", "rows", 10, 7, 7) if spent else None

    told = await asyncio.gather(
        *(store.pass_point(passes(job), max_outstanding=9, obstacle=no_obstacle, overrun=is_over) for job in jobs)
    )

    assert sum(1 for each in told if each is None) == 1


async def test_a_change_that_is_not_written_is_not_counted(store: Store) -> None:
    job = sample_job("aaaa1111", state=State.READY, rows=7)
    await store.add([job])
    await store.save(step(job))

    assert not await store.save(passes(job))

    assert await store.spent(AT) == {}


# --- forgetting -------------------------------------------------------------------------------------------------------


async def test_what_ended_is_given_page_by_page_the_first_to_end_first(store: Store) -> None:
    ends = [5.0, 3.0, 3.0, 4.0, 9.0]
    jobs = [sample_job(f"job{n:05}", state=State.DONE, ended_at=at, due_at=None) for n, at in enumerate(ends)]
    others = [sample_job("other000", route="other", state=State.DONE, ended_at=1.0), sample_job("waits000")]
    failing = sample_job("failing0", state=State.FAILING, ended_at=1.0)
    await store.add([*jobs, *others, failing])

    found, last = [], None
    while page := await store.ended("leads", 9.0, after=last, limit=2):
        found += [job.id for job in page]
        last = page[-1]

    assert found == ["job00001", "job00002", "job00003", "job00000"]


async def test_what_stands_in_the_archive_is_given(store: Store) -> None:
    done = {"state": State.DONE, "due_at": None, "ended_at": 3.0}
    there, later = (
        sample_job(job_id, archive_path="/a/x.csv", **{**done, "ended_at": at})
        for job_id, at in (("there000", 3.0), ("later000", 4.0))
    )
    await store.add([there, later, sample_job("cleared0", **done), sample_job("late0000", **{**done, "ended_at": 7.0})])

    assert await store.archived("leads", 5.0, after=None, limit=1) == [there]
    assert await store.archived("leads", 5.0, after=there, limit=9) == [later]


async def test_a_forgotten_job_takes_its_journal_along_and_leaves_the_ledger(store: Store) -> None:
    job, other = (sample_job(job_id, state=State.READY, rows=7) for job_id in ("aaaa1111", "bbbb2222"))
    await store.add([job, other])
    await store.save(passes(job))
    stale, job = job, passes(job).new

    assert await store.forget([job, stale, other]) == [job, other]

    assert await store.get(job.id) is None
    assert await store.journal(job.id) == []
    assert await store.counts() == {}
    assert await store.spent(AT) == {"leads": Spent(7, 1)}
