"""Kill the real process with SIGKILL, again and again under load, and let a person answer the doubts in the end."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.core.job import State
from tests.crash.endings import check_all_delivered, check_end, has_ended, jobs_of, resolve, submitting
from tests.crash.processes import Bed, wait_until

KILLS_PER_STOP = 8
"""So many kills between two graceful stops, which have to leave no question."""

Record = Callable[[str, object], None]


@pytest.mark.fault("F1")
@pytest.mark.timeout(240)
def test_kills_under_load_lose_nothing_and_pay_nothing_twice(tmp_path: Path, record_property: Record) -> None:
    assert kill_and_end(tmp_path, 25, record_property) > 25


@pytest.mark.fault("F1")
@pytest.mark.system
@pytest.mark.timeout(1800)
def test_two_hundred_kills_under_load_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, record_property: Record
) -> None:
    assert kill_and_end(tmp_path, 200, record_property) > 200


def kill_and_end(root: Path, kills: int, record: Record) -> int:
    """Kill so often, check the promises after each, and let all end; give how many files were dropped."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CRASH_SEED={seed}")  # noqa: T201  # shown where the test fails
    bed = Bed(root, seed)
    with bed.sandbox():
        with bed.dropper.at_work():
            for number in range(kills):
                bed.kill_one()
                bed.check_instant()
                if number % KILLS_PER_STOP == 0:
                    killed = submitting(bed)  # they are buried when their route is opened, which a stop may forestall
                    assert bed.stop_one() == 0
                    bed.check_instant()
                    assert submitting(bed) <= killed
        with bed.daemon() as daemon:
            wait_until(lambda: has_ended(bed), 60 + kills)
            doubts = check_end(bed)
            resolve(bed, doubts)
            wait_until(lambda: has_ended(bed) and all(job.state is State.DONE for job in jobs_of(bed)), 60 + kills)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
    check_all_delivered(bed)
    record("counted: SIGKILLs under load", kills)
    record("counted: files dropped under SIGKILLs", len(bed.dropper.dropped))
    record("counted: doubts left by SIGKILLs", len(doubts))
    record("counted: doubts left by SIGKILLs that had been accepted", bed.accepted_doubts)
    record("seed: CRASH_SEED", seed)
    return len(bed.dropper.dropped)
