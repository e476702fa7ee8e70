"""
Kill the daemon at every boundary: before and after each change on disk, each commit, and each step with BulkGPT.

A kill is simulated by an exception that nothing catches; from that instant nothing reaches disk or BulkGPT. Then a
fresh daemon starts on what is left, and all must end as if nobody had died, or in a doubt where only a person can know.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.fuse import Term
from tests.crash.lives import may_be_sent, tell
from tests.crash.stories import CROWD, STORIES

PARTS = 4
"""Each story is told in so many tests, so that they run beside each other."""

RANDOM_ROUNDS = 12
"""Rounds of one test with random kills: some seconds."""

Record = Callable[[str, object], None]


def without_probes(name: str) -> str | None:
    """Kill amid the trials of the folders, which are the same at each start, in the plain story only."""
    return None if name == "plain" else "probe"


@pytest.mark.fault("F1")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", STORIES)
async def test_a_kill_at_any_boundary_loses_nothing_and_pays_nothing_twice(
    name: str, part: int, new_folder: Callable[[], Path], record_property: Record
) -> None:
    story, skips = STORIES[name], without_probes(name)
    whole = await tell(story, new_folder(), None, skips=skips)
    assert not whole.doubts
    boundaries = len(whole.fuses[0].steps)

    kills = doubts = 0
    for boundary in range(1 + part, boundaries + 1, PARTS):
        lived = await tell(story, new_folder(), boundary, skips=skips)
        kills += len(lived.kills)
        doubts += len(lived.doubts)

    assert kills > 0.9 * (boundaries // PARTS)  # threads take turns as they like, so a life may be some steps shorter
    record_property("counted: kills at a boundary", kills)
    record_property("counted: kills at a boundary that left a doubt", doubts)


@pytest.mark.fault("F45")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", ["marker", "two routes", "retry", "503 after all was sent"])
async def test_a_stop_at_any_boundary_leaves_no_question(
    name: str, part: int, new_folder: Callable[[], Path], record_property: Record
) -> None:
    """Uploads before their point of no return are cut, the answers of the others are awaited: nothing is left open."""
    whole = await tell(STORIES[name], new_folder(), None, skips="probe")

    stops = 0
    for boundary in range(1 + part, len(whole.fuses[0].steps) + 1, PARTS):
        lived = await tell(STORIES[name], new_folder(), boundary, skips="probe", death=Term)
        stops += len(lived.kills)
        assert not lived.doubts, lived.kills

    record_property("counted: graceful stops at a boundary", stops)


@pytest.mark.fault("F1")
@pytest.mark.parametrize("worker", range(4))
async def test_kills_one_after_the_other_lose_nothing_and_pay_nothing_twice(
    worker: int, new_folder: Callable[[], Path], record_property: Record
) -> None:
    """Two or three lives in a row end at boundaries drawn at random, also of many files at once."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CRASH_SEED={seed}")  # noqa: T201  # shown where the test fails
    chance = random.Random(f"{seed} {worker}")
    told = {**STORIES, "crowd": CROWD}
    kills = 0
    for _ in range(RANDOM_ROUNDS):
        name = chance.choice([*STORIES, "crowd", "crowd", "crowd"])
        whole = await tell(told[name], new_folder(), None)
        boundaries = len(whole.fuses[0].steps)
        drawn = [chance.randint(1, boundaries) for _ in range(chance.choice([2, 2, 3]))]
        kills += len((await tell(told[name], new_folder(), *drawn)).kills)  # which checks the promises at every death
    assert kills
    record_property("counted: kills one after the other, at random", kills)
    record_property("seed: CRASH_SEED", seed)


@pytest.mark.parametrize(
    ("step", "locally", "on_network"),
    [
        ("after commit of Passed of j", False, True),
        ("after rename work/j-a.csv -> work/j.sent-a.csv", True, True),
        ("before commit of Accepted of j", True, True),
        ("after rename work/j.sent-a.csv -> work/j-a.csv", False, True),
        ("after commit of Deferred of j", False, False),
    ],
)
def test_a_doubt_is_expected_only_between_the_point_of_no_return_and_the_answer(
    step: str, locally: bool, on_network: bool
) -> None:
    steps = [
        "after commit of Passed of k",
        "after commit of Passed of j",
        "after rename work/j-a.csv -> work/j.sent-a.csv",
        "before commit of Accepted of j",
        "after rename work/j.sent-a.csv -> work/j-a.csv",
        "after commit of Deferred of j",
    ]
    until = steps[: steps.index(step) + 1]

    assert may_be_sent(until, "j", is_on_network=False) is locally
    assert may_be_sent(until, "j", is_on_network=True) is on_network
