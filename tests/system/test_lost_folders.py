"""Folders that are closed, exchanged, removed or full while the daemon runs: told at once, nothing is paid for them."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from bulkgpt_watchd.sandbox import Fault
from tests.system.bed import Bed
from tests.system.newcomer import ask, metric
from tests.system.process import AS_MORTAL, Daemon, wait
from tests.system.test_mounts import Disks, can_mount

needs_rights_to_lose = pytest.mark.skipif(os.geteuid() == 0 and not AS_MORTAL, reason="as root without setpriv")

LOOKS_S = 0.7
"""Three looks of a route here: what was not taken by then is left."""

FILL = {
    "blocks": "cat /dev/zero > filler 2>/dev/null || true",
    "inodes": "i=0; while touch filler-$i; do i=$((i + 1)); done 2>/dev/null",
}
"""What makes a small disk full."""


@pytest.fixture
def bed(bed: Bed) -> Bed:
    """Give a bed with two routes whose folders are all there, and with HTTP."""
    bed.more["web"] = {"listen": "127.0.0.1:0"}
    for name in ("leads", "more"):
        bed.route(name, min_free=1)
        for role in ("outbox", "error", "archive"):
            bed.place(role, name).mkdir()
    (bed.folder / "state").mkdir()
    return bed


def told_everywhere(bed: Bed, daemon: Daemon, words: str) -> None:
    """Hold that `leads` is told as unavailable for this reason wherever one may look, and that `more` goes on."""
    reason = daemon.wait_for("route.unavailable", route="leads")["reason"]
    wait(lambda: words in reason_of(bed), f"the reason is {words!r}, not {reason!r}", daemon=daemon)
    code, content = ask(daemon, "/readyz")
    assert (code, [(it["what"], it["route"]) for it in content["reasons"]]) == (503, [("route", "leads")])
    assert words in content["reasons"][0]["reason"]
    assert [metric(daemon, f'route_available{{route="{name}"}}') for name in ("leads", "more")] == [0, 1]
    assert words in bed.does("status")
    before, name = daemon.ends(), f"beside-{time.monotonic_ns()}.csv"
    bed.drop(name, f"a\n{name}\n".encode(), "more")
    wait(lambda: daemon.ends() > before, "the other route goes on", daemon=daemon)


def reason_of(bed: Bed) -> str:
    return str(bed.json("status")["routes"][0]["reason"])


def accepted(bed: Bed, name: str = "leads") -> int:
    return sum(record.workflow_id == f"workflow of {name}" for record in bed.sandbox.accepted)


@pytest.mark.fault("F47")
@needs_rights_to_lose
@pytest.mark.parametrize("role", ["inbox", "outbox", "error", "archive", "work"])
def test_a_right_that_is_taken_while_it_runs_is_told_before_a_file_is_paid(bed: Bed, role: str) -> None:
    daemon = bed.start(before=AS_MORTAL)
    bed.drop("first.csv", b"a\n0\n")
    bed.wait_ended(1)
    place = bed.place("inbox") / ".bulkgpt-watchd" if role == "work" else bed.place(role)
    mode = place.stat().st_mode
    place.chmod(0o555)
    told_everywhere(bed, daemon, f"who needs rwx on {place}; fix, as its owner or root: chmod u+rwx {place}")
    if role != "inbox":
        bed.drop("b.csv", b"a\n1\n")
        time.sleep(LOOKS_S)
        assert (accepted(bed), [*bed.files("inbox")]) == (1, ["b.csv"])
    place.chmod(mode)
    daemon.wait_for("route.available", route="leads")
    if role == "inbox":
        bed.drop("b.csv", b"a\n1\n")
    bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"first.csv", "b.csv"}
    wait(lambda: ask(daemon, "/readyz")[0] == 200, "it is ready again", daemon=daemon)


@pytest.mark.fault("F31")
def test_an_inbox_that_leads_to_that_of_another_route_takes_nothing_from_it(bed: Bed) -> None:
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    bed.place("inbox").rename(bed.folder / "old")
    bed.place("inbox").symlink_to(bed.place("inbox", "more"))
    told_everywhere(bed, daemon, "belongs to route more, so this is not the folder that was here")
    for number in range(5):
        bed.drop(f"{number}.csv", b"a\nx%d\n" % number, "more")
    bed.wait_ended(7)
    assert (accepted(bed), accepted(bed, "more")) == (1, 6)
    bed.place("inbox").unlink()
    (bed.folder / "old").rename(bed.place("inbox"))
    daemon.wait_for("route.available", route="leads")


@pytest.mark.fault("F31", "F43")
@pytest.mark.parametrize("by", ["a new folder", "a link"])
def test_an_inbox_that_was_replaced_waits_until_it_is_adopted(bed: Bed, by: str) -> None:
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    inbox, other = bed.place("inbox"), bed.folder / "other"
    inbox.rename(bed.folder / "old")
    other.mkdir()
    if by == "a link":
        inbox.symlink_to(other)
    else:
        other.rename(inbox)
    bed.drop("b.csv", b"a\n2\n")
    told_everywhere(bed, daemon, "route.json is gone, so this may be another folder than before")
    assert accepted(bed) == 1
    assert bed.does("adopt", "leads") == "adopted: route leads\n"
    bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}


@pytest.mark.fault("F31")
def test_a_work_folder_that_is_removed_while_it_runs_costs_no_result(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.gone.update([bed.drop("a.csv", b"a\n1\n")])  # with the folder
    daemon.wait_for("task.submitted")
    shutil.rmtree(bed.place("inbox") / ".bulkgpt-watchd")
    wait(lambda: "route.json is gone" in reason_of(bed), "it is told", daemon=daemon)
    bed.sandbox.clear()
    bed.drop("b.csv", b"a\n2\n")
    daemon.wait_for("task.completed", file="a.csv")
    time.sleep(LOOKS_S)
    assert (accepted(bed), [*bed.files("inbox")], [*bed.files("outbox")]) == (1, ["b.csv"], [])
    bed.does("adopt", "leads")
    bed.wait_ended(2)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}
    assert bed.receipt("a.csv")["source_lost"] is True
    assert bed.files("archive").keys() == {"a.csv.receipt.json", "b.csv", "b.csv.receipt.json"}


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="only root can mount; run these as root")
class TestMounts:
    """What takes a mount to try."""

    @pytest.mark.fault("F36")
    @pytest.mark.parametrize("of", ["blocks", "inodes"])
    @pytest.mark.parametrize("role", ["outbox", "error", "archive"])
    def test_a_full_folder_stops_its_route_after_the_first_file_at_most(self, bed: Bed, role: str, of: str) -> None:
        disks = Disks(bed)
        daemon = disks.start(f"mount -t tmpfs -o size=64k,nr_inodes=30 none leads/{role}")
        wait(lambda: bed.files("work"), "the route is opened", daemon=daemon)
        disks.do(f"cd leads/{role}; {FILL[of]}")
        there = disks.seen(bed.place(role))
        dropped = [bed.drop("first.csv", b"a,b\n1\n" if role == "error" else b"a\n0\n")]
        wait(lambda: daemon.told("route.unavailable") + daemon.told("disk.low"), "it is told", daemon=daemon)
        paid = accepted(bed)
        dropped.append(bed.drop("b.csv", b"a\n1\n"))
        time.sleep(LOOKS_S)
        assert (accepted(bed), "b.csv" in bed.files("inbox")) == (paid, True)
        assert ask(daemon, "/readyz")[0] == 503
        disks.do(f"rm leads/{role}/filler*")
        bed.wait_ended(2)
        wait(lambda: ask(daemon, "/readyz")[0] == 200, "it is ready again", daemon=daemon)
        ends = {job["file"]: job["state"] for job in bed.jobs()}
        assert ends == {"first.csv": "failed" if role == "error" else "done", "b.csv": "done"}
        assert {name for name in os.listdir(there) if name.endswith(".csv")} == {
            "outbox": {"first.csv", "b.csv"},
            "error": {"first.csv"},
            "archive": {"first.csv", "b.csv"},
        }[role]
        bed.gone.update({"outbox": [], "error": dropped[:1], "archive": dropped}[role])  # on a disk of the daemon's own

    @pytest.mark.fault("F31")
    def test_shares_that_are_mounted_at_each_others_place_are_not_taken_for_one_another(self, bed: Bed) -> None:
        """Each has the mount point and type of before; its marker says whose it is. What is under way waits for it."""
        for name, share in (("leads", "share-1"), ("more", "share-2")):
            shutil.copytree(bed.folder / name, bed.folder / share)
        bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
        disks = Disks(bed)
        right, wrong = ("mount --bind share-1 leads; mount --bind share-2 more", "umount leads; umount more; ")
        wrong += "mount --bind share-2 leads; mount --bind share-1 more"
        daemon = disks.start(right)
        bed.drop("a.csv", b"a\n1\n", "share-1")
        daemon.wait_for("task.submitted")
        disks.do(wrong)
        daemon.wait_for("route.unavailable", route="leads")
        daemon.wait_for("route.unavailable", route="more")
        assert "belongs to route more" in reason_of(bed)
        bed.sandbox.clear()
        bed.drop("b.csv", b"a\n2\n", "share-1")
        time.sleep(LOOKS_S)
        daemon.kill()  # a start finds it no otherwise
        daemon = disks.start(right.replace("share-1", "x").replace("share-2", "share-1").replace("x", "share-2"))
        daemon.wait_for("route.unavailable", route="leads")
        time.sleep(LOOKS_S)
        assert (accepted(bed), accepted(bed, "more")) == (1, 0)
        disks.do(f"umount leads; umount more; {right}")
        bed.wait_ended(2)
        assert (accepted(bed), accepted(bed, "more")) == (2, 0)
        assert bed.files("outbox", "share-1").keys() == {"a.csv", "b.csv"}

    @pytest.mark.fault("F31")
    def test_what_is_under_way_when_something_is_mounted_over_its_inbox_is_delivered_afterwards(self, bed: Bed) -> None:
        bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
        disks = Disks(bed)
        daemon = disks.start("true")
        bed.drop("a.csv", b"a\n1\n")
        daemon.wait_for("task.submitted")
        disks.do("mount -t tmpfs none leads/inbox")
        daemon.wait_for("route.unavailable")
        bed.sandbox.clear()
        told_everywhere(bed, daemon, "used to lie on")
        daemon.wait_for("task.completed")
        time.sleep(LOOKS_S)
        assert bed.files("outbox") == {}
        disks.do("umount leads/inbox")
        bed.wait_ended(2)
        assert bed.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}
