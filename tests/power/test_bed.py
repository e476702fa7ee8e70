"""The bed can fail: a daemon with one mistake in it is caught by it, each mistake by the promise that it breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power.disk import Disk
from tests.power.one_life import begin_anew, cut_after, drop
from tests.power.place import Broken, PowerBed
from tests.power.test_power_cuts import END_S, Record, seed_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]  # seconds each; minutes for one that is lucky

MOST_CUTS = 80
"""Until then it is caught; the slowest that was seen took a tenth of that."""

FEW_TRIES = 5
"""The kernel brings all to disk by itself now and then: each five seconds, and a life takes two."""

ANSWER_S = 0.5
"""The answer to a submit takes so long that most cuts find one under way."""

BOTH, FOLDERS = ("state", "folders"), ("folders",)


@pytest.mark.parametrize(
    ("mistake", "on_disk", "broken"),
    [
        ("synchronous=NORMAL", BOTH, "was told by .* its job"),
        ("synchronous=OFF", BOTH, "was told by .* its job"),
        ("no-witness", BOTH, "paid twice"),
        ("no-fsync=finish:file", BOTH, "is no result"),
        ("no-fsync=publish:folder", FOLDERS, "is not there"),
    ],
)
def test_a_mistake_is_caught(
    tmp_path: Path, disk: Disk, mistake: str, on_disk: tuple[str, ...], broken: str, record_property: Record
) -> None:
    bed = PowerBed(tmp_path, seed_of(record_property), disk, on_disk=on_disk, answer_s=ANSWER_S)
    bed.break_daemon(mistake)
    with bed.sandbox(), bed.dropper.at_work(), pytest.raises(Broken, match=broken):
        cut_under_load(bed)
    record_property(f"cuts until caught: {mistake}, {disk.kind}", disk.cuts)
    print(f"{mistake} on {disk.kind}: {disk.cuts} cuts")  # noqa: T201  # shown with -rP


def cut_under_load(bed: PowerBed) -> None:
    for _ in range(MOST_CUTS):
        bed.cut_one()
        bed.check_instant()


def test_a_missing_witness_is_caught_where_the_state_is_rolled_back(
    tmp_path: Path, disk: Disk, record_property: Record
) -> None:
    """The older state takes for waiting what was sent since, and nothing says otherwise."""
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    with bed.sandbox():
        send_and_roll_back(bed)
        end_and_check(bed)
        assert [job.is_doubt for job in bed.jobs()] == [True]
        send_and_roll_back(bed, "no-witness")
        with pytest.raises(Broken, match="paid twice"):
            end_and_check(bed)


def send_and_roll_back(bed: PowerBed, *mistakes: str) -> None:
    """Cut before a file is sent, keep that state, cut after its task ID is known, and put the older state back."""
    begin_anew(bed)
    drop(bed, len(mistakes), is_durable=True)
    assert cut_after(bed, "stop-after=1:upload")
    bed.save_state(bed.saved)
    assert cut_after(bed, *mistakes, "stop-after=1:question")
    bed.put_back()


@pytest.mark.parametrize(
    ("mistake", "sender", "broken"),
    [
        ("no-fsync=rename_in_work:folder", "durable", "paid twice"),
        ("no-fsync=claim:file", "careless", "in 0 places"),
    ],
)
def test_a_missing_fsync_is_caught_by_a_cut_at_the_instant_when_it_is_needed(
    tmp_path: Path, disk: Disk, mistake: str, sender: str, broken: str, record_property: Record
) -> None:
    """Under load others would bring to disk what was left to chance; here BulkGPT has just accepted the only file."""
    bed = PowerBed(tmp_path, seed_of(record_property), disk)
    with bed.sandbox(), pytest.raises(Broken, match=broken):
        cut_at_the_answer(bed, mistake, is_durable=sender == "durable")


def cut_at_the_answer(bed: PowerBed, mistake: str, *, is_durable: bool) -> None:
    for number in range(1, FEW_TRIES + 1):
        begin_anew(bed)
        drop(bed, number, is_durable=is_durable)
        assert cut_after(bed, mistake, "stop-after=1:answer")
        bed.check_instant()
        end_and_check(bed)


def end_and_check(bed: PowerBed) -> None:
    bed.count_survivors()
    with bed.running(END_S):
        """Without a person: doubts stay."""
    bed.check_files(is_rolled_back=True)
