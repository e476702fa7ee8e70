"""Let all end after the cuts: what must be so then, whatever was lost on the way."""

from __future__ import annotations

import hashlib

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.sandbox import answer
from tests.crash.endings import check_all_delivered, check_end, resolve
from tests.crash.processes import ROUTES, wait_until
from tests.power.place import PowerBed


def let_end(bed: PowerBed, within_s: float) -> list[Job]:
    """Let all that was dropped end; answer the doubts from the ledger; give them."""
    with bed.running(within_s):
        wait_until(lambda: bed.is_opened() and not bed.left_over(), within_s)
        doubts = check_end(bed)
        resolve(bed, doubts)
        wait_until(lambda: bed.has_ended() and all(job.state is State.DONE for job in bed.seen()), within_s)
    check_all_delivered(bed)
    return doubts


def let_end_rolled_back(bed: PowerBed, within_s: float) -> list[Job]:
    """
    Let all end and answer the doubts, and give them; every input is kept, and was paid once and has its result.

    Shape: but for doubts that the older state forgot, accepted or not: their files stand in error, and say so.
    """
    doubts: list[Job] = []

    def is_answered() -> bool:
        """Answer what is asked by now: a start asks of what its state forgot, too."""
        asked = [job for job in bed.seen() if job.is_doubt]
        resolve(bed, asked)
        doubts.extend(asked)
        return bed.has_ended() and not asked

    with bed.running(within_s):
        wait_until(is_answered, within_s)
    bed.check_files(is_rolled_back=True)
    results = {path.read_bytes() for route in ROUTES for path in bed.files(route, "outbox")}
    in_error = {
        path.read_bytes()
        for route in ROUTES
        for path in bed.files(route, "error")
        if path.with_name(f"{path.name}.error.json").exists()
    }
    paid = bed.accepted()
    for name, content in bed.dropper.dropped.items():
        is_paid = paid[hashlib.sha256(content).hexdigest()] == 1
        assert (is_paid and answer(content) in results) or content in in_error, f"{name}: {is_paid=}"
    lost = [job for job in bed.seen() if job.state is State.FAILED and job.code != "source_lost"]
    assert not lost, "what an older state takes for waiting, and was archived since, is all that may fail"
    return doubts
