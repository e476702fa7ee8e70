"""What the name of a file in work says counts: whether it may have been sent."""

from __future__ import annotations

import asyncio

from bulkgpt_watchd.core.errors import Unavailable
from bulkgpt_watchd.core.events import GaveUp, Passed
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Place
from tests.fakes import SubmitFault

CSV = b"Input_1\n1\n2\n3\n"


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


async def expect_a_doubt(place: Place) -> None:
    """Start plainly after an end past the point of no return: what may have been accepted is never sent again."""
    (claimed,) = place.files("work").keys() - {"route.json"}
    assert ".sent-" in claimed

    daemon = await place.start()
    await daemon.run_to_idle()

    (job,) = await daemon.jobs()
    assert (job.state, job.code) == (State.FAILED, "submission_unknown")
    assert place.files("error").keys() == {"a.csv", "a.csv.error.json"}
    assert len(place.api.accepted) == 1


async def test_a_bug_past_the_point_of_no_return_keeps_the_witness(place: Place) -> None:
    """A kill before the doubt is on disk leaves nothing but the name to tell of it."""
    place.drop("a.csv", CSV)
    place.api.plan(SubmitFault(RuntimeError("a bug while the answer is read"), is_accepted=True))
    daemon = await place.start()
    save = daemon.store.save

    async def killed(change: Change) -> bool:
        if isinstance(change.event, GaveUp):
            raise asyncio.CancelledError
        return await save(change)

    daemon.store.save = killed  # type: ignore[method-assign]  # nothing comes to disk any more
    await daemon.run_until(lambda: place.told("daemon.bug"))
    await daemon.stop()

    await expect_a_doubt(place)


async def test_a_submit_cancelled_past_the_point_of_no_return_keeps_the_witness(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()

    def cancel(step: str) -> None:
        if step == "after acceptance, before the answer":
            for task in daemon.scheduler.running.values():
                task.cancel()

    place.api.boundary = cancel
    await daemon.run_until(lambda: [sent for sent in place.api.submissions if sent.ended_at is not None])
    await daemon.stop()

    await expect_a_doubt(place)


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


async def test_writing_to_the_original_after_it_was_sent_is_told(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    job = await daemon.job("a.csv")
    with open(place.routes["leads"].work / sent_name(job.id, job.file), "ab") as file:
        file.write(b"later\n")

    await daemon.run_to_idle()

    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert place.files("archive")["a.csv"] == CSV + b"later\n"
    assert b'"source_changed": true' in place.files("archive")["a.csv.receipt.json"]
    assert [(line.level, "reason" in line.facts) for line in place.lines if line.event == "job.done"] == [
        ("warning", True)
    ]
