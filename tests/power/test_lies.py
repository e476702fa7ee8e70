"""A disk says that all is on it, and forgets: state and work folder witness for one another what was sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.processes import wait_until
from tests.power.disk import Disk
from tests.power.one_life import ENDS_S, begin_anew, cut_after, drop, end_without_a_person
from tests.power.place import PowerBed
from tests.power.test_power_cuts import Record, seed_of

LIES = {"state": "synchronous=OFF", "folders": "no-fsync"}
"""Without an fsync nothing gets to the disk in the second that a life takes; so does a disk that only says so."""

INSTANTS = ("answer", "question", "job.delivered", "job.done")
"""A file was just accepted, its task ID was committed, its result published, its original archived."""


@pytest.mark.fault("F39")
@pytest.mark.system
@pytest.mark.timeout(1800)  # half a minute, and on a busy machine ten times that
@pytest.mark.parametrize("lies", LIES)
def test_a_disk_that_lies_under_state_or_folders_makes_no_second_submit(
    tmp_path: Path, disk: Disk, lies: str, record_property: Record
) -> None:
    """What a state forgot, the sent name tells; what the folders forgot, the state does; no file is lost either."""
    bed = PowerBed(tmp_path, seed_of(record_property), disk, on_disk=[lies])
    with bed.sandbox():
        begin_anew(bed)
        with bed.running(ENDS_S):
            wait_until(bed.is_opened, ENDS_S)
        for number, instant in enumerate(INSTANTS):
            bed.log_file.write_bytes(b"")
            drop(bed, number, is_durable=True)
            assert cut_after(bed, LIES[lies], f"stop-after=1:{instant}")
            if lies == "state":
                forgot = f"{number}.csv" not in {job.file for job in bed.jobs()}
            else:
                forgot = (bed.folders / "leads" / "inbox" / f"{number}.csv").exists()
            assert forgot, "else nothing is shown"
            end_without_a_person(bed)
            assert sum(bed.accepted().values()) == number + 1
    record_property("counted: power cuts under a disk that lies", disk.cuts)
