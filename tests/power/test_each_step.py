"""Take the power away exactly after the n-th step of a life, for n after n, until a life was not cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.power.disk import Disk
from tests.power.one_life import begin_anew, cut_after, drop
from tests.power.place import PowerBed
from tests.power.test_power_cuts import END_S, Record, seed_of

STEPS_AT_LEAST = 50
"""Of a first start and one file's way there are more; fewer would mean that they are not counted."""

EVERY = 4
"""Each fourth step, from a beginning drawn at random: a step costs two starts, and a few runs meet all of them."""


@pytest.mark.fault("F2", "F4")
@pytest.mark.system
@pytest.mark.timeout(3600)  # three seconds for each of some hundred steps
def test_a_power_cut_after_any_step_loses_nothing(tmp_path: Path, disk: Disk, record_property: Record) -> None:
    """
    The sender does not wait for the disk, as few do; what was claimed is kept all the same.

    A step is a call that changes a folder, a commit of the state, or the answer to a submit.
    """
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    with bed.sandbox():
        for number in itertools.count(bed.chance.randint(1, EVERY), EVERY):
            begin_anew(bed)
            drop(bed, number, is_durable=False)
            if not cut_after(bed, f"stop-after={number}"):
                break
            bed.check_instant()
            bed.count_survivors()
            if bed.dropper.dropped:
                bed.let_end(END_S)
            else:
                with bed.running(END_S):
                    """It was not claimed yet, and its bytes were nowhere: a plain start has nothing to do."""
    assert number > STEPS_AT_LEAST
    record_property(f"counted: power cuts on {disk.kind}", disk.cuts)
    record_property("counted: power cuts, each after another step", disk.cuts)
