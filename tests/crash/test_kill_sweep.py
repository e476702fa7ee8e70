"""
Kill the real process at its system calls: with SIGKILL at the n-th, for every n until a life is whole.

The short form draws some of these calls by a seed; it also dies right after a call, and asks for a graceful end at one.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bulkgpt_watchd.cli.control import act
from bulkgpt_watchd.core.job import Job
from tests.crash.forked import ForkingBed
from tests.crash.processes import Bed
from tests.crash.sweep import End, Life, Story, answer, lives, resume
from tests.crash.tracer import why_not

NO_FAULTS = "faults: []\n"

SAMPLES = (End(), End(is_after=True), End(number=signal.SIGTERM))
"""Ends that the short form puts at a call drawn at random, in each story; each costs a second or two."""

PARTS = 4
"""Each sweep is done in so many tests, so that they can run beside each other."""

Record = Callable[[str, object], None]


def retry(bed: Bed, job: Job) -> None:
    act(bed.settings, "retry", jobs=[job.id])


def is_rejected(_bed: Bed, job: Job) -> bool:
    return job.code == "rejected"


def answer_and_resume(bed: Bed, job: Job) -> None:
    answer(bed, job)
    resume(bed)


def abandon(bed: Bed, job: Job) -> None:
    act(bed.settings, "resolve", job_id=job.id, abandon=True)


def redeliver(bed: Bed, job: Job) -> None:
    act(bed.settings, "redeliver", job_id=job.id)


def take_the_result(_bed: Bed, job: Job) -> None:
    Path(str(job.result_path)).unlink()


def is_without_result(_bed: Bed, job: Job) -> bool:
    return not Path(str(job.result_path)).exists()


STORIES = {
    "drop": Story(),
    "retry": Story(retry, is_rejected, {"error": "Invalid workflow ID.", "http_status": 400}),
    "resolve --task-id": Story(answer_and_resume, fault={"reset": True, "accept": True}, begins_in_doubt=True),
    "resolve --not-submitted": Story(answer_and_resume, fault={"reset": True}, begins_in_doubt=True),
    "resolve --abandon": Story(
        abandon,
        fault={"reset": True, "accept": True},
        begins_in_doubt=True,
        last="audit.recorded",
        is_given_up=True,
    ),
    "redeliver": Story(redeliver, is_without_result, scene=take_the_result),
}
FIRST_START = "drop at the first start"
"""Every life gets folders of its own: it makes the state, the other folders and the routes' markers, too."""

COMMITS = {
    "a commit reaches the disk": ("fdatasync", "state/state.db-wal"),
}
DELIVERS = {
    "a result reaches the disk": ("fsync", "leads/outbox/.", ".part"),
    "the result appears": ("rename", ".part -> leads/outbox/"),
    "its folder reaches the disk": ("fsync", "leads/outbox"),
    "a receipt appears": ("rename", ".part -> leads/archive/", ".receipt.json"),
    "a question to BulkGPT": ("sendto", "socket"),
    "an answer": ("recvfrom", "socket"),
}
SUBMITS = {
    "the file comes to work": ("rename", "leads/", "leads/inbox/.bulkgpt-watchd/"),
    "the witness": ("rename", "-> leads/inbox/.bulkgpt-watchd/", ".sent-"),
    "the original moves on": ("rename", ".sent-", "-> leads/archive/"),
}
"""What a whole life must show, so that a sweep cannot shrink in silence: all these are in one step's words."""

LESS = {"redeliver": DELIVERS, "resolve --abandon": {}}
"""What is shown by a life that submits nothing."""


def check_is_whole(name: str, life: Life) -> None:
    """See that the tracer has seen what must be done for a file."""
    assert not life.is_cut, life.instant
    wanted = COMMITS | LESS.get(name, DELIVERS | SUBMITS)
    missing = [
        what for what, words in wanted.items() if not any(all(word in step for word in words) for step in life.steps)
    ]
    assert not missing, life.steps


Ends = Callable[[list[Life]], Iterator[End]]
"""Says how the next life ends, given those that were lived."""


def drawn(chance: random.Random) -> Ends:
    """Live once to the end, and then up to calls drawn from that life."""

    def ends(told: list[Life]) -> Iterator[End]:
        yield End()
        yield from (replace(end, at=chance.randint(1, len(told[0].steps))) for end in SAMPLES)

    return ends


def each(part: int, number: signal.Signals) -> Ends:
    """Live up to one of this part's calls after the other, until a life is whole."""

    def ends(told: list[Life]) -> Iterator[End]:
        while not told or told[-1].is_cut:
            yield End(1 + part + PARTS * len(told), number=number)

    return ends


def tell(name: str, root: Path, ends: Ends, record: Record) -> list[Life]:
    """Live a story's lives, see that the whole one did all that must be done, and count the others."""
    if reason := why_not():
        pytest.skip(reason)
    told: list[Life] = []
    for life in first_starts(root, ends(told)) if name == FIRST_START else in_one_bed(root, name, ends(told)):
        told.append(life)
        if not life.is_cut:
            check_is_whole(name, life)
    cuts = Counter(life.end.number.name for life in told if life.is_cut)
    for signal_name, number in cuts.items():
        record(f"counted: {signal_name}s at a system call", number)
    return told


def in_one_bed(root: Path, name: str, ends: Iterator[End]) -> Iterator[Life]:
    bed = ForkingBed(root, 0, NO_FAULTS)
    with bed.sandbox(0), bed.mother():
        yield from lives(bed, STORIES[name], ends)


def first_starts(root: Path, ends: Iterator[End]) -> Iterator[Life]:
    bed = ForkingBed(root, 0, NO_FAULTS)
    with bed.sandbox(0), bed.mother():
        for number, end in enumerate(ends):
            bed.begin_anew(root / str(number))
            yield from lives(bed, STORIES["drop"], [end])


@pytest.mark.timeout(240)
@pytest.mark.fault("F1", "F4", "F6", "F45")
@pytest.mark.parametrize("name", [FIRST_START, *(name for name in STORIES if name != "drop")])
def test_an_end_at_a_system_call_loses_nothing_and_pays_nothing_twice(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CRASH_SEED={seed}")  # noqa: T201  # shown where the test fails
    record_property("seed: CRASH_SEED", seed)
    assert tell(name, tmp_path, drawn(random.Random(f"{seed} {name}")), record_property)


# A story has 120 to 290 calls, the first start 400. Each costs one start or two: a part takes 1 to 2 minutes alone on
# two cores, and 3 to 5 with the first start; ten times that beside much else.
@pytest.mark.system
@pytest.mark.timeout(3600)
@pytest.mark.fault("F1", "F4", "F6")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", [FIRST_START, *STORIES])
def test_a_kill_at_every_system_call_loses_nothing_and_pays_nothing_twice(
    name: str, part: int, tmp_path: Path, record_property: Record
) -> None:
    told = tell(name, tmp_path, each(part, signal.SIGKILL), record_property)
    assert [life.is_cut for life in told].count(False) == 1


@pytest.mark.system  # at the same cost
@pytest.mark.timeout(3600)
@pytest.mark.fault("F45")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", ["drop", "retry", "redeliver"])
def test_a_stop_at_every_system_call_leaves_no_question(
    name: str, part: int, tmp_path: Path, record_property: Record
) -> None:
    told = tell(name, tmp_path, each(part, signal.SIGTERM), record_property)
    assert [life.is_cut for life in told].count(False) == 1
