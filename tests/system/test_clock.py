"""The machine's clock is set below the real process: years ahead, hours back, while it runs and while it does not."""

from __future__ import annotations

import glob
import time
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions, answer
from tests.system.bed import KEY, VENDOR_CSV, Bed
from tests.system.bulk import front
from tests.system.process import wait

YEARS, HOURS = 10 * 365 * 86_400, -2 * 3_600
LIBRARY = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
PAUSED_S, SETTLES_S = 60, 3.0
DAY_S, LEAP_S, LOOKS_S = 86_400, 1_800, 0.25
"""A daemon that scans every 200 ms has looked at each leap of half an hour."""

pytestmark = pytest.mark.skipif(not LIBRARY, reason="needs libfaketime: apt-get install faketime")


class BedWithClock(Bed):
    """Let the daemon see another wall clock than we do; monotonic time is the machine's."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        super().__init__(folder, sandbox)
        self.clock_file = folder / "clock"
        self.set_clock(0)

    def set_clock(self, by_s: int) -> None:
        """Set the clock, at once and as a whole."""
        written = self.clock_file.with_suffix(".new")
        written.write_text(f"{by_s:+d}\n")
        written.rename(self.clock_file)

    @property
    def environ(self) -> dict[str, str]:
        return {
            **super().environ,
            "LD_PRELOAD": LIBRARY[0],
            "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


@pytest.fixture
def kind() -> type[Bed]:
    return BedWithClock


@pytest.fixture
def options() -> SandboxOptions:
    return SandboxOptions.instant(key=KEY).with_task_seconds(4.0)


@pytest.mark.fault("F42")
@pytest.mark.parametrize("by_s", [YEARS, HOURS])
def test_a_clock_that_is_set_while_it_runs_hurries_and_holds_up_nothing(bed: BedWithClock, by_s: int) -> None:
    bed.route("leads", settle=SETTLES_S)
    bed.route("orders")
    daemon = bed.start()
    bed.does("pause", "orders", "--for", f"{PAUSED_S}s")
    paused = time.monotonic()
    bed.drop("held.csv", b"Input_1\n7\n", "orders")
    bed.drop("a.csv")
    dropped = time.monotonic()

    bed.set_clock(by_s)
    told = daemon.wait_for("clock.stepped")
    assert abs(told["by_s"] - by_s) < 5
    daemon.wait_for("job.claimed", file="a.csv")
    assert time.monotonic() - dropped >= SETTLES_S, "whole only after its quiet time, whatever the clock says"
    daemon.wait_for("job.done", file="a.csv")

    assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    assert not daemon.told("job.failed")
    if time.monotonic() - paused < PAUSED_S - 5:
        assert not daemon.told("job.claimed", file="held.csv"), "a pause lasts as long as it was meant to"
    bed.does("resume", "orders")
    daemon.wait_for("job.done", file="held.csv")
    year = time.gmtime(time.time() + by_s).tm_year
    assert bed.receipt("held.csv", "orders")["delivered_at"].startswith(f"{year}-")


@pytest.mark.fault("F42")
@pytest.mark.parametrize(("before_s", "after_s"), [(0, YEARS), (0, HOURS), (YEARS, 0)])
def test_a_clock_that_is_set_while_it_is_down_fails_no_paid_task_and_holds_up_none(
    bed: BedWithClock, before_s: int, after_s: int
) -> None:
    bed.api["retry"] = {"min": "30s", "max": "10m"}  # so long that a wait which was kept would be seen
    bed.route(poll={"min": "5s", "max": "10s"}, task_timeout="1h")
    bed.set_clock(before_s)
    bed.drop("paid.csv")
    daemon = bed.start()
    daemon.wait_for("task.submitted")
    wait(lambda: bed.job("paid.csv")["state"] == "running", "the task ID is written down", daemon=daemon)
    daemon.kill()

    bed.set_clock(after_s)
    started = time.monotonic()
    bed.start()
    [job] = bed.wait_ended(1)

    assert (job["state"], job["code"]) == ("done", None)
    assert time.monotonic() - started < 30
    assert len(bed.sandbox.accepted) == 1


class BedWithLeaps(BedWithClock):
    """Let time itself go by in leaps: the monotonic clock goes with the other."""

    passed_s = 0

    @property
    def environ(self) -> dict[str, str]:
        return {name: value for name, value in super().environ.items() if name != "FAKETIME_DONT_FAKE_MONOTONIC"}

    def let_pass(self, seconds: int) -> None:
        """Let so much time go by, and the daemon look around after each leap."""
        for _ in range(0, seconds, LEAP_S):
            self.passed_s += LEAP_S
            self.set_clock(self.passed_s)
            time.sleep(LOOKS_S)


@pytest.mark.system
@pytest.mark.timeout(300)  # thirty seconds of looks; tests/scenarios/test_set_clock.py tells it in less than one
@pytest.mark.fault("F42", "F5")
@pytest.mark.parametrize("kind", [BedWithLeaps])
def test_two_days_without_bulkgpt_fail_no_paid_task_and_end_no_wait_early(bed: BedWithLeaps, sandbox: Sandbox) -> None:
    with front(sandbox) as network:
        bed.api |= {"base_url": network.url, "retry": {"min": "1s", "max": "10s"}}
        bed.route("leads", task_timeout="1h", poll={"min": "2s", "max": "10s"})
        for name in ("one-day", "three-days"):
            bed.route(name)
        daemon = bed.start()
        bed.does("pause", "one-day", "--for", "1d")
        bed.does("pause", "three-days", "--for", "3d")
        bed.drop("paid.csv")
        wait(lambda: bed.jobs() and bed.job("paid.csv")["state"] == "running", "the task is known", daemon=daemon)
        network.switch("refuse")
        bed.drop("unsent.csv", b"Input_1\n7\n")
        bed.drop("held.csv", b"Input_1\n8\n", "one-day")
        bed.drop("held.csv", b"Input_1\n9\n", "three-days")
        daemon.wait_for("job.deferred", file="unsent.csv")

        bed.let_pass(DAY_S - 2 * LEAP_S)
        assert not daemon.told("job.claimed", route="one-day")
        bed.let_pass(DAY_S + 2 * LEAP_S)

        daemon.wait_for("job.claimed", route="one-day")
        assert not daemon.told("job.claimed", route="three-days")
        assert not daemon.told("job.failed")
        assert (bed.job("paid.csv")["state"], bed.job("unsent.csv")["state"]) == ("running", "waiting")
        assert any("paid.csv" in problem or "waits" in problem for problem in bed.json("status")["problems"])
        network.switch("through")
        wait(lambda: len(daemon.told("job.done")) == 3, "all that waited goes on", daemon=daemon)

    assert bed.files("outbox").keys() == {"paid.csv", "unsent.csv"}
    assert len(bed.sandbox.accepted) == 3
    assert not daemon.told("job.claimed", route="three-days")
