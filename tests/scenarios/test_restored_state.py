"""An older copy of the state, another, or none: what stands in work counts, and never a second POST."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from bulkgpt_watchd.config.route import CsvSettings
from bulkgpt_watchd.core.errors import Unavailable
from bulkgpt_watchd.core.events import Vanished
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from bulkgpt_watchd.sandbox import answer
from tests.adapters.kernels import FailingWhen
from tests.daemon import Daemon, Place
from tests.sample_jobs import sample_job

CSV = b"Input_1\n1\n2\n3\n"


def copy_state(place: Place, target: Path) -> None:
    """Back the state up while no daemon runs."""
    shutil.copytree(place.state.parent, target)


def restore_state(place: Place, source: Path) -> None:
    shutil.rmtree(place.state.parent)
    if source.exists():
        shutil.copytree(source, place.state.parent)
    else:
        place.state.parent.mkdir()


async def send_after_a_backup(place: Place, name: str, backup: Path) -> None:
    """Copy the state when a file is about to be sent, then send it."""
    place.drop(name, CSV)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.checked"))
    await daemon.stop()
    copy_state(place, backup)
    place.api.outage = None
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()


async def retry_and_send(place: Place, job_id: str) -> None:
    """Let a failed job be sent in a life of its own."""
    daemon = await place.start()
    await daemon.acts.retry("a person", [job_id])
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()


@pytest.mark.fault("F41")
async def test_an_older_state_makes_a_sent_file_a_doubt_and_never_a_second_post(place: Place, tmp_path: Path) -> None:
    await send_after_a_backup(place, "a.csv", tmp_path / "backup")

    restore_state(place, tmp_path / "backup")
    daemon = await place.start()
    await daemon.run_for(600.0)

    job = await daemon.job("a.csv")
    assert (job.state, job.code) == (State.FAILED, "submission_unknown")
    assert len(place.api.accepted) == 1

    # The person finds the task on the dashboard: the paid result comes, and nothing is paid again.
    await daemon.acts.resolve("a person", job.id, task_id=str(place.api.accepted[0].task_id))
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert place.files("archive")["a.csv"] == CSV
    assert place.files("error") == {}
    assert len(place.api.accepted) == 1


@pytest.mark.fault("F41")
async def test_a_deleted_state_leaves_the_route_alone_until_a_person_adopts_it(place: Place, tmp_path: Path) -> None:
    place.drop("sent.csv", CSV)
    place.api.runs_s = 1e9
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.api.outage = Unavailable("connection refused")
    place.drop("checked.csv", b"a\n1\n")
    await daemon.run_until(lambda: len(place.told("job.checked")) == 2)
    await daemon.stop()

    restore_state(place, tmp_path / "no backup")
    place.api.outage, place.api.runs_s = None, 30.0
    daemon = await place.start(uuid="state-2")
    place.drop("new.csv", b"a\n2\n")
    await daemon.run_for(600.0)
    assert [facts["reason"] for facts in place.told("route.unavailable")][-1].count("adopt leads") == 1
    assert await daemon.jobs() == []
    assert len(place.api.accepted) == 1

    await daemon.acts.adopt("a person", "leads")
    await daemon.run_to_idle()

    codes = {job.file: (job.state, job.code) for job in await daemon.jobs()}
    assert codes == {
        "sent.csv": (State.FAILED, "submission_unknown"),
        "checked.csv": (State.DONE, None),
        "new.csv": (State.DONE, None),
    }
    assert len([s for s in place.api.accepted if s.csv == CSV]) == 1


async def fail_for_its_rows(place: Place) -> Daemon:
    """Let a file fail for a setting that is mended then, so that it can be retried free."""
    place.route(csv=CsvSettings(max_rows=2))
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_to_idle()
    assert (await daemon.job("a.csv")).code == "too_many_rows"
    await daemon.stop()
    place.route(csv=CsvSettings())
    return await place.start()


async def test_a_file_retried_after_the_backup_was_made_is_a_doubt_and_keeps_its_witness(
    place: Place, tmp_path: Path
) -> None:
    """The older row has failed harmlessly and knows of no submit: the file in work gets a row of its own."""
    daemon = await fail_for_its_rows(place)
    failed = await daemon.job("a.csv")
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    await retry_and_send(place, failed.id)

    restore_state(place, tmp_path / "backup")
    daemon = await place.start()
    await daemon.run_for(600.0)

    old, new = await daemon.jobs()
    assert (old.id, old.state, old.code) == (failed.id, State.FAILED, "too_many_rows")
    assert (new.file, new.state, new.code) == ("a.csv", State.FAILED, "submission_unknown")
    assert place.files("error").keys() == {"a.csv", "a.csv.error.json"}
    assert b"submission_unknown" in place.files("error")["a.csv.error.json"]

    # Whoever believes the older row is told of the doubt, which is still there to be answered.
    await daemon.acts.retry("a person", [failed.id])
    await daemon.run_for(600.0)
    assert [job.code for job in await daemon.jobs()] == ["duplicate", "submission_unknown"]
    assert len(place.api.accepted) == 1
    await daemon.acts.resolve("a person", new.id, task_id=str(place.api.accepted[0].task_id))
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert place.files("error") == {}
    assert len(place.api.accepted) == 1


async def test_a_decision_in_the_older_state_does_not_send_what_was_sent_since(place: Place, tmp_path: Path) -> None:
    daemon = await fail_for_its_rows(place)
    await daemon.acts.retry("a person", [(await daemon.job("a.csv")).id])
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    daemon = await place.start()
    assert (await daemon.job("a.csv")).state is State.RECALLED
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()

    restore_state(place, tmp_path / "backup")
    daemon = await place.start()
    await daemon.run_for(600.0)

    (job,) = await daemon.jobs()
    assert (job.state, job.code) == (State.FAILED, "submission_unknown")
    assert place.files("error").keys() == {"a.csv", "a.csv.error.json"}
    assert len(place.api.accepted) == 1


async def test_a_decision_that_a_restart_interrupts_is_carried_out(place: Place) -> None:
    """Only a sent name contradicts a decision: a plain one is the file on its way back."""
    daemon = await fail_for_its_rows(place)
    job = await daemon.job("a.csv")
    await daemon.acts.retry("a person", [job.id])
    await daemon.stop()
    (place.routes["leads"].error / "a.csv").rename(place.routes["leads"].work / work_name(job.id, job.file))

    daemon = await place.start()
    await daemon.run_to_idle()

    assert [(job.state, job.code) for job in await daemon.jobs()] == [(State.DONE, None)]
    assert len(place.api.accepted) == 1


@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_withdrawn_row_does_not_keep_a_file_in_work(place: Place, is_sent: bool) -> None:
    """In an older copy of the state its owner had taken it back; since then it was dropped again and claimed."""
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.acts.pause("a person", "leads")
    await daemon.run_until(lambda: place.told("job.discovered"))
    job = await daemon.job("a.csv")
    assert await daemon.scheduler.book.commit(job, Vanished()) is not None
    await daemon.acts.resume("a person", "leads")
    await daemon.stop()
    leads = place.routes["leads"]
    claimed = leads.work / (sent_name if is_sent else work_name)(job.id, job.file)
    (leads.inbox / "a.csv").rename(claimed)

    daemon = await place.start()
    await daemon.run_to_idle()

    old, new = [job for job in await daemon.jobs() if job.file == "a.csv"]
    assert (old.id, old.state) == (job.id, State.WITHDRAWN)
    accepted = [submission for submission in place.api.accepted if submission.csv == CSV]
    if is_sent:
        assert (new.state, new.code) == (State.FAILED, "submission_unknown")
        assert place.files("error").keys() == {"a.csv", "a.csv.error.json"}
        assert accepted == []
    else:
        assert new.state is State.DONE
        assert place.files("outbox") == {"a.csv": answer(CSV)}
        assert len(accepted) == 1


@pytest.mark.parametrize(
    "state",
    [
        State.DISCOVERED,
        State.CLAIMED,
        State.READY,
        State.SUBMITTING,
        State.RECALLED,
        State.FAILED,
        State.WITHDRAWN,
    ],
)
async def test_a_sent_name_is_a_doubt_whatever_a_row_without_a_task_says(place: Place, state: State) -> None:
    daemon = await place.start()
    await daemon.turn()
    route = place.routes["leads"]
    is_over = state in {State.SUBMITTING, State.FAILED, State.WITHDRAWN}
    row = sample_job(
        "a1000000",
        file="a.csv",
        state=state,
        due_at=None if is_over else place.clock.now(),
        inbox=str(route.inbox),
        work=str(route.work),
        code="csv_invalid" if state is State.FAILED else None,
        error_path=str(route.error / "a.csv") if state in {State.RECALLED, State.FAILED} else None,
    )
    await daemon.store.add([row])
    await daemon.stop()
    (route.work / sent_name(row.id, row.file)).write_bytes(CSV)

    daemon = await place.start()
    await daemon.run_for(600.0)

    doubts = [job for job in await daemon.jobs() if job.is_doubt]
    assert [job.state for job in doubts] == [State.FAILED]
    assert doubts[0].error_path == str(route.error / "a.csv")
    assert place.files("error")["a.csv"] == CSV
    assert place.api.submissions == []


async def test_a_file_in_work_that_cannot_be_read_stops_nothing_else(place: Place, tmp_path: Path) -> None:
    await send_after_a_backup(place, "bad.csv", tmp_path / "backup")
    restore_state(place, tmp_path / "backup")
    place.drop("good.csv", b"a\n1\n")

    daemon = await place.build(FailingWhen(errno.EIO, lambda name, args: name == "open" and ".sent-" in args[0]))
    await daemon.begin()
    await daemon.run_for(600.0)

    assert place.told("route.unavailable") == []
    assert {job.file: (job.state, job.code) for job in await daemon.jobs()} == {
        "bad.csv": (State.FAILED, "submission_unknown"),
        "good.csv": (State.DONE, None),
    }
    assert len([submission for submission in place.api.accepted if submission.csv == CSV]) == 1
