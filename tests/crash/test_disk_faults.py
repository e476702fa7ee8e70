"""
Make the disk below the real process sick: errors, a full disk, too few descriptors, half transfers, slowness.

The long form hits every call of a file's way; the short form draws some by a seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.faults import KINDS, Sick, Trouble, live_through
from tests.crash.processes import Bed
from tests.crash.tracer import why_not

NO_FAULTS = "faults: []\n"

FEWEST = 8
"""A file's way has at least so many calls of each kind."""

Record = Callable[[str, object], None]


@pytest.mark.system
@pytest.mark.timeout(240)
@pytest.mark.fault("F36", "F38", "F40")
def test_a_sick_disk_loses_nothing_and_pays_nothing_twice(tmp_path: Path, record_property: Record) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CRASH_SEED={seed}")  # noqa: T201  # shown where the test fails
    record_property("seed: CRASH_SEED", seed)
    chance = random.Random(seed)
    sick = bedded(tmp_path)
    with sick.bed.sandbox(0), sick.living():
        hit = [
            suffer(sick, name, Trouble(kind, chance.randint(1, FEWEST), lasts), record_property)
            for name, kind in KINDS.items()
            for lasts in (False, True)
        ]
    assert all(hit), "each trouble met a call"


# 20 to 150 calls of each kind, each with a file that takes one second or three: 2 to 5 minutes each on two cores.
@pytest.mark.system
@pytest.mark.timeout(3600)
@pytest.mark.fault("F36", "F38", "F40")
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "a while"])
@pytest.mark.parametrize("name", KINDS)
def test_trouble_at_every_call_loses_nothing_and_pays_nothing_twice(
    name: str, lasts: bool, tmp_path: Path, record_property: Record
) -> None:
    sick = bedded(tmp_path)
    at = 0
    with sick.bed.sandbox(0), sick.living():
        while suffer(sick, name, Trouble(KINDS[name], at := at + 1, lasts), record_property):
            pass
    assert at > FEWEST


def bedded(root: Path) -> Sick:
    if reason := why_not():
        pytest.skip(reason)
    return Sick(Bed(root, 0, NO_FAULTS))


def suffer(sick: Sick, name: str, trouble: Trouble, record: Record) -> bool:
    """Live through one trouble; tell whether the way was long enough for it."""
    live_through(sick, trouble)
    record(f"counted: system calls hit by {name}", len(trouble.hit))
    return bool(trouble.hit)
