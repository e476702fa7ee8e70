"""What may have been paid is known by a trace in work while it stands in error, whatever state is put in place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bulkgpt_watchd.core.errors import DiskTrouble, OutcomeUnknown, Unavailable
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.traces import read_trace, trace_name
from bulkgpt_watchd.sandbox import answer
from bulkgpt_watchd.scheduler.inbox import MARKER
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault
from tests.scenarios.test_restored_state import CSV, copy_state, fail_for_its_rows, restore_state


def lose_an_answer(place: Place) -> None:
    place.api.plan(SubmitFault(OutcomeUnknown("the connection broke"), is_accepted=True))


def traces(place: Place) -> list[str]:
    return [name for name in place.files("work") if name.endswith(".error.json")]


async def doubt(place: Place) -> str:
    """Let the answer to a submit of `a.csv` be lost; give its job once it stands in error and nobody runs."""
    lose_an_answer(place)
    daemon = await place.start()
    await daemon.run_to_idle()
    job = await daemon.job("a.csv")
    assert (job.state, job.code) == (State.FAILED, "submission_unknown")
    await daemon.stop()
    return job.id


async def back_to_normal(place: Place) -> Daemon:
    """Start, adopt what has to be, open the gate, and let everything go on."""
    daemon = await place.start()
    await daemon.turn(0.0)
    if place.told("route.unavailable"):
        await daemon.acts.adopt("a person", "leads")
    await daemon.run_to_idle()
    await daemon.acts.resume("a person")
    await daemon.run_to_idle()
    return daemon


@pytest.mark.fault("F41")
@pytest.mark.parametrize("knows", ["nothing", "a file that was ready", "another state"])
@pytest.mark.parametrize("moves", ["nothing", "the file", "the file, and its reason away"])
async def test_a_doubt_in_error_that_a_state_does_not_know_is_asked_again_and_never_sent_again(
    place: Place, tmp_path: Path, knows: str, moves: str
) -> None:
    if knows == "a file that was ready":
        place.drop("a.csv", CSV)
        place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_for(5.0)
    await daemon.stop()
    if knows != "another state":
        copy_state(place, tmp_path / "backup")
    if knows != "a file that was ready":
        place.drop("a.csv", CSV)
    place.api.outage = None
    old = await doubt(place)

    restore_state(place, tmp_path / "backup")
    leads = place.routes["leads"]
    if moves != "nothing":
        (leads.error / "a.csv").rename(leads.inbox / "a.csv")
    if moves == "the file, and its reason away":
        (leads.error / "a.csv.error.json").unlink()
    daemon = await back_to_normal(place)

    codes = {job.id == old: job.code for job in await daemon.jobs()}
    assert codes == {True: "submission_unknown"} | ({} if moves == "nothing" else {False: "duplicate"})
    assert (await daemon.job("a.csv")).sha256 is not None
    assert len(place.api.accepted) == 1
    await daemon.acts.resolve("a person", old, task_id=str(place.api.accepted[0].task_id))
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert place.files("archive")["a.csv"] == CSV
    assert "a.csv" not in place.files("error")
    assert traces(place) == []
    assert len(place.api.accepted) == 1


@pytest.mark.fault("F41")
async def test_a_task_whose_result_is_not_had_yet_is_not_paid_again_either(place: Place, tmp_path: Path) -> None:
    place.route(task_timeout=600.0)
    daemon = await place.start()
    await daemon.run_for(5.0)
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    place.api.on_accept = lambda task: setattr(task, "end", "running")
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_to_idle()
    job = await daemon.job("a.csv")
    assert job.code == "task_timeout"
    await daemon.stop()

    restore_state(place, tmp_path / "backup")
    leads = place.routes["leads"]
    (leads.error / "a.csv").rename(leads.inbox / "a.csv")
    daemon = await back_to_normal(place)

    found = {each.id == job.id: each for each in await daemon.jobs()}
    assert {is_old: each.code for is_old, each in found.items()} == {True: "submission_unknown", False: "duplicate"}
    assert str(job.task_id) in str(found[True].message)
    assert len(place.api.accepted) == 1


@pytest.mark.fault("F41")
async def test_a_file_that_failed_otherwise_in_the_older_state_is_a_doubt_of_its_own(
    place: Place, tmp_path: Path
) -> None:
    daemon = await fail_for_its_rows(place)
    failed = await daemon.job("a.csv")
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    lose_an_answer(place)
    daemon = await place.start()
    await daemon.acts.retry("a person", [failed.id])
    await daemon.run_to_idle()
    await daemon.stop()

    restore_state(place, tmp_path / "backup")
    daemon = await back_to_normal(place)
    await daemon.acts.retry("a person", [failed.id])  # the older row does not know
    await daemon.run_to_idle()

    assert [job.code for job in await daemon.jobs()] == ["duplicate", "submission_unknown"]
    assert len(place.api.accepted) == 1
    await daemon.stop()
    daemon = await back_to_normal(place)
    assert len(await daemon.jobs()) == 2, "it is asked once"


@pytest.mark.parametrize("answer_", ["task", "not submitted", "abandoned", "abandoned on a sick disk"])
async def test_a_trace_goes_when_its_question_is_answered(place: Place, answer_: str) -> None:
    place.drop("a.csv", CSV)
    job_id = await doubt(place)
    assert traces(place) == [trace_name(job_id)]
    daemon = await place.start()
    await daemon.run_for(5.0)
    folders = daemon.scheduler.outside.folders
    if answer_ == "abandoned on a sick disk":
        folders.remove = _sick  # type: ignore[method-assign]  # for a while
    if answer_ == "task":
        await daemon.acts.resolve("a person", job_id, task_id=str(place.api.accepted[0].task_id))
    elif answer_ == "not submitted":
        await daemon.acts.resolve("a person", job_id, not_submitted=True)
    else:
        await daemon.acts.resolve("a person", job_id, abandon=True)
    await daemon.run_to_idle()
    await daemon.stop()
    assert traces(place) == ([trace_name(job_id)] if answer_ == "abandoned on a sick disk" else [])

    daemon = await back_to_normal(place)
    assert traces(place) == []
    assert len(await daemon.jobs()) == 1


async def test_a_trace_in_work_that_is_now_of_another_state_is_left_to_that(place: Place) -> None:
    place.drop("a.csv", CSV)
    job_id = await doubt(place)
    (place.routes["leads"].work / MARKER).write_text('{"state": "another"}')
    daemon = await place.start()
    await daemon.turn(0.0)
    assert place.told("route.unavailable")

    await daemon.acts.resolve("a person", job_id, abandon=True)
    assert traces(place) == [trace_name(job_id)]
    await daemon.acts.adopt("a person", "leads")
    await daemon.run_to_idle()
    assert traces(place) == []
    assert (await daemon.job("a.csv")).is_closed


def _sick(path: Path) -> None:
    raise DiskTrouble(f"{path}: input/output error")


async def test_a_trace_of_work_that_was_moved_elsewhere_counts_too(place: Place, tmp_path: Path) -> None:
    """The inbox was put elsewhere; what was its work is still looked at."""
    daemon = await place.start()
    await daemon.run_for(5.0)
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    place.drop("a.csv", CSV)
    old = await doubt(place)
    restore_state(place, tmp_path / "backup")
    inbox = place.routes["leads"].inbox.with_name("new-inbox")
    inbox.mkdir()
    place.route(inbox=inbox, work=inbox / ".bulkgpt-watchd")
    daemon = await back_to_normal(place)
    place.drop("again.csv", CSV)
    await daemon.run_to_idle()

    assert {job.id == old: job.code for job in await daemon.jobs()} == {True: "submission_unknown", False: "duplicate"}
    assert len(place.api.accepted) == 1


@pytest.mark.fault("F41")
@pytest.mark.parametrize("reason", ["stays", "goes"])
async def test_a_doubt_that_was_moved_back_is_refused_also_where_duplicates_are_submitted(
    place: Place, tmp_path: Path, reason: str
) -> None:
    """It is checked while the older state still has to find out that the file of its doubt was in error."""
    place.route(duplicates="submit")
    daemon = await place.start()
    await daemon.run_for(5.0)
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    place.drop("a.csv", CSV)
    await doubt(place)

    restore_state(place, tmp_path / "backup")
    leads = place.routes["leads"]
    (leads.error / "a.csv").rename(leads.inbox / "a.csv")
    if reason == "goes":
        (leads.error / "a.csv.error.json").unlink()
    daemon = await back_to_normal(place)

    assert sorted(str(job.code) for job in await daemon.jobs()) == ["duplicate", "submission_unknown"]
    assert len(place.api.accepted) == 1


async def test_a_file_whose_work_is_gone_comes_to_its_end_without_a_trace(place: Place) -> None:
    """The inbox was put elsewhere, and the old one removed, before the task ended."""
    place.route(task_timeout=600.0)
    place.api.on_accept = lambda task: setattr(task, "end", "running")
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()
    old, inbox = place.routes["leads"].inbox, place.routes["leads"].inbox.with_name("new-inbox")
    inbox.mkdir()
    place.route(inbox=inbox, work=inbox / ".bulkgpt-watchd")
    shutil.rmtree(old)

    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.quarantined"), within_s=1200.0)
    assert list(place.files("error")) == ["a.csv.error.json"]
    assert traces(place) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"{}", b'{"revision": "x"}', b"\xff"])
def test_what_is_no_trace_is_none(content: bytes) -> None:
    assert read_trace("aaaaaaaa", content) is None
