"""The bed can fail: a daemon with one mistake in it is caught by it, each mistake by the promise that it breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power.disk import Disk
from tests.power.one_life import begin_anew, cut_after, drop, end_without_a_person
from tests.power.place import Broken, PowerBed
from tests.power.test_power_cuts import Record, seed_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]  # seconds each; minutes for one that is lucky

MOST_CUTS = 80
"""Until then it is caught; the slowest that was seen took a tenth of that."""

FEW_TRIES = 3
"""A kernel may bring all to disk by itself just then: xfs does so each 30 seconds, and a life takes two."""

ANSWER_S = 0.5
"""The answer to a submit takes so long that most cuts find one under way."""

BOTH, STATE, FOLDERS = ("state", "folders"), ("state",), ("folders",)


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    ("mistake", "broken"),
    [
        ("synchronous=NORMAL", "was told by .* its job"),
        ("no-witness", "paid twice"),
        ("no-fsync=finish:file", "is no result"),
    ],
)
def test_a_mistake_is_caught_by_cuts_under_load(
    tmp_path: Path, disk: Disk, mistake: str, broken: str, record_property: Record
) -> None:
    bed = PowerBed(tmp_path, seed_of(record_property), disk, answer_s=ANSWER_S)
    bed.break_daemon(mistake)
    with bed.sandbox(), bed.dropper.at_work(), pytest.raises(Broken, match=broken):
        cut_under_load(bed)
    record_property("counted: power cuts until mistakes were caught under load", disk.cuts)
    record_property("counted: mistakes caught under load", 1)
    print(f"{mistake} on {disk.kind}: {disk.cuts} cuts")  # noqa: T201  # shown with -rP


def cut_under_load(bed: PowerBed) -> None:
    for _ in range(MOST_CUTS):
        bed.cut_one()
        bed.check_instant()


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    ("mistake", "on_disk", "instant", "broken"),
    [
        ("no-fsync=claim:file", BOTH, "answer", "in 0 places"),
        ("no-fsync=claim:folder", FOLDERS, "job.claimed", "is in the inbox again"),
        ("synchronous=NORMAL", STATE, "job.claimed", "its job is not known"),
        ("no-fsync=rename_in_work:folder", BOTH, "answer", "paid twice"),
        ("no-fsync=finish:file", FOLDERS, "job.delivered", "is no result"),
        ("no-fsync=publish:folder", FOLDERS, "job.delivered", "is not there"),
        ("no-fsync=write_whole:file", FOLDERS, "job.done", "is torn"),
        ("no-fsync=move:folder", FOLDERS, "job.done", "is not there"),
    ],
)
def test_a_missing_fsync_is_caught_by_one_cut_at_the_instant_when_it_is_needed(
    tmp_path: Path,
    disk: Disk,
    mistake: str,
    on_disk: tuple[str, ...],
    instant: str,
    broken: str,
    record_property: Record,
) -> None:
    """
    Without the mistake nothing is broken by the same cut.

    There is one file only: what is done for others would bring to disk what was left to chance. Two fsyncs of folders
    are not here, since on these file systems another one does their work: in `finish` that of the new file, in
    `write_whole` that of the move after it.
    """
    bed = PowerBed(tmp_path, seed_of(record_property), disk, on_disk=on_disk)
    with bed.sandbox():
        cut_and_check(bed, 0, f"stop-after=1:{instant}")
        with pytest.raises(Broken, match=broken):
            cut_often(bed, mistake, f"stop-after=1:{instant}")
    record_property("counted: missing fsyncs caught", 1)


def cut_often(bed: PowerBed, *what: str) -> None:
    for number in range(1, 1 + FEW_TRIES):
        cut_and_check(bed, number, *what)


def cut_and_check(bed: PowerBed, number: int, *what: str) -> None:
    begin_anew(bed)
    drop(bed, number, is_durable="no-fsync=claim:file" not in what)
    assert cut_after(bed, *what)
    bed.check_instant()
    end_without_a_person(bed)


@pytest.mark.fault("F2", "F41")
def test_a_missing_witness_is_caught_where_the_state_is_rolled_back(
    tmp_path: Path, disk: Disk, record_property: Record
) -> None:
    """The older state takes for waiting what was sent since, and nothing says otherwise."""
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    with bed.sandbox():
        send_and_roll_back(bed)
        end_without_a_person(bed)
        assert [job.is_doubt for job in bed.jobs()] == [True]
        send_and_roll_back(bed, "no-witness")
        with pytest.raises(Broken, match="paid twice"):
            end_without_a_person(bed)
    record_property("counted: missing witnesses caught with an older state", 1)


def send_and_roll_back(bed: PowerBed, *mistakes: str) -> None:
    """Cut before a file is sent, keep that state, cut after its task ID is known, and put the older state back."""
    begin_anew(bed)
    drop(bed, len(mistakes), is_durable=True)
    assert cut_after(bed, "stop-after=1:upload")
    bed.save_state(bed.saved)
    assert cut_after(bed, *mistakes, "stop-after=1:question")
    bed.put_back()
