"""A share that hangs: its route waits and is told, the others go on, it returns by itself, and a stop is no matter."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.process import Daemon, wait
from tests.system.test_mounts import Disks, can_mount

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="as root only: these mount"),
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse (modprobe fuse)"),
]

SHARE = Path(__file__).with_name("sick_share.py")

TOLD_S = 100.0
"""A look is given 20 s, or 60 s where the hang comes in its midst, before its share counts as hung."""

STOP_S = 15.0


class Share:
    """Put the route `leads` on a share that hangs while its flag is there, and `more` beside it on the disk."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.flag = bed.folder / "hangs"
        self.disks = Disks(bed)
        for name in ("leads", "more"):
            bed.route(name)
            for role in ("outbox", "error", "archive"):
                bed.place(role, name).mkdir()

    def start(self, *, hangs: bool = False, is_ready: bool = True) -> Daemon:
        serving = (
            f"{sys.executable} {SHARE} leads {self.flag} 2>share.log & until mountpoint -q leads; do sleep 0.05; done"
        )
        return self.disks.start(serving + (f"; touch {self.flag}" if hangs else ""), is_ready=is_ready)

    def hang(self) -> None:
        self.flag.touch()

    def recover(self) -> None:
        self.flag.unlink()


@pytest.fixture
def share(bed: Bed) -> Share:
    return Share(bed)


@pytest.mark.fault("F29")
def test_a_hung_share_stops_its_own_route_only_and_returns_by_itself(bed: Bed, share: Share) -> None:
    daemon = share.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)

    share.hang()
    for number in range(3):
        bed.drop(f"while-{number}.csv", b"a\nx%d\n" % number, "more")
    started = time.monotonic()
    bed.wait_ended(4)
    assert time.monotonic() - started < 10
    told = daemon.wait_for("route.unavailable", within_s=TOLD_S, route="leads")
    assert "hangs" in told["reason"]
    assert bed.json("status")["state"] == "degraded"
    assert any("hangs" in problem for problem in bed.json("status")["problems"])
    assert "UNAVAILABLE" in bed.does("status")
    bed.drop("b.csv", b"a\n2\n")
    bed.drop("still.csv", b"a\ny\n", "more")
    bed.wait_ended(5)
    bed.does("reload")
    assert not daemon.told("route.unavailable", route="more")

    share.recover()
    daemon.wait_for("route.available", route="leads")
    bed.wait_ended(6)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}
    assert bed.json("status")["state"] == "ok"


@pytest.mark.fault("F29", "F45")
def test_a_stop_does_not_wait_for_a_hung_share(bed: Bed, share: Share) -> None:
    daemon = share.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    share.hang()
    bed.drop("b.csv", b"a\n2\n", "more")
    bed.wait_ended(2)
    time.sleep(1)  # every look at the share hangs by now
    started = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - started < STOP_S


@pytest.mark.fault("F29")
def test_a_share_that_hangs_at_the_start_keeps_no_other_route_from_it(bed: Bed, share: Share) -> None:
    bed.drop("a.csv", b"a\n1\n")
    daemon = share.start(hangs=True)
    bed.drop("b.csv", b"a\n2\n", "more")
    bed.wait_ended(1)
    share.recover()
    bed.wait_ended(2)
    assert bed.files("outbox").keys() == {"a.csv"}
    assert daemon.stop() == 0


@pytest.mark.fault("F29")
def test_a_result_whose_outbox_hangs_is_delivered_when_it_answers_and_paid_once(bed: Bed, share: Share) -> None:
    bed.sandbox.plan(Fault(call="submit", delay_s=1))
    daemon = share.start()
    bed.drop("a.csv")
    wait(lambda: any(".sent-" in name for name in bed.files("work")), "the last block goes", daemon=daemon)
    share.hang()
    daemon.wait_for("task.submitted")
    bed.drop("b.csv", b"a\n2\n", "more")
    bed.wait_ended(1)
    time.sleep(1)
    share.recover()
    bed.wait_ended(2)
    assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    assert len(bed.sandbox.accepted) == 2


@pytest.mark.fault("F41")
def test_a_state_on_fuse_is_refused(bed: Bed, share: Share) -> None:
    bed.more["state"] = {"path": "leads/state.db"}
    daemon = share.start(is_ready=False)
    assert daemon.ended() == 74
    assert "lies on fuse" in daemon.tail()
    assert "put `state.path` on a local disk" in daemon.tail()
    assert not [name for name in os.listdir(bed.folder / "leads") if name.startswith("state.db")]


@pytest.mark.fault("F29")
def test_doctor_says_which_share_hangs(bed: Bed, share: Share) -> None:
    share.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    share.hang()
    done = bed.command("doctor", before=(*share.disks.inside(), "sh", "-ec", 'cd "$0"; exec "$@"', os.getcwd()))
    assert done.returncode == 1
    assert "fail  folders leads" in done.stdout
    assert "hangs" in done.stdout
    assert "ok    folders more" in done.stdout
    share.recover()


def hang_before_the_point(bed: Bed, share: Share) -> Daemon:
    """Hang when b.csv has been read and waits for its turn to be sent; a.csv is done."""
    bed.api["submit_spacing"] = "3s"
    daemon = share.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    bed.drop("b.csv", b"a\n2\n")
    daemon.wait_for("job.checked", file="b.csv")
    time.sleep(0.5)
    share.hang()
    return daemon


@pytest.mark.fault("F29")
def test_a_share_that_hangs_at_a_point_of_no_return_holds_up_no_other_route_and_leaves_no_doubt(
    bed: Bed, share: Share
) -> None:
    daemon = hang_before_the_point(bed, share)
    bed.drop("c.csv", b"a\n3\n", "more")
    started = time.monotonic()
    bed.wait_ended(2)
    assert time.monotonic() - started < 25
    assert len(bed.sandbox.accepted) == 2
    daemon.wait_for("job.deferred", file="b.csv", within_s=TOLD_S)
    share.recover()
    bed.wait_ended(3)
    assert [job["state"] for job in bed.jobs()] == ["done"] * 3
    assert len(bed.sandbox.accepted) == 3


@pytest.mark.fault("F29", "F45")
def test_a_stop_does_not_wait_for_a_share_that_hangs_at_a_point_of_no_return(bed: Bed, share: Share) -> None:
    daemon = hang_before_the_point(bed, share)
    wait(lambda: bed.job("b.csv")["step"] == "submitting", "it passes", daemon=daemon)
    started = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - started < STOP_S
