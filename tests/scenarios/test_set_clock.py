"""The machine's clock is set by years or hours, while we run and while we do not; every wait stays as it was."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.core.errors import OutcomeUnknown, Unavailable
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.policy import RETRY_AFTER_AT_MOST_S
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Daemon, Place
from tests.fakes import STARTED_AT, SubmitFault
from tests.scenarios.test_state_trouble import written_and_told_as_failed

YEARS_S, HOURS_S = 10 * 365 * 86_400.0, -2 * 3_600.0
SETS = pytest.mark.parametrize("by_s", [YEARS_S, HOURS_S, 60.0, -60.0])
CSV = b"Input_1\n1\n2\n3\n"


async def waits_s(daemon: Daemon) -> dict[str, float]:
    """Say how long each job still waits."""
    now = daemon.place.clock.now()
    return {job.file: job.due_at - now for job in await daemon.jobs() if job.due_at is not None}


@pytest.mark.fault("F42")
@SETS
async def test_a_clock_that_is_set_makes_no_wait_longer_or_shorter(place: Place, by_s: float) -> None:
    place.drop("polled.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.api.accepted)
    place.drop("refused.csv", b"Input_1\n4\n")
    place.api.outage = Unavailable("connection refused")
    await daemon.run_for(100.0)
    before = await waits_s(daemon)
    assert before.keys() == {"polled.csv", "refused.csv"}
    assert max(before.values()) > 5.0

    place.clock.set_by_s = by_s
    await daemon.turn(0.0)
    assert await waits_s(daemon) == pytest.approx(before, abs=0.001)
    assert [facts["by_s"] for facts in place.told("clock.stepped")] == [by_s]

    place.api.outage = None
    await daemon.run_until(lambda: len(place.told("job.done")) == 2, within_s=1_200.0)
    assert place.files("outbox") == {"polled.csv": answer(CSV), "refused.csv": answer(b"Input_1\n4\n")}


@pytest.mark.fault("F42")
@pytest.mark.parametrize("by_s", [YEARS_S, -YEARS_S, HOURS_S])
async def test_a_clock_that_was_set_while_nobody_ran_holds_up_nothing(place: Place, by_s: float) -> None:
    place.api.runs_s = 3_000.0
    place.drop("paid.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.api.accepted)
    place.api.outage = Unavailable("connection refused")
    place.drop("unsent.csv", b"Input_1\n4\n")
    await daemon.run_for(600.0)
    await daemon.stop()

    place.clock.advance(0.0)
    place.clock.at += by_s
    place.clock.zero_at += by_s
    place.api.outage = None
    daemon = await place.start()
    await daemon.turn(0.0)
    assert max((await waits_s(daemon)).values()) <= RETRY_AFTER_AT_MOST_S

    await daemon.run_until(lambda: len(place.told("job.done")) == 2, within_s=86_400.0 if by_s > 0 else 8_000.0)
    assert [job.code for job in await daemon.jobs()] == [None, None], "no paid task is failed by a clock"
    assert len(place.api.accepted) == 2


@pytest.mark.fault("F42")
@SETS
async def test_a_shut_gate_and_a_pause_last_as_long_as_they_would_have(place: Place, by_s: float) -> None:
    place.route("leads")
    place.route("orders")
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.acts.pause("a person", "orders", for_s=4 * 3_600.0)
    place.api.plan(SubmitFault(OutcomeUnknown("HTTP 502", http_status=502)))
    await daemon.run_until(lambda: place.told("gate.shut"))
    gate, now = daemon.scheduler.passage.gate, place.clock.now()
    assert gate.probe_at is not None
    probe_s, pause_s = gate.probe_at - now, daemon.scheduler.passage.pauses["orders"]["until"] - now

    place.clock.set_by_s = by_s
    await daemon.turn(0.0)

    gate, now = daemon.scheduler.passage.gate, place.clock.now()
    assert gate.probe_at is not None
    assert gate.probe_at - now == pytest.approx(probe_s, abs=0.001)
    assert daemon.scheduler.passage.pauses["orders"]["until"] - now == pytest.approx(pause_s, abs=0.001)


async def test_days_follow_the_clock(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.done"))

    place.clock.set_by_s = YEARS_S
    await daemon.turn(0.0)
    place.drop("b.csv", b"Input_1\n4\n")
    await daemon.run_until(lambda: len(place.told("job.done")) == 2)

    assert [day_of(job.created_at) for job in await daemon.jobs()] == [day_of(STARTED_AT), day_of(STARTED_AT + YEARS_S)]


@pytest.mark.parametrize("by_s", [YEARS_S, HOURS_S])
async def test_a_write_that_was_told_as_failed_makes_no_wait_longer(place: Place, by_s: float) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.api.accepted)
    told = written_and_told_as_failed(daemon.store, "rebase", 1)
    before = await waits_s(daemon)

    place.clock.set_by_s = by_s
    await daemon.scheduler.guarded_step()
    await daemon.turn(0.0)

    assert told == ["rebase"]
    assert await waits_s(daemon) == pytest.approx(before, abs=0.001)
    await daemon.run_until(lambda: place.told("job.done"), within_s=1_200.0)
    assert [job.state for job in await daemon.jobs()] == [State.DONE]


@pytest.mark.fault("F42", "F5")
async def test_two_days_without_bulkgpt_fail_no_paid_task_and_end_no_wait_early(place: Place) -> None:
    place.route("leads", task_timeout=3_600.0, scan_every=600.0)
    place.route("held", scan_every=600.0)
    place.drop("paid.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.api.accepted)
    place.api.outage = Unavailable("connection refused")
    place.drop("unsent.csv", b"Input_1\n4\n")
    place.drop("held.csv", b"Input_1\n5\n", "held")
    await daemon.acts.pause("a person", "held", for_s=3 * 86_400.0)
    asked = place.api.status_calls

    await daemon.run_for(2 * 86_400.0)

    assert [job.state for job in await daemon.jobs() if job.file != "held.csv"] == [State.SUBMITTED, State.READY]
    assert place.told("job.failed") == []
    assert 2 * 86_400 / 1_200 < place.api.status_calls - asked < 2 * 86_400 / 60, "neither hanging nor hurried"
    place.api.outage = None
    await daemon.run_until(lambda: len(place.told("job.done")) == 2, within_s=1_200.0)
    assert place.files("inbox", "held").keys() == {"held.csv"}
    await daemon.run_until(lambda: len(place.told("job.done")) == 3, within_s=86_400.0 + 60.0)
    assert len(place.api.accepted) == 3
