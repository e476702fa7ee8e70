"""What ended long ago is forgotten and the archive emptied; what is open, or not ours, stays."""

from __future__ import annotations

import asyncio

import pytest

from bulkgpt_watchd.config import KeepSettings
from bulkgpt_watchd.core.errors import CommandRefused, OutcomeUnknown, Refused
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.scheduler.keeping import AT_ONCE, BATCH, EVERY_S, FIRST_S, Keeper
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault
from tests.sample_jobs import sample_job
from tests.scenarios.conftest import DAY_S, keep

WEEK = KeepSettings(history=7 * DAY_S)


async def files_of_jobs(daemon: Daemon) -> set[str]:
    return {job.file for job in await daemon.jobs()}


async def test_a_delivered_job_is_forgotten_after_its_time_and_the_report_stays(place: Place) -> None:
    place.route(keep=WEEK)
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    day = place.clock.now()
    spent = await daemon.store.spent(day)

    await keep(daemon, 6.9 * DAY_S)
    assert await files_of_jobs(daemon) == {"a.csv"}
    await keep(daemon, 0.2 * DAY_S)

    assert await daemon.jobs() == []
    assert daemon.scheduler.book.counts["leads", State.DONE] == 0
    assert await daemon.store.spent(day) == spent
    assert place.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}, "files are another thing"
    assert [facts["jobs"] for facts in place.told("history.pruned")] == [1]


async def test_what_is_open_or_stands_in_error_is_never_forgotten(place: Place) -> None:
    place.route(keep=WEEK)
    place.api.plan(SubmitFault(OutcomeUnknown("no answer"), contains=b"doubt"))
    place.api.plan(SubmitFault(Refused("rejected", "no", http_status=400), contains=b"refused", times=9))
    names = ("doubt.csv", "refused in error.csv", "refused and gone.csv", "done.csv")
    for name in names:
        place.drop(name, f"a\n{name}\n".encode())
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("gate.shut"))
    await daemon.acts.resume("a person")
    await daemon.run_to_idle()
    (place.routes["leads"].error / "refused and gone.csv").unlink()
    (place.routes["leads"].error / "doubt.csv").unlink()

    await keep(daemon, 400 * DAY_S)

    assert await files_of_jobs(daemon) == {"doubt.csv", "refused in error.csv"}


async def test_a_doubt_that_was_closed_is_forgotten_once_its_file_is_gone(place: Place) -> None:
    place.route(keep=WEEK)
    place.api.plan(SubmitFault(OutcomeUnknown("no answer")))
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    await daemon.acts.resolve("a person", (await daemon.job("a.csv")).id, abandon=True)

    await keep(daemon, 8 * DAY_S)
    assert await files_of_jobs(daemon) == {"a.csv"}
    (place.routes["leads"].error / "a.csv").unlink()
    await keep(daemon, 0.0)

    assert await daemon.jobs() == []


async def test_a_file_in_error_that_cannot_be_looked_for_may_be_there(place: Place) -> None:
    place.route(keep=WEEK)
    place.drop("a.csv", b"")
    place.route(empty_grace=0.0)
    daemon = await place.start()
    await daemon.run_to_idle()
    error = place.routes["leads"].error
    error.rename(error.with_name("unmounted"))

    await keep(daemon, 8 * DAY_S)
    assert await files_of_jobs(daemon) == {"a.csv"}


async def test_duplicates_are_known_for_all_of_their_window(place: Place) -> None:
    place.route(keep=WEEK, duplicate_window=30 * DAY_S)
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()

    await keep(daemon, 29 * DAY_S)
    place.drop("again.csv")
    await daemon.run_to_idle()

    assert (await daemon.job("again.csv")).code == "duplicate"
    assert len(place.api.accepted) == 1


async def test_thousands_of_jobs_go_in_batches(place: Place) -> None:
    place.route(keep=WEEK)
    daemon = await place.start()
    old = {"state": State.WITHDRAWN, "due_at": None, "ended_at": 5.0}
    await daemon.scheduler.book.add([sample_job(f"j{number:07}", **old) for number in range(1_050)])
    before = daemon.store.commits

    await Keeper(daemon.scheduler.book).tidy()

    assert await daemon.jobs() == []
    assert daemon.store.commits - before == 6


async def test_a_person_may_prune_earlier_and_it_is_written_down(place: Place) -> None:
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    place.clock.advance(2 * DAY_S)

    trial = await daemon.acts.prune("a person", older_than_s=DAY_S, dry_run=True)
    assert trial == {"forgotten": {"done": 1}, "kept": {}, "more": False}
    assert len(await daemon.jobs()) == 1
    assert await daemon.acts.prune("a person", older_than_s=DAY_S) == trial

    assert await daemon.jobs() == []
    assert place.told("audit.recorded")[-1]["detail"] == "1 jobs older than 86400s"
    with pytest.raises(CommandRefused, match=r"one that ended long ago is forgotten \(`keep.history`\)"):
        await daemon.acts.redeliver("a person", "aaaa1111")


async def test_the_jobs_of_a_removed_route_are_forgotten_too(place: Place) -> None:
    place.drop("a.csv", route="old")
    place.route("leads")
    daemon = await place.start()
    await daemon.run_to_idle()
    del place.routes["old"]
    await daemon.discovery.take(place.routes.values())

    await keep(daemon, 181 * DAY_S)

    assert await daemon.jobs() == []


async def test_a_long_history_is_forgotten_in_parts_each_of_which_is_answered(place: Place) -> None:
    daemon = await place.start()
    at = place.clock.now()
    jobs = [sample_job(f"job{n:05}", state=State.DONE, due_at=None, ended_at=at) for n in range(AT_ONCE + BATCH)]
    await daemon.scheduler.book.add(jobs)
    place.clock.advance(2 * DAY_S)

    trial = await daemon.acts.prune("a person", older_than_s=DAY_S, dry_run=True)
    answers = [await daemon.acts.prune("a person", older_than_s=DAY_S) for _ in range(2)]

    assert (trial["forgotten"], trial["more"]) == ({"done": AT_ONCE + BATCH}, False)
    assert [(answer["forgotten"], answer["more"]) for answer in answers] == [
        ({"done": AT_ONCE}, True),
        ({"done": BATCH}, False),
    ]


async def test_pruning_says_how_many_the_window_of_duplicates_keeps(place: Place) -> None:
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    place.clock.advance(60.0)

    pruned = await daemon.acts.prune("a person", older_than_s=5.0)

    assert pruned == {"forgotten": {}, "kept": {"younger than `duplicate_window`": 1}, "more": False}
    assert len(await daemon.jobs()) == 1


async def test_a_task_that_ended_at_bulkgpt_leaves_no_question(place: Place) -> None:
    """Its bytes may simply be dropped again; a result that was paid and not fetched may still be had."""
    place.route(keep=WEEK)
    place.api.on_accept = lambda task: setattr(task, "end", "error")
    for name in ("failed in error.csv", "failed and gone.csv"):
        place.drop(name, f"a\n{name}\n".encode())
    daemon = await place.start()
    await daemon.run_to_idle()
    (place.routes["leads"].error / "failed and gone.csv").unlink()

    await keep(daemon, 8 * DAY_S)

    assert await files_of_jobs(daemon) == {"failed in error.csv"}


async def test_it_tidies_by_itself_a_few_times_a_day(place: Place) -> None:
    place.route(keep=WEEK)
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    place.clock.advance(8 * DAY_S)
    started = place.clock.now()

    async with Keeper(daemon.scheduler.book).running():
        async with asyncio.timeout(5):
            while not place.told("history.pruned"):  # noqa: ASYNC110  # time goes by only where somebody sleeps
                await asyncio.sleep(0)

    assert FIRST_S <= place.clock.now() - started < EVERY_S
