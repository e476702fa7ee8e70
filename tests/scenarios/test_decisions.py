"""What a person decides: about a failed job once its file stands in error, about a pause of one route or of all."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import CommandRefused, OutcomeUnknown
from bulkgpt_watchd.core.events import Quarantined
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.scheduler.acts import AT_REST_EVERY_S, AT_REST_TRIES
from tests.adapters.kernels import RENAMES, FailingWhen
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault

CSV = b"Input_1\n1\n2\n3\n"

LOST = OutcomeUnknown("connection reset")

Act = Callable[[Daemon, str], Awaitable[dict[str, Any]]]

ACTS: dict[str, Act] = {
    "retry --pay-again": lambda daemon, job_id: daemon.acts.retry("a person", [job_id], pay_again=True),
    "resolve --not-submitted": lambda daemon, job_id: daemon.acts.resolve("a person", job_id, not_submitted=True),
    "resolve --abandon": lambda daemon, job_id: daemon.acts.resolve("a person", job_id, abandon=True),
    "redeliver": lambda daemon, job_id: daemon.acts.redeliver("a person", job_id),
}


async def fail(daemon: Daemon, act: str) -> Job:
    """Let a file fail so that *act* can be said of it; it is still on its way to the error folder."""
    place = daemon.place
    if act.startswith("resolve"):
        place.api.plan(SubmitFault(LOST))
    else:
        place.api.on_accept = lambda task: setattr(task, "end", "error")
    place.drop("a.csv", CSV)
    await daemon.run_until(lambda: place.told("job.failed"))
    place.api.on_accept = lambda _task: None
    for task in place.api.tasks.values():  # what comes after it goes well
        task.end = "completed"
    job = await daemon.job("a.csv")
    assert job.state is State.FAILING
    return job


# --- a job that is on its way to the error folder ---------------------------------------------------------------------


@pytest.mark.parametrize("act", ACTS)
async def test_a_decision_waits_until_the_file_stands_in_error(place: Place, act: str) -> None:
    daemon = await place.start()
    job = await fail(daemon, act)
    get, asked = daemon.store.get, 0

    async def get_later(job_id: str) -> Job | None:
        nonlocal asked
        asked += 1
        if asked in {3, 4}:
            await daemon.turn(0.0)  # the daemon goes on while the person waits: a name is chosen, then the file moved
        return await get(job_id)

    daemon.store.get = get_later  # type: ignore[method-assign]  # the command is answered beside the loop
    await ACTS[act](daemon, job.id)

    told = [line.event for line in place.lines if line.event in {"job.failed", "job.quarantined", "audit.recorded"}]
    assert told == ["job.failed", "job.quarantined", "audit.recorded"]
    await daemon.run_to_idle()
    state = (await daemon.job("a.csv")).state
    assert state is (State.FAILED if act == "resolve --abandon" else State.DONE)
    assert place.files("work").keys() == {"route.json"}


@pytest.mark.parametrize("act", ACTS)
async def test_a_decision_about_a_file_that_does_not_come_to_error_is_refused_and_changes_nothing(
    place: Place, act: str
) -> None:
    def is_move_to_error(name: str, args: tuple[Any, ...]) -> bool:
        return name in RENAMES and str(args[1]).endswith(".error.json")

    daemon = await place.build(FailingWhen(errno.ENOSPC, is_move_to_error))
    await daemon.begin()
    await fail(daemon, act)
    await daemon.run_until(lambda: place.told("job.deferred"))
    before, now = await daemon.job("a.csv"), place.clock.now()

    with pytest.raises(CommandRefused, match=r"still on its way to the error folder \(.*no space left on device"):
        await ACTS[act](daemon, before.id)

    assert await daemon.job("a.csv") == before
    assert place.told("audit.recorded") == []
    assert place.clock.now() - now == pytest.approx(AT_REST_TRIES * AT_REST_EVERY_S)


# --- a doubt whose file was moved back into the inbox -----------------------------------------------------------------


async def doubt_moved_back(daemon: Daemon) -> Job:
    """Let a person move the file of a doubt into the inbox instead of answering it."""
    daemon.place.api.plan(SubmitFault(LOST))
    daemon.place.drop("a.csv", CSV)
    await daemon.run_to_idle()
    route = daemon.place.routes["leads"]
    (route.error / "a.csv").rename(route.inbox / "a.csv")
    return await daemon.job("a.csv")


async def test_an_answered_doubt_whose_file_was_moved_back_leaves_nothing_in_error(place: Place) -> None:
    """The file is refused as its own duplicate and stands there under another name; both reasons are of the past."""
    daemon = await place.start()
    doubt = await doubt_moved_back(daemon)
    await daemon.run_to_idle()
    refused = await daemon.job("a.csv")
    assert (refused.code, refused.related_job) == ("duplicate", doubt.id)
    assert len(place.files("error")) == 3, "the doubt's reason stands there without its file"

    await daemon.acts.resolve("a person", doubt.id, not_submitted=True)
    await daemon.run_to_idle()

    assert [(job.state, job.superseded_by) for job in await daemon.jobs()] == [
        (State.DONE, None),
        (State.FAILED, doubt.id),
    ]
    assert place.files("error") == {}
    assert len(place.api.accepted) == 1


async def test_while_the_moved_file_is_on_its_way_back_to_error_a_person_is_told_to_wait(place: Place) -> None:
    daemon = await place.start()
    doubt = await doubt_moved_back(daemon)
    save, told = daemon.store.save, ""

    async def asked_before(change: Change) -> bool:
        nonlocal told
        if isinstance(change.event, Quarantined):
            with pytest.raises(CommandRefused) as refused:
                await daemon.acts.resolve("a person", doubt.id, not_submitted=True)
            told = str(refused.value)
        return await save(change)

    daemon.store.save = asked_before  # type: ignore[method-assign]  # the command comes at this moment
    await daemon.run_to_idle()

    copy = await daemon.job("a.csv")
    assert told == f"the file is now job {copy.id}, on its way to the error folder; try again soon"
    assert (await daemon.jobs())[0].is_doubt
    await daemon.acts.resolve("a person", doubt.id, not_submitted=True)
    await daemon.run_to_idle()
    assert (await daemon.jobs())[0].state is State.DONE
    assert len(place.api.accepted) == 1


# --- pauses -----------------------------------------------------------------------------------------------------------


async def test_resuming_all_leaves_a_held_backlog_and_names_it(place: Place) -> None:
    place.route(hold_backlog=3)
    for number in range(5):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    place.drop("other.csv", b"a\nother\n", "other")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("route.paused"))
    await daemon.acts.pause("a person", reason="month end")

    answer = await daemon.acts.resume("a person")
    await daemon.run_for(600.0)

    assert len(place.files("inbox")) == 5
    assert place.files("outbox", "other").keys() == {"other.csv"}
    assert answer["still_paused"].keys() == {"leads"}
    assert "5 files" in answer["still_paused"]["leads"]
    await daemon.stop()

    daemon = await place.start()
    await daemon.run_for(600.0)
    assert len(place.files("inbox")) == 5, "a restart forgets no pause"
    assert (await daemon.acts.resume("a person", "leads"))["still_paused"] == {}
    await daemon.run_to_idle()
    assert len(place.files("outbox")) == 5


async def test_resuming_one_route_while_all_are_paused_names_what_still_holds_it(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.acts.pause("a person", reason="month end")

    answer = await daemon.acts.resume("a person", "leads")
    await daemon.run_for(600.0)

    assert (answer["route"], answer["still_paused"]) == ("leads", {"leads": "month end"})
    assert place.files("inbox").keys() == {"a.csv"}
    assert (await daemon.acts.resume("a person"))["still_paused"] == {}
    await daemon.run_to_idle()
    assert place.files("outbox").keys() == {"a.csv"}
