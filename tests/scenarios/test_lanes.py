"""Nobody starves: lanes bound each kind of work, routes take turns, and polls are guided by the counters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bulkgpt_watchd.config.route import PollSettings
from bulkgpt_watchd.core.errors import Unavailable
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Want
from bulkgpt_watchd.effects import EFFECTS
from tests.daemon import Place
from tests.sample_jobs import sample_job


@pytest.mark.fault("F44", "S9")
async def test_a_flood_on_one_route_does_not_hold_up_another(place: Place) -> None:
    for number in range(300):
        place.drop(f"flood-{number:03}.csv", b"a\n%d\n" % number, "flood")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) >= 5)
    place.drop("small.csv", b"a\nsmall\n", "small")
    await daemon.discovery.take(place.routes.values())

    await daemon.run_until(lambda: any(facts["route"] == "small" for facts in place.told("job.done")))

    assert daemon.scheduler.book.counts["flood", State.DONE] < 150


@pytest.mark.parametrize("state", [state for state in EFFECTS if EFFECTS[state].lane > 1])
async def test_the_last_place_of_a_lane_is_for_a_route_that_has_none(place: Place, state: State) -> None:
    """A share that hangs takes its callers with it until its next look ends, and must not take the lane."""
    place.route("hung")
    place.route("whole")
    place.settings = place.settings.model_copy(update={"max_concurrent_submits": 64})
    daemon = await place.start()
    await daemon.turn()
    lanes, started = daemon.scheduler.lanes, 0
    while lanes.has_place(sample_job(f"h{started:07}", route="hung", state=state)):
        lanes.running[f"h{started:07}"] = ("hung", state)
        started += 1

    assert started == EFFECTS[state].lane - 1
    assert lanes.has_place(sample_job("whole111", route="whole", state=state))
    lanes.running.clear()


async def test_no_more_tasks_are_outstanding_than_the_route_says(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"max_outstanding": 3})
    for number in range(12):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    daemon = await place.start()
    most = 0

    def is_done() -> bool:
        nonlocal most
        counts = daemon.scheduler.book.counts
        most = max(most, counts["leads", State.SUBMITTED] + counts["leads", State.SUBMITTING])
        return counts["leads", State.DONE] == 12

    await daemon.run_until(is_done)

    assert most == 3


async def test_few_files_are_claimed_ahead_of_what_is_being_sent(place: Place) -> None:
    place.api.outage = Unavailable("connection refused")
    for number in range(100):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    daemon = await place.start()

    await daemon.run_for(600.0)

    assert len(place.files("inbox")) >= 100 - 3 * place.settings.max_concurrent_submits


async def test_a_task_is_asked_about_rarely_at_first_and_in_time_at_the_end(place: Place) -> None:
    place.route(scan_every=600.0, poll=PollSettings(min=2.0, max=60.0))
    place.api.runs_s = 1_000.0
    place.drop("a.csv", b"a\n" + b"1\n" * 1_000)
    daemon = await place.start()

    await daemon.run_until(lambda: place.told("job.done"))

    job = await daemon.job("a.csv")
    assert job.completed_at is not None
    assert job.submitted_at is not None
    assert job.completed_at - job.submitted_at < 1_000.0 + 5.0, "the counters said when it would end"
    assert place.api.status_calls < 60, "asking every two seconds would take five hundred"


async def test_tasks_asked_about_together_do_not_stay_together(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"submit_spacing": 0.0})
    place.route(scan_every=600.0)
    place.api.runs_s = 1e9
    for number in range(20):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    daemon = await place.start()
    await daemon.run_until(lambda: daemon.scheduler.book.counts["leads", State.SUBMITTED] == 20)

    await daemon.run_for(1_200.0)

    due = sorted(round(job.due_at or 0.0, 1) for job in await daemon.jobs())
    assert len(set(due)) > 10


async def test_what_falls_due_while_the_loop_looks_is_not_slept_over(place: Place) -> None:
    """It was not due yet for the one question of a step, and must not be past already for the other."""
    place.route(scan_every=3_600.0)
    place.api.runs_s = 1e9
    place.drop("a.csv", b"a\n1\n")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.turn(0.0)
    due_at = (await daemon.job("a.csv")).due_at
    assert due_at is not None
    due = daemon.store.due

    async def slow(wants: Sequence[Want], now: float) -> list[Job]:
        found = await due(wants, now)
        place.clock.advance(0.005)
        return found

    daemon.store.due = slow  # type: ignore[method-assign]  # a busy disk
    place.clock.advance(due_at - place.clock.now() - 0.002)
    assert await daemon.scheduler.step() == 0.0

    calls = place.api.status_calls
    await daemon.scheduler.step()
    await daemon.scheduler.drain()
    assert place.api.status_calls == calls + 1
