"""
Kill the real process at its system calls: with SIGKILL at the n-th, for every n until a life is whole.

The short form draws some of these calls by a seed; it also dies right after a call, and asks for a graceful end at one.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bulkgpt_watchd.cli.control import act
from bulkgpt_watchd.config import load
from bulkgpt_watchd.core.job import Job
from tests.crash.processes import Bed
from tests.crash.sweep import End, Life, Story, answer, lives, resume
from tests.crash.tracer import why_not

NO_FAULTS = "faults: []\n"

SAMPLES = (
    End(),
    End(is_after=True),
    End(number=signal.SIGTERM),
)
"""Ends of the short form in each story; each costs a second or two."""

Record = Callable[[str, object], None]


def retry(bed: Bed, job: Job) -> None:
    act(load(bed.config), "retry", jobs=[job.id])


def is_rejected(_bed: Bed, job: Job) -> bool:
    return job.code == "rejected"


def answer_and_resume(bed: Bed, job: Job) -> None:
    answer(bed, job)
    resume(bed)


def redeliver(bed: Bed, job: Job) -> None:
    act(load(bed.config), "redeliver", job_id=job.id)


def take_the_result(_bed: Bed, job: Job) -> None:
    Path(str(job.result_path)).unlink()


def is_without_result(_bed: Bed, job: Job) -> bool:
    return not Path(str(job.result_path)).exists()


STORIES = {
    "drop": Story(),
    "retry": Story(retry, is_rejected, {"error": "Invalid workflow ID.", "http_status": 400}),
    "resolve --task-id": Story(answer_and_resume, fault={"reset": True, "accept": True}, begins_in_doubt=True),
    "resolve --not-submitted": Story(answer_and_resume, fault={"reset": True}, begins_in_doubt=True),
    "redeliver": Story(redeliver, is_without_result, scene=take_the_result),
}

SUBMITS = {
    "a claim, a recall or a redelivery begins": ("rename", "leads/", "leads/inbox/.bulkgpt-watchd/"),
    "the witness": ("rename", "-> leads/inbox/.bulkgpt-watchd/", ".sent-"),
    "the original moves on": ("rename", ".sent-", "-> leads/archive/"),
}
EVERYWHERE = {
    "a commit reaches the disk": ("fdatasync", "state/state.db-wal"),
    "a result reaches the disk": ("fsync", "leads/outbox/.", ".part"),
    "the result appears": ("rename", ".part -> leads/outbox/"),
    "its folder reaches the disk": ("fsync", "leads/outbox"),
    "a receipt appears": ("rename", ".part -> leads/archive/", ".receipt.json"),
    "a question to BulkGPT": ("sendto", "socket"),
    "an answer": ("recvfrom", "socket"),
}
"""What a whole life must show, so that a sweep cannot shrink in silence: all these are in one step's words."""


def check_is_whole(name: str, life: Life) -> None:
    """See that the tracer has seen what must be done for a file."""
    assert not life.is_cut, life.instant
    wanted = EVERYWHERE if name == "redeliver" else {**EVERYWHERE, **SUBMITS}
    missing = [
        what for what, words in wanted.items() if not any(all(word in step for word in words) for step in life.steps)
    ]
    assert not missing, life.steps


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    if reason := why_not():
        pytest.skip(reason)
    return Bed(tmp_path, 0, NO_FAULTS)


def count(record: Record, told: Iterable[Life]) -> int:
    """Take a sweep to its end; give how often the daemon died or was asked to end."""
    cuts = [life.end for life in told if life.is_cut]
    kills = sum(end.number is signal.SIGKILL for end in cuts)
    record("counted: SIGKILLs at a system call", kills)
    record("counted: SIGTERMs at a system call", len(cuts) - kills)
    return len(cuts)


@pytest.mark.timeout(240)
@pytest.mark.fault("F1", "F4", "F6", "F45")
@pytest.mark.parametrize("name", STORIES)
def test_an_end_at_a_system_call_loses_nothing_and_pays_nothing_twice(
    name: str, bed: Bed, record_property: Record
) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CRASH_SEED={seed}")  # noqa: T201  # shown where the test fails
    record_property("seed: CRASH_SEED", seed)
    chance = random.Random(f"{seed} {name}")
    with bed.sandbox(0):
        (whole,) = lives(bed, STORIES[name], [End()])
        check_is_whole(name, whole)
        drawn = [End(chance.randint(1, len(whole.steps)), end.is_after, end.number) for end in SAMPLES]
        assert count(record_property, lives(bed, STORIES[name], drawn))


# Two hundred lives or so of a story, each with a start and a second start: 3 to 8 minutes, four times that when busy.
@pytest.mark.system
@pytest.mark.timeout(3600)
@pytest.mark.fault("F1", "F4", "F6")
@pytest.mark.parametrize("name", STORIES)
def test_a_kill_at_every_system_call_loses_nothing_and_pays_nothing_twice(
    name: str, bed: Bed, record_property: Record
) -> None:
    sweep(name, bed, record_property, signal.SIGKILL)


# The same cost.
@pytest.mark.system
@pytest.mark.timeout(3600)
@pytest.mark.fault("F45")
@pytest.mark.parametrize("name", ["drop", "retry", "redeliver"])
def test_a_stop_at_every_system_call_leaves_no_question(name: str, bed: Bed, record_property: Record) -> None:
    sweep(name, bed, record_property, signal.SIGTERM)


def sweep(name: str, bed: Bed, record: Record, number: signal.Signals) -> None:
    with bed.sandbox(0):
        ends = (End(at, number=number) for at in itertools.count(1))
        told = []
        for life in lives(bed, STORIES[name], ends):
            told.append(life)
            if not life.is_cut:
                break
        check_is_whole(name, told[-1])
        assert count(record, told) == len(told) - 1
        list(lives(bed, STORIES[name], [End()]))
