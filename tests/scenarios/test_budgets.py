"""A day's budget: what does not fit waits, is told, and goes on when the day is over or a person says so."""

from __future__ import annotations

from typing import Any

import pytest

from bulkgpt_watchd.config import BudgetSettings
from bulkgpt_watchd.core.errors import CommandRefused, OutcomeUnknown, Refused, Unavailable
from bulkgpt_watchd.core.exit_codes import HELD
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.status import READY, status
from bulkgpt_watchd.scheduler.once import Once
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault
from tests.scenarios.conftest import DAY_S

HOUR_S = 3_600.0


def budget(rows: int | None = None, files: int | None = None) -> BudgetSettings:
    return BudgetSettings(rows_per_day=rows, files_per_day=files)


def csv(rows: int, mark: str = "") -> bytes:
    return b"a\n" + b"".join(b"%s%d\n" % (mark.encode(), row) for row in range(rows))


def drop(place: Place, rows: int, *names: str, route: str = "leads") -> None:
    for name in names:
        place.drop(f"{name}.csv", csv(rows, name), route)


async def told(daemon: Daemon) -> dict[str, Any]:
    store, now = daemon.store, daemon.place.clock.now()
    ready, spent = await store.query(READY), await store.spent(now)
    content = status(await store.facts(), await store.counts(), [], ready=ready, spent=spent, now=now, is_running=True)
    return dict(content)


def sent(place: Place) -> int:
    return len(place.api.accepted)


async def of_state(daemon: Daemon, state: State) -> list[Job]:
    return [job for job in await daemon.jobs() if job.state is state]


@pytest.mark.fault("S9")
async def test_files_beyond_the_budget_wait_for_midnight_and_nothing_fails(place: Place) -> None:
    place.route(budget=budget(rows=10), scan_every=600.0)
    drop(place, 4, "a", "b", "c")
    daemon = await place.start()

    await daemon.run_for(6 * HOUR_S)

    assert sent(place) == 2
    [waiting] = await of_state(daemon, State.READY)
    assert (waiting.waits_for or "").startswith(
        "over budget: route leads may send 10 rows a day and this file does not"
    )
    assert waiting.failures == 0
    assert len(place.api.submissions) == 2, "nothing is uploaded in vain"
    assert place.files("error") == {}

    await daemon.run_to_idle()
    assert [day_of(submission.at) for submission in place.api.accepted] == ["2027-01-15"] * 2 + ["2027-01-16"]
    assert len(place.told("job.over_budget")) == 1
    assert (await daemon.job(waiting.file)).waits_for is None


async def test_nothing_is_claimed_while_the_budget_is_used_up(place: Place) -> None:
    place.route(budget=budget(rows=8))
    drop(place, 4, "a", "b")
    daemon = await place.start()
    await daemon.run_to_idle()
    drop(place, 1, *(f"late{number}" for number in range(20)))

    await daemon.run_for(HOUR_S)

    assert len(place.files("inbox")) == 20
    [reached] = place.told("budget.reached")
    assert reached == {"scope": "route", "key": "leads", "used": 8, "limit": 8, "unit": "rows"} | {
        "until": "2027-01-16T00:00:00.000Z"
    }


async def test_no_more_files_are_claimed_than_may_be_sent(place: Place) -> None:
    place.route(budget=budget(files=3))
    drop(place, 1, *(f"f{number:02}" for number in range(12)))
    daemon = await place.start()

    await daemon.run_for(HOUR_S)

    assert sent(place) == 3
    assert len(place.files("inbox")) == 9


async def test_what_is_smaller_goes_on_behind_a_file_that_does_not_fit(place: Place) -> None:
    place.route(budget=budget(rows=100))
    drop(place, 150, *(f"huge{number}" for number in range(9)))
    daemon = await place.start()
    await daemon.run_for(60.0)
    drop(place, 60, "big1", "big2")
    drop(place, 5, "small")

    await daemon.run_for(HOUR_S)

    assert {job.file for job in await of_state(daemon, State.DONE)} == {"big1.csv", "small.csv"}


async def test_a_file_larger_than_the_whole_budget_says_so_and_waits_for_a_person(place: Place) -> None:
    place.route(budget=budget(rows=10), scan_every=HOUR_S)
    drop(place, 11, "huge")
    daemon = await place.start()

    await daemon.run_for(3 * DAY_S)
    [huge] = await of_state(daemon, State.READY)
    assert "no day is enough for it; raise the budget" in (huge.waits_for or "")
    assert "`bulkgpt-watchd resume leads --over-budget`" in (huge.waits_for or "")

    await daemon.acts.resume("a person", "leads", over_budget=True)
    await daemon.run_to_idle(within_s=HOUR_S)
    assert sent(place) == 1


async def test_a_raised_budget_holds_at_once(place: Place) -> None:
    place.route(budget=budget(rows=10))
    drop(place, 11, "huge")
    daemon = await place.start()
    await daemon.run_for(HOUR_S)

    place.route(budget=budget(rows=11))
    await daemon.discovery.take(place.routes.values())

    assert sent(place) == 0
    await daemon.run_to_idle(within_s=HOUR_S)
    assert sent(place) == 1


async def test_a_person_lifts_a_budget_until_midnight_only(place: Place) -> None:
    place.route(budget=budget(files=1), scan_every=600.0)
    drop(place, 1, "a", "b")
    daemon = await place.start()
    await daemon.run_for(HOUR_S)
    assert sent(place) == 1

    answer = await daemon.acts.resume("a person", "leads", over_budget=True)
    assert answer["over_budget_until"] == "2027-01-16T00:00:00.000Z"
    await daemon.stop()
    daemon = await place.start()  # a lifted budget survives a restart
    await daemon.run_to_idle(within_s=HOUR_S)
    assert sent(place) == 2

    await daemon.run_for(DAY_S)
    daemon.scheduler.ring("leads")
    drop(place, 1, "c", "d")
    await daemon.run_for(HOUR_S)
    assert sent(place) == 3


async def test_the_total_holds_for_all_routes_and_is_lifted_without_a_route(place: Place) -> None:
    drop(place, 3, "a", "b", route="leads")
    drop(place, 3, "c", "d", route="other")
    daemon = await place.build()
    daemon.scheduler.lanes.budgets.total = budget(rows=9)
    await daemon.begin()
    await daemon.run_for(HOUR_S)
    assert sent(place) == 3

    answer = await daemon.acts.resume("a person", "leads", over_budget=True)
    await daemon.run_for(HOUR_S)
    assert sent(place) == 3
    assert "all routes together may send 9 rows a day" in answer["still_over_budget"]["leads"]

    await daemon.acts.resume("a person", over_budget=True)
    await daemon.run_to_idle(within_s=HOUR_S)
    assert sent(place) == 4


@pytest.mark.parametrize(
    "error",
    [Unavailable("HTTP 429", retry_after_s=1.0, http_status=429), Refused("rejected", "no", http_status=400)],
)
async def test_what_was_certainly_refused_gives_its_budget_back(place: Place, error: Exception) -> None:
    place.route(budget=budget(rows=4))
    place.api.plan(SubmitFault(error, contains=b"first"))
    drop(place, 4, "first")
    daemon = await place.start()
    await daemon.run_for(60.0)
    drop(place, 4, "second")

    await daemon.run_for(HOUR_S)

    assert sent(place) == 1


async def test_a_doubt_keeps_its_budget_until_a_person_says_that_it_was_never_accepted(place: Place) -> None:
    place.route(budget=budget(rows=4))
    place.api.plan(SubmitFault(OutcomeUnknown("no answer"), contains=b"first"))
    drop(place, 4, "first")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.quarantined"))
    await daemon.acts.resume("a person")  # the gate
    drop(place, 4, "second")
    await daemon.run_for(HOUR_S)
    assert sent(place) == 0
    doubt = await daemon.job("first.csv")

    await daemon.acts.resolve("a person", doubt.id, not_submitted=True)
    await daemon.run_for(HOUR_S)

    assert sent(place) == 1


async def test_the_numbers_of_the_day_survive_a_restart(place: Place) -> None:
    place.route(budget=budget(files=1))
    drop(place, 1, "a", "b")
    daemon = await place.start()
    await daemon.run_for(HOUR_S)
    await daemon.stop()

    daemon = await place.start()
    await daemon.run_for(HOUR_S)

    assert sent(place) == 1


async def test_submits_in_flight_count(place: Place) -> None:
    """Four uploads go at once; what passes first counts for the others at their point of no return."""
    place.settings = place.settings.model_copy(update={"submit_spacing": 0.0})
    place.route(budget=budget(rows=7))
    drop(place, 3, "a", "b", "c", "d")
    daemon = await place.start()

    await daemon.run_for(HOUR_S)

    assert sent(place) == 2
    assert len([submission for submission in place.api.submissions if submission.csv is not None]) == 2


async def test_status_says_how_much_is_used_and_until_when(place: Place) -> None:
    place.route(budget=budget(rows=10, files=2))
    drop(place, 4, "a", "b", "c")
    daemon = await place.start()
    await daemon.run_for(HOUR_S)

    content = await told(daemon)

    [route] = content["routes"]
    assert route["budget"] == {
        "rows_today": 8,
        "rows_per_day": 10,
        "files_today": 2,
        "files_per_day": 2,
        "used_up": True,
        "lifted": False,
        "until": "2027-01-16T00:00:00.000Z",
        "waiting": 0,
        "total_used_up": False,
    }
    assert content["state"] == "degraded"
    used_up = "the budget is used up: 8 of 10 rows and 2 of 2 files were sent today"
    assert content["problems"] == [f"route leads: {used_up}; it goes on at 2027-01-16T00:00:00.000Z"]


@pytest.mark.parametrize("rows", [4, 11])
async def test_run_once_ends_with_11_when_files_are_over_budget(place: Place, rows: int) -> None:
    place.route(budget=budget(rows=10))
    drop(place, rows, "a", "b", "c", "d")
    daemon = await place.start()
    once = await Once.begin(daemon.scheduler)
    ends_at = place.clock.now() + HOUR_S
    while (verdict := await once.verdict()) is None:
        assert place.clock.now() <= ends_at
        await daemon.turn()

    assert verdict == HELD


async def test_a_budget_of_a_route_that_is_not_there_cannot_be_lifted(place: Place) -> None:
    daemon = await place.start()

    with pytest.raises(CommandRefused):
        await daemon.acts.resume("a person", "nowhere", over_budget=True)
