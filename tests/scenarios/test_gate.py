"""An outage costs a few doubts, a wrong key costs nothing, and one bad route stops no other."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.core.errors import Denied, OutcomeUnknown, Refused, Unavailable
from bulkgpt_watchd.core.events import Passed
from bulkgpt_watchd.core.gate import half
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from tests.daemon import Place
from tests.fakes import SubmitFault

GATEWAY = OutcomeUnknown("HTTP 502", http_status=502)


def drop_many(place: Place, count: int, route: str = "leads") -> None:
    for number in range(count):
        place.drop(f"{route}-{number}.csv", b"a\n%d %s\n" % (number, route.encode()), route)


async def test_an_outage_without_a_held_task_costs_the_submits_in_flight_and_two_more(place: Place) -> None:
    drop_many(place, 40)
    place.api.plan(SubmitFault(GATEWAY, times=1_000))
    daemon = await place.start()

    await daemon.run_until(lambda: daemon.scheduler.passage.gate.is_locked)
    doubts = [job for job in await daemon.jobs() if job.code == "submission_unknown"]
    assert len(doubts) <= place.settings.max_concurrent_submits + 2

    place.api.faults.clear()
    await daemon.acts.resume("a person")
    await daemon.run_to_idle()

    jobs = await daemon.jobs()
    assert [job.code for job in jobs if job.state is State.FAILED] == ["submission_unknown"] * len(doubts)
    assert len([job for job in jobs if job.state is State.DONE]) == 40 - len(doubts)


async def test_an_outage_with_a_held_task_waits_for_a_readable_answer_and_opens_by_itself(place: Place) -> None:
    place.drop("first.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    drop_many(place, 20)
    place.api.outage = Unavailable("connection refused")
    await daemon.run_for(3_600.0)
    assert not place.told("gate.shut"), "what is certainly not accepted is no doubt"

    place.api.outage = None
    place.api.plan(SubmitFault(GATEWAY))
    await daemon.run_to_idle()

    jobs = await daemon.jobs()
    assert [job.code for job in jobs if job.state is State.FAILED] == ["submission_unknown"]
    assert len([job for job in jobs if job.state is State.DONE]) == 20
    assert [facts["needs_resume"] for facts in place.told("gate.shut")] == [False]
    assert place.told("gate.opened")


async def test_a_task_that_may_be_asked_about_is_found_behind_any_number_of_others(place: Place) -> None:
    place.drop("first.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    for number in range(60):
        place.drop(f"bad-{number}.csv", b"a,b\n%d\n" % number)
    await daemon.run_to_idle()
    drop_many(place, 5)
    place.api.plan(SubmitFault(GATEWAY))

    await daemon.run_until(lambda: place.told("gate.shut"))
    asked = place.api.status_calls
    await daemon.run_until(lambda: place.told("gate.half_opened"), within_s=place.settings.retry.max / 2)

    assert place.api.status_calls > asked


async def test_a_wrong_key_moves_no_file_and_a_mended_one_is_tried_at_once(place: Place) -> None:
    place.api.wrong_keys = {"key-1"}
    drop_many(place, 30)
    daemon = await place.start()

    await daemon.run_for(7_200.0)
    assert place.files("error") == {}
    assert len(place.files("inbox")) > 20, "few files are claimed ahead"
    assert {job.state for job in await daemon.jobs()} <= {State.DISCOVERED, State.CLAIMED, State.READY}

    place.api.key_on_disk = "key-2"
    await daemon.run_to_idle()

    assert {job.state for job in await daemon.jobs()} == {State.DONE}
    assert len(place.api.accepted) == 30


async def test_three_rejected_in_a_row_hold_their_workflow_and_no_other(place: Place) -> None:
    drop_many(place, 12)
    drop_many(place, 12, "more")
    refusal = Refused("rejected", "Invalid workflow ID.", api_message="Invalid workflow ID.", http_status=400)
    place.api.plan(SubmitFault(refusal, contains=b"leads", times=1_000))
    daemon = await place.start()

    await daemon.run_for(200.0)

    counts = daemon.scheduler.book.counts
    assert counts["more", State.DONE] == 12
    # Those in flight together when the third came back are refused too; nothing is billed for them.
    assert counts["leads", State.FAILED] <= 3 + place.settings.max_concurrent_submits
    assert place.told("gate.held")[0]["scope"] == "workflow"

    place.api.faults.clear()
    await daemon.acts.resume("a person", "leads")
    await daemon.run_to_idle()
    assert counts["leads", State.DONE] + counts["leads", State.FAILED] == 12


async def test_a_403_of_one_route_while_others_are_accepted_holds_that_route_alone(place: Place) -> None:
    drop_many(place, 3, "more")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 3)
    denied = Denied("HTTP 403: not your workflow", http_status=403)
    place.api.plan(SubmitFault(denied, at="before", contains=b"leads", times=1_000))
    drop_many(place, 5)
    await daemon.discovery.take(place.routes.values())

    await daemon.run_for(120.0)
    drop_many(place, 6, "more")
    await daemon.run_for(300.0)

    counts = daemon.scheduler.book.counts
    assert counts["more", State.DONE] == 6
    assert counts["leads", State.FAILED] == 0
    assert daemon.scheduler.passage.gate.position == "open"
    assert "leads" in daemon.scheduler.passage.gate.routes


async def test_the_route_that_was_denied_last_goes_last_at_half_open(place: Place) -> None:
    """It may be denied for itself, and would shut the gate to all others at each opening."""
    for route in ("a", "b", "c"):
        drop_many(place, 1, route)
    denied = Denied("HTTP 403: not your workflow", http_status=403)
    place.api.plan(SubmitFault(denied, at="before", contains=b" b", times=1_000))
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("gate.shut"))
    passage, jobs = daemon.scheduler.passage, await daemon.jobs()

    passage.gate = half(passage.gate)
    orders = [[job.route for job in daemon.scheduler.lanes.in_turn(jobs)] for _ in range(6)]

    assert {order[2] for order in orders} == {"b"}
    assert {order[0] for order in orders} == {"a", "c"}


async def test_the_gate_stays_shut_over_a_restart(place: Place) -> None:
    drop_many(place, 10)
    place.api.plan(SubmitFault(Denied("HTTP 402: no credit", http_status=402), at="before", times=1_000))
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("gate.shut"))
    await daemon.stop()
    posts = len(place.api.submissions)

    daemon = await place.start()
    await daemon.turn(0.0)

    assert daemon.scheduler.passage.gate.position == "shut"
    assert len(place.api.submissions) == posts


@pytest.mark.parametrize("count", [1, 4])
async def test_doubts_left_by_our_own_death_start_the_gate_half_open(place: Place, count: int) -> None:
    drop_many(place, 8)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("job.checked")) >= count)
    ready = [job for job in await daemon.jobs() if job.state is State.READY][:count]
    for job in ready:  # as a death leaves them: committed, and with the witness
        await daemon.scheduler.book.commit(job, Passed("workflow of leads"))
        work = place.routes["leads"].work
        (work / work_name(job.id, job.file)).rename(work / sent_name(job.id, job.file))
    place.api.outage = None
    await daemon.stop()

    daemon = await place.start()
    assert daemon.scheduler.passage.gate.position == "half"
    await daemon.run_to_idle()

    assert daemon.scheduler.passage.gate.position == "open"
    codes = [job.code for job in await daemon.jobs() if job.state is State.FAILED]
    assert codes == ["submission_unknown"] * count


async def test_a_changed_workflow_ends_the_hold_of_its_route_also_over_a_restart(place: Place) -> None:
    drop_many(place, 2, "more")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 2)
    denied = Denied("HTTP 403: not your workflow", http_status=403)
    place.api.plan(SubmitFault(denied, at="before", contains=b"leads", times=1))
    drop_many(place, 2)
    await daemon.discovery.take(place.routes.values())
    await daemon.run_until(lambda: place.told("gate.held"))
    await daemon.stop()

    place.route("leads", workflow_id="one that is ours")
    daemon = await place.start()

    assert "leads" not in daemon.scheduler.passage.gate.routes
    await daemon.run_to_idle()
    assert daemon.scheduler.book.counts["leads", State.DONE] == 2
