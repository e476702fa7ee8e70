"""Take the power away under load, again and again, and start plainly; a person answers the doubts in the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bulkgpt_watchd.core.job import Job
from tests.power.disk import Disk
from tests.power.endings import let_end, let_end_rolled_back
from tests.power.place import PowerBed

Record = Callable[[str, object], None]

CUTS = 100

FEWER_CUTS = 30
"""Of each story that is about one thing."""

END_S = 120.0
"""For the rest to end: seconds, on a machine that does nothing else."""


@pytest.mark.fault("F2", "F4")
@pytest.mark.timeout(240)
def test_power_cuts_lose_nothing_and_pay_nothing_twice(tmp_path: Path, disk: Disk, record_property: Record) -> None:
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    tell(bed, cut_and_end(bed, 6), record_property)
    assert bed.dropper.dropped


@pytest.mark.fault("F2", "F4")
@pytest.mark.system
@pytest.mark.timeout(3600)  # a cut takes a second or two, and on a busy machine ten times that
def test_a_hundred_power_cuts_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, disk: Disk, record_property: Record
) -> None:
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    tell(bed, cut_and_end(bed, CUTS), record_property)
    assert bed.dropper.dropped


@pytest.mark.fault("F2", "F4")
@pytest.mark.system
@pytest.mark.timeout(3600)  # as above
@pytest.mark.parametrize("forgets", ["state", "folders"])
def test_power_cuts_of_one_of_two_disks_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, disk: Disk, forgets: str, record_property: Record
) -> None:
    """Where only the state forgets, or only the folders do, each has to bear that the other knows more."""
    bed = PowerBed(tmp_path, seed_of(record_property), disk, on_disk=[forgets])
    tell(bed, cut_and_end(bed, FEWER_CUTS), record_property)
    assert bed.dropper.dropped


@pytest.mark.fault("F2", "F41")
@pytest.mark.system
@pytest.mark.timeout(3600)  # as above
def test_an_older_state_put_back_between_power_cuts_pays_nothing_twice(
    tmp_path: Path, disk: Disk, record_property: Record
) -> None:
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    tell(bed, forget_and_end(bed, bed.roll_back_sometimes), record_property)
    assert bed.dropper.dropped
    record_property("counted: older states put back between power cuts", bed.rollbacks)


@pytest.mark.fault("F2", "F39")
@pytest.mark.system
@pytest.mark.timeout(3600)  # as above
def test_a_state_whose_disk_lies_about_commits_pays_nothing_twice(
    tmp_path: Path, disk: Disk, record_property: Record
) -> None:
    """Here SQLite does not wait for the disk; a disk that says "done" too early does the same to it."""
    bed = PowerBed(tmp_path, seed_of(record_property), disk, on_disk=["state"])
    bed.break_daemon("synchronous=NORMAL")
    tell(bed, forget_and_end(bed, lambda: None), record_property)
    assert bed.dropper.dropped


def cut_and_end(bed: PowerBed, cuts: int) -> Sequence[Job]:
    """Cut so often, check what must be so after each, and let all end; give the doubts."""
    with bed.sandbox():
        with bed.dropper.at_work():
            for _ in range(cuts):
                bed.cut_one()
                bed.check_instant()
        bed.count_survivors()
        return let_end(bed, END_S)


def forget_and_end(bed: PowerBed, forget: Callable[[], None]) -> Sequence[Job]:
    """
    Cut where the state also forgets what was told, and let all end; give the doubts.

    What was delivered since may be delivered again, under another name: the older state cannot know of it.
    """
    with bed.sandbox():
        with bed.dropper.at_work():
            for _ in range(FEWER_CUTS):
                bed.cut_one()
                bed.check_files(is_rolled_back=True)
                forget()
        bed.command = PowerBed.command
        bed.count_survivors()
        return let_end_rolled_back(bed, END_S)


def tell(bed: PowerBed, doubts: Sequence[Job], record: Record) -> None:
    """Tell the figures."""
    record(f"counted: power cuts on {bed.disk.kind}", bed.disk.cuts)
    record("counted: files dropped under power cuts", len(bed.dropper.dropped))
    record("counted: doubts left by power cuts", len(doubts))
    record("counted: doubts left by power cuts that had been accepted", bed.accepted_doubts)


def seed_of(record: Record) -> int:
    """Give the seed of chance, and tell it."""
    seed = int(os.environ.get("POWER_SEED", random.SystemRandom().randrange(10**6)))
    print(f"POWER_SEED={seed}")  # noqa: T201  # shown where the test fails
    record("seed: POWER_SEED", seed)
    return seed
