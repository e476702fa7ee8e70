"""What work says counts, also where the state is lost, older, or another's: never a second POST."""

from __future__ import annotations

import shutil
from pathlib import Path

from bulkgpt_watchd.core.errors import Unavailable
from bulkgpt_watchd.core.events import Passed
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Place

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


async def test_an_older_state_makes_a_sent_file_a_doubt_and_never_a_second_post(place: Place, tmp_path: Path) -> None:
    place.drop("a.csv", CSV)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.checked"))
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    place.api.outage = None
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()

    restore_state(place, tmp_path / "backup")
    daemon = await place.start()
    await daemon.run_for(3_600.0)

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


async def test_a_plain_witness_says_that_the_last_block_was_not_sent(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.checked"))
    job = await daemon.job("a.csv")
    await daemon.scheduler.book.commit(job, Passed("workflow of leads"))  # and dead before the witness
    await daemon.stop()
    place.api.outage = None

    daemon = await place.start()
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).state is State.DONE
    assert len(place.api.accepted) == 1


async def test_a_sent_witness_is_a_doubt_and_stands_in_error_with_the_reason(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.checked"))
    job = await daemon.job("a.csv")
    await daemon.scheduler.book.commit(job, Passed("workflow of leads"))
    work = place.routes["leads"].work
    (work / work_name(job.id, job.file)).rename(work / sent_name(job.id, job.file))
    await daemon.stop()
    place.api.outage = None

    daemon = await place.start()
    await daemon.run_to_idle()

    assert place.files("error").keys() == {"a.csv", "a.csv.error.json"}
    assert b"resolve" in place.files("error")["a.csv.error.json"]
    assert place.api.accepted == []

    await daemon.acts.resolve("a person", job.id, not_submitted=True)
    await daemon.run_to_idle()
    assert (await daemon.job("a.csv")).state is State.DONE
    assert place.files("error") == {}
    assert len(place.api.accepted) == 1


async def test_a_claimed_file_that_somebody_took_from_work_is_told_as_lost(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.checked"))
    job = await daemon.job("a.csv")
    (place.routes["leads"].work / work_name(job.id, job.file)).unlink()
    place.api.outage = None

    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).code == "source_lost"
    assert place.files("error").keys() == {"a.csv.error.json"}
    assert place.api.accepted == []


async def test_a_result_is_delivered_though_the_original_was_taken_from_work(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    job = await daemon.job("a.csv")
    (place.routes["leads"].work / sent_name(job.id, job.file)).unlink()

    await daemon.run_to_idle()

    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert b'"source_lost": true' in place.files("archive")["a.csv.receipt.json"]
