"""Disks without room for another file, and those that fill up after the payment; test_lost_folders.py has more."""

from __future__ import annotations

import os

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.process import wait
from tests.system.test_mounts import Disks, can_mount

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="only root can mount; run these as root"),
]

INODES = 60
"""Enough for what stands in a folder of a route, or beside the state; few enough to be filled at once."""

FULL = {
    "no bytes": ("size=256k", "dd if=/dev/zero of={0}/.filler bs=1k 2>/dev/null || true"),
    "no inodes": (f"nr_inodes={INODES}", "touch $(seq -f {0}/.filler%g 99) 2>/dev/null || true"),
}
"""What a tmpfs is mounted with, and what fills it."""


@pytest.fixture
def disks(bed: Bed) -> Disks:
    bed.route(min_free=1)
    for place in ("outbox", "error", "archive"):
        bed.place(place).mkdir()
    (bed.folder / "state").mkdir()
    return Disks(bed)


@pytest.mark.fault("F36")
@pytest.mark.parametrize("place", ["leads/inbox", "state"])
def test_where_no_file_can_be_made_nothing_is_taken(bed: Bed, disks: Disks, place: str) -> None:
    options, fill = FULL["no inodes"]
    daemon = disks.start(f"mount -t tmpfs -o {options} none {place}")
    inbox = disks.seen(bed.place("inbox"))
    wait((inbox / ".bulkgpt-watchd" / "route.json").exists, "the route is opened", daemon=daemon)
    (inbox / ".a").write_bytes(VENDOR_CSV)
    disks.do(fill.format(place))
    told = daemon.wait_for("disk.low")
    assert "no inodes" in told["reason"] or "file" in told["reason"]
    (inbox / ".a").rename(inbox / "a.csv")
    disks.do("sleep 0.6")  # three looks
    assert "a.csv" in os.listdir(inbox)
    assert not bed.sandbox.accepted
    disks.do(f"rm {place}/.filler*")
    daemon.wait_for("disk.recovered")
    daemon.wait_for("job.done", file="a.csv")
    assert (disks.seen(bed.place("outbox")) / "a.csv").read_bytes() == answer(VENDOR_CSV)
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.fault("F36")
@pytest.mark.parametrize("how", FULL)
@pytest.mark.parametrize("role", ["archive", "outbox"])
def test_what_was_paid_before_a_disk_was_full_waits_for_room(bed: Bed, disks: Disks, role: str, how: str) -> None:
    options, fill = FULL[how]
    bed.sandbox.plan(Fault(call="submit", delay_s=3))
    daemon = disks.start(f"mount -t tmpfs -o {options} none leads/{role}")
    dropped = bed.drop("a.csv")
    wait(lambda: any(".sent-" in name for name in bed.files("work")), "the last block goes", daemon=daemon)
    disks.do(fill.format(f"leads/{role}"))
    daemon.wait_for("job.deferred", file="a.csv")
    folder = disks.seen(bed.place(role))
    assert [name for name in os.listdir(folder) if not name.startswith(".filler")] == []
    disks.do(f"rm leads/{role}/.filler*")
    daemon.wait_for("job.done", file="a.csv")
    assert set(os.listdir(folder)) == {"archive": {"a.csv", "a.csv.receipt.json"}, "outbox": {"a.csv"}}[role]
    assert len(bed.sandbox.accepted) == 1
    bed.gone.update([dropped] if role == "archive" else [])  # the bed does not look at that disk
