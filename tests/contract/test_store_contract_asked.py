"""Hold every store to its answers: to the loop (what is due) and to people."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ports import Query, Store, Want
from tests.adapters.open_state import NOW
from tests.sample_jobs import sample_job, step


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

    async def ids(**selected: Any) -> list[str]:
        return [job.id for job in await store.query(Query(**selected))]

    exact = {"routes": ("leads",), "states": (State.FAILED, State.DONE), "codes": ("rejected",), "since": 10.0}
    assert await ids(**exact) == ["second00", "first000"]
    assert await ids(**exact, limit=1) == ["second00"]
    assert await ids(states=(State.FAILING,)) == ["othersta"]
    assert await ids(states=()) == []
    assert len(await ids()) == 6


async def test_a_query_finds_jobs_that_failed_so_often_in_a_row(store: Store) -> None:
    await store.add([sample_job(f"failed0{number}", failures=number) for number in range(5)])

    assert [job.id for job in await store.query(Query(failures=3))] == ["failed04", "failed03"]
    assert await store.query(Query(failures=3, states=(State.READY,))) == []


async def test_a_query_finds_jobs_with_a_task_and_those_without(store: Store) -> None:
    await store.add(
        [
            sample_job("done0000", state=State.DONE, task_id="task-1"),
            sample_job("runs0000", state=State.SUBMITTED, task_id="task-2"),
            sample_job("earlier0", state=State.FAILED, task_id=None, earlier_task_ids=("task-3",)),
            sample_job("bad00000", state=State.FAILED, task_id=None),
        ]
    )

    async def ids(**selected: Any) -> list[str]:
        return [job.id for job in await store.query(Query(**selected))]

    assert await ids(has_task=True) == ["runs0000", "done0000"]
    assert await ids(has_task=True, limit=1) == ["runs0000"]
    assert await ids(has_task=True, states=(State.DONE, State.FAILED)) == ["done0000"]
    assert await ids(has_task=False) == ["bad00000", "earlier0"]


async def test_counts_follow_every_change(store: Store) -> None:
    job = sample_job("aaaa1111")
    await store.add([job, sample_job("bbbb2222"), sample_job("cccc3333", route="other")])

    await store.save(step(job, state=State.DONE))

    assert await store.counts() == {
        ("leads", State.DONE): 1,
        ("leads", State.DISCOVERED): 1,
        ("other", State.DISCOVERED): 1,
    }


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


async def test_a_query_finds_what_came_before_a_job(store: Store) -> None:
    await store.add([sample_job("zfirst00"), sample_job("asecond0", route="other"), sample_job("third000")])

    assert [job.id for job in await store.query(Query(before="third000"))] == ["asecond0", "zfirst00"]
    assert [job.id for job in await store.query(Query(before="third000", routes=("leads",)))] == ["zfirst00"]
    assert await store.query(Query(before="zfirst00")) == []
    assert await store.query(Query(before="nobody")) == []
