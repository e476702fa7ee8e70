"""A share that hung at the point of no return may do the rename when it comes back: that alone is no doubt."""

from __future__ import annotations

from bulkgpt_watchd.core.errors import Unavailable
from bulkgpt_watchd.core.events import Deferred, Passed
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from tests.daemon import Daemon, Place


async def with_a_late_rename(place: Place) -> Daemon:
    """Let a submit pass and be taken back, and the file get its sent name all the same, after that."""
    place.drop("a.csv")
    place.api.outage = Unavailable("connection refused")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.checked"))
    ready = await daemon.job("a.csv")
    passed = await daemon.scheduler.book.commit(ready, Passed("workflow of leads"))
    assert passed is not None
    await daemon.scheduler.book.commit(passed, Deferred("a folder hangs"))
    work = place.routes["leads"].work
    (work / work_name(ready.id, ready.file)).rename(work / sent_name(ready.id, ready.file))
    place.api.outage = None
    return daemon


async def test_a_rename_that_was_done_late_makes_no_doubt_of_what_was_certainly_not_sent(place: Place) -> None:
    daemon = await with_a_late_rename(place)
    daemon.scheduler.inboxes["leads"].is_open = False  # as after every trouble with a folder: it is opened anew
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).state is State.DONE
    assert len(place.api.accepted) == 1


async def test_another_process_cannot_know_and_asks_a_person(place: Place) -> None:
    daemon = await with_a_late_rename(place)
    await daemon.stop()
    daemon = await place.start()
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).code == "submission_unknown"
    assert len(place.api.accepted) == 0
