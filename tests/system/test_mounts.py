"""Disks that go away, fill up or turn read-only under a running daemon, in a mount namespace of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.process import Daemon, wait


def can_mount() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="only root can mount; run these as root"),
]


class Disks:
    """Start a daemon in a mount namespace, and mount there while it runs."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.daemon: Daemon | None = None

    def start(self, script: str, *, is_ready: bool = True) -> Daemon:
        """Start it after *script*, which mounts what is there at the beginning."""
        self.bed.write()
        before = ("unshare", "-m", "--propagation", "private", "sh", "-ec", f'cd "$0"; {script}; cd -; exec "$@"')
        self.daemon = self.bed.start(is_ready=is_ready, before=(*before, str(self.bed.folder)))
        return self.daemon

    def inside(self) -> tuple[str, ...]:
        """Give what is put before a command so that it sees the disks as the daemon does."""
        assert self.daemon is not None
        return (
            "nsenter",
            "-t",
            str(self.daemon.pid),
            "-m",
            "--wd",
        )  # without it: /, where another version may be found

    def do(self, script: str) -> None:
        """Do something as the daemon sees the disks."""
        command = [*self.inside(), "sh", "-ec", f'cd "$0"; {script}']
        subprocess.run([*command, str(self.bed.folder)], check=True, timeout=20)

    def seen(self, path: Path) -> Path:
        """Give a path as the daemon sees it."""
        assert self.daemon is not None
        return Path(f"/proc/{self.daemon.pid}/root{path}")


@pytest.fixture
def disks(bed: Bed) -> Disks:
    bed.route(min_free=1)
    for role in ("outbox", "error", "archive"):
        bed.place(role).mkdir()
    (bed.folder / "state").mkdir()
    return Disks(bed)


@pytest.mark.fault("F31")
def test_a_share_that_is_unmounted_looks_not_like_an_empty_inbox(bed: Bed, disks: Disks) -> None:
    (bed.folder / "share").mkdir()
    daemon = disks.start("mount --bind share leads/inbox")
    (bed.folder / "share" / "a.csv").write_bytes(b"a\n1\n")
    bed.wait_ended(1)
    disks.do("umount leads/inbox")
    told = daemon.wait_for("route.unavailable")
    assert "used to lie on" in told["reason"] or "marker" in told["reason"]
    bed.drop("trap.csv", b"a\n2\n")
    time.sleep(0.6)
    assert bed.files("inbox").keys() == {"trap.csv"}
    (bed.folder / "share" / "b.csv").write_bytes(b"a\n3\n")
    disks.do("mount --bind share leads/inbox")
    daemon.wait_for("route.available")
    bed.wait_ended(2)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}
    assert len(bed.sandbox.accepted) == 2


@pytest.mark.fault("F36")
def test_an_outbox_that_is_full_keeps_the_paid_result_until_there_is_room(bed: Bed, disks: Disks) -> None:
    content = b"a\n" + b"".join(b"%d %s\n" % (number, b"x" * 90) for number in range(3000))
    daemon = disks.start("mount -t tmpfs -o size=100k none leads/outbox")
    bed.drop("large.csv", content)
    deferred = daemon.wait_for("job.deferred", at="finished")
    assert "no space left" in deferred["reason"]
    time.sleep(1)
    assert not daemon.told("job.failed")
    outbox = disks.seen(bed.place("outbox"))
    assert [name for name in os.listdir(outbox) if not name.startswith(".")] == []
    disks.do("mount -o remount,size=10m leads/outbox")
    bed.wait_ended(1)
    assert (outbox / "large.csv").read_bytes() == answer(content)
    assert os.listdir(outbox) == ["large.csv"]
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.fault("F31")
@pytest.mark.parametrize("over", ["leads/inbox", "leads"])
def test_what_is_mounted_over_a_folder_is_not_taken_for_it(bed: Bed, disks: Disks, over: str) -> None:
    bed.route("more")
    daemon = disks.start("true")
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    disks.do(f"mount -t tmpfs none {over}")
    told = daemon.wait_for("route.unavailable", route="leads")
    assert "used to lie on" in told["reason"] or "is missing" in told["reason"]
    bed.drop("b.csv", b"a\n2\n")
    bed.drop("c.csv", b"a\n3\n", "more")
    bed.wait_ended(2)
    time.sleep(0.6)
    assert os.listdir(disks.seen(bed.folder / over)) == [], "nothing is made on what lies over it"
    assert bed.json("status")["state"] == "degraded"
    disks.do(f"umount {over}")
    daemon.wait_for("route.available", route="leads")
    bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}


@pytest.mark.fault("F31")
def test_doctor_says_where_the_daemon_sees_another_folder_than_you(bed: Bed, disks: Disks) -> None:
    disks.start("true")
    assert "another folder" not in bed.does("doctor")
    disks.do("mount -t tmpfs none leads/outbox")
    done = bed.command("doctor")
    assert done.returncode == 1
    assert "the running daemon sees another folder than you: outbox;" in done.stdout


@pytest.mark.fault("F36")
def test_an_inbox_whose_disk_is_full_waits_for_room_and_is_told(bed: Bed, disks: Disks) -> None:
    bed.routes[0]["min_free"] = "64KiB"
    daemon = disks.start("mount -t tmpfs -o size=1m none leads/inbox")
    inbox = disks.seen(bed.place("inbox"))
    wait((inbox / ".bulkgpt-watchd" / "route.json").exists, "the route is opened", daemon=daemon)
    disks.do("dd if=/dev/zero of=leads/inbox/filler bs=4k 2>/dev/null || true")
    low = daemon.wait_for("disk.low")
    assert "min_free" in low["reason"]
    time.sleep(0.6)
    assert not bed.sandbox.accepted
    disks.do("rm leads/inbox/filler; printf 'a\\n1\\n' > leads/inbox/.a; mv leads/inbox/.a leads/inbox/a.csv")
    daemon.wait_for("disk.recovered")
    bed.wait_ended(1)
    assert "a.csv" not in os.listdir(inbox)
    assert bed.files("outbox").keys() == {"a.csv"}


@pytest.mark.fault("F37")
@pytest.mark.parametrize("role", ["outbox", "archive", "error", "inbox"])
def test_a_folder_that_turns_read_only_waits_and_goes_on(bed: Bed, disks: Disks, role: str) -> None:
    daemon = disks.start(f"mount --bind leads/{role} leads/{role}")
    bed.drop("first.csv", b"a\n0\n")
    bed.wait_ended(1)
    disks.do(f"mount -o remount,bind,ro leads/{role}")
    bed.drop("a.csv")
    bed.drop("bad.csv", b"a,b\n1\n")
    wait(
        lambda: (
            daemon.told("route.unavailable")
            or [line for line in daemon.told("job.deferred") if "ead-only" in line["reason"]]
            or daemon.told("file.ignored")
        ),
        "it is told",
        daemon=daemon,
    )
    time.sleep(0.7)
    disks.do(f"mount -o remount,bind,rw leads/{role}")
    jobs = bed.wait_ended(3)
    assert {(job["file"], job["state"]) for job in jobs} == {
        ("first.csv", "done"),
        ("a.csv", "done"),
        ("bad.csv", "failed"),
    }
    assert bed.files("outbox").keys() == {"first.csv", "a.csv"}
    assert len(bed.sandbox.accepted) == 2


@pytest.mark.fault("F36")
@pytest.mark.parametrize("when", ["before the submit", "while the answer is awaited"])
def test_a_state_whose_disk_is_full_waits_and_pays_once(bed: Bed, disks: Disks, when: str) -> None:
    fill = "dd if=/dev/zero of=state/filler bs=4k 2>/dev/null || true"
    bed.sandbox.plan(Fault(call="submit", delay_s=2))
    daemon = disks.start("mount -t tmpfs -o size=3m none state")
    if when == "before the submit":
        disks.do(fill)
        bed.drop("a.csv")
        daemon.wait_for("state.unwritable")
    else:
        bed.drop("a.csv")
        wait(lambda: any(".sent-" in name for name in bed.files("work")), "the last block goes", daemon=daemon)
        disks.do(fill)
        told = daemon.wait_for("task.submitted")
        assert told["task_id"] == bed.sandbox.accepted[0].task_id
        daemon.wait_for("state.unwritable")
    time.sleep(1)
    assert daemon.process.poll() is None
    disks.do("rm state/filler")
    wait(lambda: daemon.ends() == 1, "it goes on", daemon=daemon)
    assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    assert len(bed.sandbox.accepted) == 1
    assert daemon.stop() == 0


@pytest.mark.fault("F36", "F45")
def test_a_reload_on_a_full_disk_tells_mistakes_and_no_bug(bed: Bed, disks: Disks) -> None:
    daemon = disks.start("mount -t tmpfs -o size=3m none state")
    disks.do("dd if=/dev/zero of=state/filler bs=4k 2>/dev/null || true")
    right = bed.config_file.read_text()
    refused = bed.command("reload", before=disks.inside())
    assert (refused.returncode, "cannot be used now" in refused.stderr) == (74, True)
    daemon.process.send_signal(signal.SIGHUP)
    full = "the configuration could not be taken: "
    wait(
        lambda: any(line["reason"].startswith(full) for line in daemon.told("state.unwritable")),
        "it is told",
        daemon=daemon,
    )

    bed.config_file.write_text(right.replace("{", '{"nonsense": 1, ', 1))
    wrong = bed.command("reload", before=disks.inside())
    assert (wrong.returncode, "nonsense: unknown key" in wrong.stderr) == (78, True)
    assert daemon.told("config.rejected")
    assert not daemon.told("daemon.bug")
    bed.config_file.write_text(right)
    disks.do("rm state/filler")
    assert bed.command("reload", before=disks.inside()).returncode == 0
