"""Take the power away under load, again and again, and start plainly; a person answers the doubts in the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.power.disk import Disk
from tests.power.place import PowerBed

Record = Callable[[str, object], None]

END_S = 120.0
"""For the rest to end: seconds, on a machine that does nothing else."""


@pytest.mark.fault("F2", "F4")
@pytest.mark.timeout(240)
def test_power_cuts_lose_nothing_and_pay_nothing_twice(tmp_path: Path, disk: Disk, record_property: Record) -> None:
    assert cut_and_end(tmp_path, disk, 6, record_property) > 0


@pytest.mark.fault("F2", "F4")
@pytest.mark.system
@pytest.mark.timeout(3600)  # a cut takes a second or two, and on a busy machine ten times that
def test_a_hundred_power_cuts_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, disk: Disk, record_property: Record
) -> None:
    assert cut_and_end(tmp_path, disk, 100, record_property) > 0


@pytest.mark.fault("F2", "F4")
@pytest.mark.system
@pytest.mark.timeout(3600)  # as above
@pytest.mark.parametrize("forgets", ["state", "folders"])
def test_power_cuts_of_one_of_two_disks_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, disk: Disk, forgets: str, record_property: Record
) -> None:
    """Where only the state forgets, or only the folders do, each has to bear that the other knows more."""
    assert cut_and_end(tmp_path, disk, 40, record_property, forgets) > 0


def cut_and_end(root: Path, disk: Disk, cuts: int, record: Record, *on_disk: str) -> int:
    """Cut so often, check what must be so after each, and let all end; give how many files were dropped."""
    bed = PowerBed(root, seed_of(record), disk, on_disk=on_disk or ("state", "folders"))
    with bed.sandbox():
        with bed.dropper.at_work():
            for _ in range(cuts):
                bed.cut_one()
                bed.check_instant()
        bed.count_survivors()
        doubts = bed.let_end(END_S)
    record(f"counted: power cuts on {disk.kind}", cuts)
    record("counted: files dropped under power cuts", len(bed.dropper.dropped))
    record("counted: doubts left by power cuts", len(doubts))
    record("counted: doubts left by power cuts that had been accepted", bed.accepted_doubts)
    return len(bed.dropper.dropped)


def seed_of(record: Record) -> int:
    """Give the seed of chance, and tell it."""
    seed = int(os.environ.get("POWER_SEED", random.SystemRandom().randrange(10**6)))
    print(f"POWER_SEED={seed}")  # noqa: T201  # shown where the test fails
    record("seed: POWER_SEED", seed)
    return seed
