"""A write that was told as failed may be on disk all the same: a disk may say no after the last byte."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.config import BudgetSettings
from bulkgpt_watchd.core.budget import Spent
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.events import Claimed, Prepared
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.sandbox import answer
from tests.adapters.kernels import Failing
from tests.daemon import Place
from tests.fakes import SubmitFault

CSV = b"Input_1\n1\n2\n3\n"


def written_and_told_as_failed(
    store: SqliteStore, name: str, times: int, when: Callable[..., bool] = lambda *_result_and_args: True
) -> list[str]:
    """Let the first *times* calls of a write that *when* picks be carried out and end in DiskTrouble; gives them."""
    write, told = getattr(store, name), list[str]()

    async def late(*args: Any, **named: Any) -> Any:
        result = await write(*args, **named)
        if len(told) < times and when(result, *args):
            told.append(name)
            raise DiskTrouble("input/output error")
        return result

    setattr(store, name, late)
    return told


@pytest.mark.parametrize("write", ["save", "pass_point", "accept", "set_fact", "add"])
async def test_a_file_goes_its_way_and_is_paid_once(place: Place, write: str) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    told = written_and_told_as_failed(daemon.store, write, 3)

    await daemon.run_until(lambda: place.told("job.done"))

    assert told
    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert len(place.api.accepted) == 1
    counts = {key: number for key, number in daemon.scheduler.book.counts.items() if number}
    assert counts == await daemon.store.counts() == {("leads", State.DONE): 1}
    spent = await daemon.store.spent(place.clock.now())
    assert {route: used for (_, route), used in daemon.scheduler.book.spent.items()} == spent == {"leads": Spent(3, 1)}


async def test_a_name_is_free_again_after_a_claim_that_was_told_as_failed(place: Place) -> None:
    """The next file of that name may come before the next look, and is a file of its own."""
    other = b"Input_1\n7\n8\n"

    def drops_the_next(_result: object, change: Change) -> bool:
        if isinstance(change.event, Claimed):
            place.drop("a.csv", other)
        return isinstance(change.event, Claimed)

    daemon = await place.start()
    told = written_and_told_as_failed(daemon.store, "save", 1, drops_the_next)
    await daemon.turn(0.0)
    place.drop("a.csv", CSV)
    await daemon.run_until(lambda: told)
    await daemon.run_for(600.0)

    assert [sent.csv for sent in place.api.accepted] == [CSV, other]
    assert [job.state for job in await daemon.jobs()] == [State.DONE, State.DONE]
    assert place.files("inbox") == {}
    assert daemon.scheduler.inboxes["leads"].waiting == {}


async def test_a_conflict_that_was_told_as_failed_is_told_and_counted_once(place: Place) -> None:
    place.api.runs_s = 1e5
    place.api.plan(SubmitFault(task_id="T", times=2))
    place.drop("a.csv", CSV)
    place.drop("b.csv", b"Input_1\n9\n")
    daemon = await place.start()
    told = written_and_told_as_failed(
        daemon.store, "accept", 1, lambda changes, *_args: any(change.new.code for change in changes)
    )
    await daemon.run_for(2000.0)

    assert told == ["accept"]
    assert {job.file: (job.state, job.code) for job in await daemon.jobs()} == {
        "a.csv": (State.FAILED, "task_id_conflict"),
        "b.csv": (State.FAILED, "task_id_conflict"),
    }
    counts = {key: number for key, number in daemon.scheduler.book.counts.items() if number}
    assert counts == await daemon.store.counts() == {("leads", State.FAILED): 2}
    failed = [(facts["file"], facts["code"]) for facts in place.told("job.failed")]
    assert sorted(failed) == [("a.csv", "task_id_conflict"), ("b.csv", "task_id_conflict")]


async def test_a_check_that_was_told_as_failed_supersedes_what_it_mends(place: Place) -> None:
    place.drop("a.csv", b"Input_1\n")
    daemon = await place.start()
    await daemon.run_to_idle()
    (place.routes["leads"].error / "a.csv").unlink()
    told = written_and_told_as_failed(
        daemon.store, "save", 1, lambda _result, change: isinstance(change.event, Prepared)
    )
    place.drop("a.csv", CSV)
    await daemon.run_to_idle()

    assert told == ["save"]
    old, new = await daemon.jobs()
    assert (old.state, old.code, old.superseded_by) == (State.FAILED, "csv_empty", new.id)
    assert new.state is State.DONE


@pytest.mark.fault("F36")
async def test_a_full_disk_at_the_point_of_no_return_spends_nothing(place: Place) -> None:
    place.route(budget=BudgetSettings(files_per_day=1))
    place.drop("a.csv", CSV)
    daemon = await place.start()
    pass_point, is_full = daemon.store.pass_point, True

    async def full(*args: Any, **named: Any) -> Any:
        if is_full:
            raise DiskTrouble("no space left on device")
        return await pass_point(*args, **named)

    daemon.store.pass_point = full  # type: ignore[method-assign]  # the disk is full for a while
    await daemon.run_for(3600.0)
    assert await daemon.store.spent(place.clock.now()) == {}
    assert daemon.scheduler.book.spent == {}

    is_full = False
    await daemon.run_to_idle()
    assert len(place.api.accepted) == 1


async def test_a_fact_that_could_not_be_written_is_written_later(place: Place) -> None:
    daemon = await place.start()
    set_fact, fails = daemon.store.set_fact, True

    async def failing(key: str, value: Any) -> None:
        if fails and key == "health":
            raise DiskTrouble("no space left on device")
        await set_fact(key, value)

    daemon.store.set_fact = failing  # type: ignore[method-assign]  # the disk is full for a while
    await daemon.run_for(60.0)
    assert "health" not in await daemon.store.facts()

    fails = False
    await daemon.run_for(60.0)
    assert (await daemon.store.facts())["health"]["leads"]["reason"] is None


@pytest.mark.fault("F37")
async def test_an_outbox_that_turns_read_only_makes_its_route_unavailable(place: Place) -> None:
    place.drop("a.csv", CSV)
    kernel = Failing({})
    daemon = await place.build(kernel)
    await daemon.begin()
    await daemon.run_until(lambda: place.told("task.submitted"))
    kernel.errors, kernel.left = {"write": errno.EROFS}, {"write": -1}
    await daemon.run_until(lambda: place.told("route.unavailable"))
    assert "read-only" in place.told("route.unavailable")[0]["reason"].lower()

    kernel.errors = {}
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}


async def test_a_disk_that_stays_full_fills_no_log_and_is_told_again_when_it_was_not(place: Place) -> None:
    """A look each ten seconds for an hour meets it, and the log may lie on the same disk."""
    daemon = await place.start()
    is_full = True

    def unless_full(write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def full(*args: Any) -> None:
            if is_full:
                raise DiskTrouble("no space left on device")
            await write(*args)

        return full

    def errors() -> int:
        return sum(line.event == "state.unwritable" and line.level == "error" for line in place.lines)

    for name in ("add", "set_fact"):
        setattr(daemon.store, name, unless_full(getattr(daemon.store, name)))  # the disk is full for a while
    place.drop("a.csv", CSV)
    await daemon.run_for(3600.0)
    assert len(place.told("state.unwritable")) > 100
    assert errors() == 3600 / 600, "once per retry.max"

    is_full = False
    await daemon.run_to_idle()
    is_full = True
    place.drop("b.csv", b"Input_1\n9\n")
    before = errors()
    await daemon.run_for(60.0)
    assert errors() == before + 1


async def test_a_gate_that_cannot_be_written_down_is_told_once(place: Place) -> None:
    daemon = await place.start()
    passage = daemon.scheduler.passage

    async def full(*_args: Any) -> None:
        raise DiskTrouble("no space left on device")

    daemon.store.set_fact = full  # type: ignore[method-assign,assignment]  # the disk is full
    for reason in ("one", "another", "a third"):
        await passage.set_gate(replace(passage.gate, position="shut", reason=reason))

    assert passage.gate.reason == "a third"
    assert [line.level for line in place.lines if line.event == "state.unwritable"] == ["error", "debug", "debug"]
