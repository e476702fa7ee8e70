"""Missing folders, missing rights, full disks: what is told, what waits, and what goes on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.bed import KEY, Bed
from tests.system.process import AS_MORTAL, COMMAND, wait

NOBODY = 65534

needs_rights_to_lose = pytest.mark.skipif(os.geteuid() == 0 and not AS_MORTAL, reason="as root without setpriv")


@pytest.mark.fault("F31")
def test_a_missing_inbox_waits_while_others_go_on_and_returns_by_itself(bed: Bed) -> None:
    bed.route()
    bed.route("more")
    away = bed.folder / "away"
    bed.place("inbox").rename(away)
    daemon = bed.start()
    told = daemon.wait_for("route.unavailable")
    assert told["route"] == "leads"
    assert str(bed.place("inbox")) in told["reason"]
    assert "missing" in told["reason"]
    bed.drop("a.csv", b"a\n1\n", "more")
    bed.wait_ended(1)
    assert not bed.place("inbox").exists(), "a missing inbox is never created"
    status = bed.json("status")
    assert (status["state"], [route["available"] for route in status["routes"]]) == ("degraded", [False, True])
    assert "UNAVAILABLE" in bed.does("status")

    away.rename(bed.place("inbox"))
    daemon.wait_for("route.available", route="leads")
    bed.drop("b.csv", b"a\n2\n")
    bed.wait_ended(2)
    assert bed.json("status")["state"] == "ok"


def test_an_inbox_that_goes_away_while_running_comes_back_with_its_files(bed: Bed) -> None:
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    bed.wait_ended(1)
    bed.drop("b.csv", b"a\n2\n")
    bed.wait_ended(2)
    away = bed.folder / "away"
    bed.place("inbox").rename(away)
    daemon.wait_for("route.unavailable")
    bed.place("inbox").mkdir()  # an empty mount point
    bed.drop("trap.csv", b"a\n3\n")
    wait(lambda: "marker" in daemon.told("route.unavailable")[-1]["reason"], "another folder is told", daemon=daemon)
    assert "adopt leads" in daemon.told("route.unavailable")[-1]["reason"]
    time.sleep(0.5)
    assert bed.files("inbox").keys() == {"trap.csv"}
    bed.place("inbox").rename(bed.folder / "empty")
    bed.gone.update(bed.dropped.keys() - {r.sha256 for r in bed.sandbox.accepted})
    away.rename(bed.place("inbox"))
    daemon.wait_for("route.available")
    bed.drop("c.csv", b"a\n4\n")
    bed.wait_ended(3)
    assert len(bed.files("outbox")) == 3


@pytest.mark.parametrize("role", ["outbox", "error", "archive"])
def test_a_missing_folder_that_was_named_is_told_and_one_below_folder_is_made(bed: Bed, role: str) -> None:
    bed.route()
    named = bed.folder / "named" / role
    named.parent.mkdir()
    bed.route("more", **{role: f"named/{role}"})
    daemon = bed.start()
    told = daemon.wait_for("route.unavailable")
    assert told["route"] == "more"
    assert f"{role} {named} is missing" in told["reason"]
    wait(bed.place(role).is_dir, "the other route makes its own", daemon=daemon)
    assert not named.exists()
    check = bed.command("config", "check")
    assert check.returncode == 78
    assert str(named) in check.stderr
    named.mkdir()
    daemon.wait_for("route.available")
    bed.drop("a.csv", b"a\n1\n", "more")
    bed.wait_ended(1)


@pytest.mark.fault("F47")
@needs_rights_to_lose
@pytest.mark.parametrize("role", ["outbox", "error", "archive", "inbox"])
def test_a_folder_that_may_not_be_written_waits_until_it_may(bed: Bed, role: str) -> None:
    bed.route()
    bed.route("more")
    for one in ("outbox", "error", "archive"):
        bed.place(one).mkdir()
    bed.drop("a.csv", b"a\n1\n")
    bed.place(role).chmod(0o555)
    daemon = bed.start(before=AS_MORTAL)
    told = daemon.wait_for("route.unavailable")
    assert told["route"] == "leads"
    assert f"{bed.place(role)} is not writable: cannot create files in it: permission denied for " in told["reason"]
    assert told["reason"].endswith(f"; fix, as its owner or root: chmod u+rwx {bed.place(role)}")
    bed.drop("b.csv", b"a\n2\n", "more")
    bed.wait_ended(1)
    assert bed.files("inbox").keys() == {"a.csv"}
    bed.place(role).chmod(0o755)
    daemon.wait_for("route.available")
    bed.wait_ended(2)


@pytest.mark.fault("F47")
@pytest.mark.skipif(not AS_MORTAL, reason="not as root: only root can give files to others")
def test_a_file_that_may_be_read_but_not_moved_is_told_and_stops_no_other(bed: Bed) -> None:
    """A folder with the sticky bit, as /tmp: only its owner may move a file away."""
    bed.route()
    inbox = bed.place("inbox")
    bed.drop("theirs.csv", b"a\n1\n")
    for path in (inbox, inbox / "theirs.csv"):
        os.chown(path, NOBODY, NOBODY)
    inbox.chmod(0o1777)
    daemon = bed.start(before=AS_MORTAL)
    told = daemon.wait_for("job.deferred", level="warning", file="theirs.csv")
    assert "not permitted" in told["reason"]
    bed.drop("ours.csv", b"a\n2\n")
    bed.wait_ended(1)
    status = bed.json("status")
    assert status["state"] == "degraded"
    assert any("theirs.csv waits: cannot claim" in problem for problem in status["problems"])
    os.chown(inbox / "theirs.csv", 0, 0)
    bed.wait_ended(2)
    assert bed.json("status")["state"] == "ok"


@needs_rights_to_lose
def test_an_outbox_that_closes_on_the_way_keeps_the_paid_result(bed: Bed) -> None:
    daemon = bed.start(before=AS_MORTAL)
    bed.drop("first.csv", b"a\n0\n")
    bed.wait_ended(1)
    bed.place("outbox").chmod(0o555)
    bed.drop("a.csv", b"a\n1\n")
    wait(
        lambda: (
            [line for line in daemon.told("job.deferred") if line["at"] in {"finished", "fetched"}]
            or daemon.told("route.unavailable")
        ),
        "it is put off",
        daemon=daemon,
    )
    time.sleep(0.5)
    assert not daemon.told("job.failed")
    bed.place("outbox").chmod(0o755)
    bed.wait_ended(2)
    assert bed.files("outbox").keys() == {"first.csv", "a.csv"}
    assert len(bed.sandbox.accepted) == 2


@needs_rights_to_lose
def test_a_key_that_may_not_be_read_is_a_mistake_that_says_why(bed: Bed) -> None:
    bed.write()
    bed.key_file.chmod(0)
    ran = subprocess.run(
        [*AS_MORTAL, *COMMAND, "run"], env=bed.environ, capture_output=True, text=True, check=False, timeout=20
    )
    assert ran.returncode == 78
    assert f"{bed.key_file} cannot be read" in ran.stderr
    assert "0000" in ran.stderr
    assert KEY not in ran.stderr


def test_a_key_in_a_file_that_others_read_is_a_mistake(bed: Bed) -> None:
    bed.api |= {"api_key_file": None, "api_key": KEY}
    bed.route()
    bed.write()
    bed.config_file.chmod(0o644)
    done = bed.command("config", "check")
    assert done.returncode == 78
    assert "api.api_key" in done.stderr
    assert KEY not in done.stdout + done.stderr
    bed.config_file.chmod(0o600)
    bed.does("config", "check")


def test_a_full_disk_takes_nothing_and_says_so(bed: Bed) -> None:
    bed.route(min_free="900000TB")
    daemon = bed.start()
    bed.drop("a.csv")
    low = daemon.wait_for("disk.low")
    assert "min_free" in low["reason"]
    time.sleep(0.6)
    assert bed.files("inbox").keys() == {"a.csv"}
    assert not bed.sandbox.ledger
    assert any("min_free" in problem for problem in bed.json("status")["problems"])
    bed.routes[0]["min_free"] = "1MB"
    bed.write()
    bed.does("reload")
    bed.wait_ended(1)
    assert daemon.told("disk.recovered")


def test_a_state_on_a_folder_that_is_not_there_says_so(bed: Bed) -> None:
    bed.more["state"] = {"path": "no/such/place/state.db"}
    daemon = bed.start(is_ready=False)
    assert daemon.ended() == 74
    assert "no/such/place" in daemon.told("daemon.failed")[0]["reason"]
    assert not (bed.folder / "no").exists()


def test_commands_without_a_daemon_or_a_configuration_say_what_to_do(bed: Bed) -> None:
    bed.route()
    bed.write()
    nothing = bed.command("jobs")
    assert nothing.returncode == 74
    assert "has not run" in nothing.stderr
    for command in (("pause",), ("scan",), ("reload",), ("retry", "aaaaaaaa"), ("resume", "leads"), ("adopt", "leads")):
        done = bed.command(*command)
        assert (done.returncode, done.stdout) == (69, ""), command
        assert "not running" in done.stderr
    no_config = bed.command("status", config=Path("/nonexistent/config.yaml"))
    assert no_config.returncode == 78
    assert "/nonexistent/config.yaml" in no_config.stderr
