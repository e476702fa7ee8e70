"""A sent name counts in every folder that was the work of a route, and at the submit itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bulkgpt_watchd.core.errors import Denied, DiskTrouble, Refused, Unavailable, WatchdError
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault

CSV = b"Input_1\n1\n2\n3\n"


async def until_ready(place: Place) -> Daemon:
    """Bring `a.csv` so far that it only waits for BulkGPT to answer again."""
    place.drop("a.csv", CSV)
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: daemon.scheduler.book.counts["leads", State.READY] == 1)
    await daemon.run_for(20.0)
    return daemon


def move_inbox(place: Place) -> Path:
    """Put the inbox elsewhere; gives the folder that was its work."""
    old = place.routes["leads"]
    inbox = old.inbox.with_name("new-inbox")
    inbox.mkdir()
    place.route(inbox=inbox, work=inbox / ".bulkgpt-watchd")
    return old.work


@pytest.mark.parametrize("is_told_by_a_reload", [True, False])
async def test_an_older_state_sends_nothing_again_from_where_the_inbox_was_before(
    place: Place, tmp_path: Path, is_told_by_a_reload: bool
) -> None:
    """The older state knows a file that is ready; the file itself says, in the work folder of before, that it went."""
    place.api.runs_s = 1e6
    daemon = await until_ready(place)
    await daemon.stop()
    shutil.copytree(place.state.parent, tmp_path / "backup")
    place.api.outage = None
    if is_told_by_a_reload:
        daemon = await place.start()
        old_work = move_inbox(place)
        await daemon.discovery.take(place.routes.values())
    else:
        old_work = move_inbox(place)
        daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    job = await daemon.job("a.csv")
    assert (old_work / sent_name(job.id, job.file)).read_bytes() == CSV
    await daemon.stop()

    shutil.rmtree(place.state.parent)
    shutil.copytree(tmp_path / "backup", place.state.parent)
    daemon = await place.start()
    await daemon.run_for(600.0)

    job = await daemon.job("a.csv")
    assert (job.state, job.code) == (State.FAILED, "submission_unknown")
    assert place.files("error")["a.csv"] == CSV
    assert len(place.api.accepted) == 1


async def test_a_sent_name_where_the_inbox_was_before_is_a_doubt_although_no_row_tells_of_it(place: Place) -> None:
    """The older copy of the state is from before the file was dropped."""
    daemon = await place.start()
    await daemon.turn(0.0)
    await daemon.stop()
    old_work = move_inbox(place)
    (old_work / sent_name("a1000000", "a.csv")).write_bytes(CSV)
    daemon = await place.start()
    await daemon.run_to_idle()

    job = await daemon.job("a.csv")
    assert (job.id, job.state, job.code) == ("a1000000", State.FAILED, "submission_unknown")
    assert place.files("error")["a.csv"] == CSV
    await daemon.acts.resume("a person")
    place.drop("a.csv", CSV)
    await daemon.run_to_idle()
    assert (await daemon.job("a.csv")).code == "duplicate"
    assert place.api.submissions == []


async def test_a_file_of_an_older_state_that_was_not_sent_goes_on_from_where_the_inbox_was_before(place: Place) -> None:
    daemon = await until_ready(place)
    await daemon.stop()
    old_work = move_inbox(place)
    place.api.outage = None
    daemon = await place.start()
    await daemon.run_to_idle()

    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert [name.name for name in old_work.iterdir()] == ["route.json"]
    assert len(place.api.accepted) == 1


async def test_a_sent_name_that_appears_between_two_looks_is_never_submitted(place: Place) -> None:
    """Whoever restores folders beside a daemon that runs is not waited for: the submit itself looks at the name."""
    daemon = await until_ready(place)
    job = await daemon.job("a.csv")
    work = place.routes["leads"].work
    (work / work_name(job.id, job.file)).rename(work / sent_name(job.id, job.file))
    place.api.outage = None
    await daemon.run_for(4000.0)

    job = await daemon.job("a.csv")
    assert (job.state, job.code) == (State.FAILED, "submission_unknown")
    assert job.message is not None
    assert "may have been sent, and the state does not know of it" in job.message
    assert place.files("error")["a.csv"] == CSV
    assert place.api.accepted == []


async def test_a_file_that_left_work_is_no_doubt(place: Place) -> None:
    """Without either name nothing says that it went: the file has vanished."""
    daemon = await until_ready(place)
    job = await daemon.job("a.csv")
    (place.routes["leads"].work / work_name(job.id, job.file)).unlink()
    place.api.outage = None
    await daemon.run_for(4000.0)

    assert (await daemon.job("a.csv")).code != "submission_unknown"
    assert place.api.accepted == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Denied("HTTP 401: Invalid API key", http_status=401), None),
        (Refused("rejected", "no such workflow", api_message="no such workflow"), "rejected"),
        (Unavailable("HTTP 429"), None),
    ],
    ids=["denied", "refused", "unavailable"],
)
async def test_a_refusal_counts_also_where_the_plain_name_could_not_be_given_back(
    place: Place, error: WatchdError, code: str | None
) -> None:
    daemon = await place.start()
    await daemon.turn(0.0)
    folders = daemon.scheduler.outside.folders
    exists, failed = folders.exists, list[str]()

    def failing(path: Path) -> bool:
        if ".sent-" in path.name and not failed:
            failed.append(path.name)
            raise DiskTrouble("input/output error")
        return exists(path)

    folders.exists = failing  # type: ignore[method-assign]  # the share is sick once
    place.api.plan(SubmitFault(error))
    place.drop("a.csv", CSV)
    await daemon.run_until(lambda: failed)
    was_shut = [facts["reason"] for facts in place.told("gate.shut")]
    await daemon.run_for(3000.0)

    job = await daemon.job("a.csv")
    assert failed
    assert was_shut == ([str(error)] if isinstance(error, Denied) else [])
    assert (job.state, job.code) == ((State.DONE, None) if code is None else (State.FAILED, code))
    assert len(place.api.accepted) == (1 if code is None else 0)
    assert len(place.api.submissions) == (2 if code is None else 1)
    assert place.told("daemon.bug") == []
