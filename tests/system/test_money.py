"""Budgets, the report and copies of the state, with the real command."""

from __future__ import annotations

import csv
import io
import shutil
from functools import partial

import pytest

from bulkgpt_watchd.sandbox import SandboxOptions
from tests.system.bed import KEY, Bed
from tests.system.process import wait


def rows(number: int, mark: str) -> bytes:
    return b"a\n" + b"".join(b"%s %d\n" % (mark.encode(), row) for row in range(number))


def test_a_day_s_budget_is_reached_told_and_lifted(bed: Bed) -> None:
    bed.more["budget"] = {"files_per_day": 5}
    bed.route(budget={"rows_per_day": 10})
    for number in range(4):
        bed.drop(f"{number}.csv", rows(4, f"file {number}"))
    daemon = bed.start()
    bed.wait_ended(2)
    daemon.wait_for("job.over_budget")

    status = bed.json("status")
    assert status["state"] == "degraded"
    assert status["routes"][0]["budget"]["rows_today"] == 8
    assert "over budget: route leads may send 10 rows a day" in bed.does("status")
    assert "over budget" in str([job["waits_for"] for job in bed.jobs()])
    assert len(bed.sandbox.accepted) == 2

    assert "going on: route leads, over budget until " in bed.does("resume", "leads", "--over-budget")
    bed.wait_ended(4)
    report = list(csv.DictReader(io.StringIO(bed.does("report", "--csv"))))
    assert sum(int(row["accepted_rows"]) for row in report) == 16
    assert len(bed.sandbox.accepted) == 4


def test_run_once_ends_with_11_and_leaves_what_is_over_budget(bed: Bed) -> None:
    bed.route(budget={"files_per_day": 2})
    for number in range(5):
        bed.drop(f"{number}.csv", rows(1, f"file {number}"))

    assert bed.once() == 11
    assert bed.once() == 11

    assert len(bed.sandbox.accepted) == 2
    assert len(bed.files("inbox")) == 3
    assert "OVER BUDGET" in bed.does("status")


def has_accepted(bed: Bed, files: int) -> bool:
    return len(bed.sandbox.accepted) >= files


@pytest.mark.fault("S9")
def test_no_kill_lets_more_go_than_the_budget(bed: Bed) -> None:
    bed.route(budget={"files_per_day": 12}, hold_backlog=None)
    for number in range(40):
        bed.drop(f"{number:02}.csv", rows(1, f"file {number}"))
    for accepted in (3, 8):
        daemon = bed.start()
        wait(partial(has_accepted, bed, accepted), "some are accepted", daemon=daemon)
        daemon.kill()
    daemon = bed.start()
    daemon.wait_for("budget.reached")
    bed.does("resume")  # a kill may have left doubts, and the gate half open

    totals = bed.json("report")["totals"]

    assert len(bed.sandbox.accepted) <= totals["accepted_files"] + totals["doubt_files"] <= 12
    assert totals["submitted_files"] == sum(totals[f"{what}_files"] for what in ("accepted", "refused", "doubt"))


@pytest.mark.fault("F41")
@pytest.mark.parametrize("options", [SandboxOptions(key=KEY, preparing_s=0.1, running_s=60.0, finalizing_s=0.1)])
def test_an_older_copy_knows_that_it_does_not_know(bed: Bed) -> None:
    bed.drop("before.csv", rows(1, "before"))
    daemon = bed.start()
    daemon.wait_for("task.submitted")
    copy = bed.folder / "copy.db"
    assert "copied to" in bed.does("state", "backup", str(copy))
    bed.drop("after.csv", rows(1, "after"))
    wait(lambda: len(bed.sandbox.accepted) == 2, "the second is accepted")
    daemon.wait_for("task.submitted", file="after.csv")
    assert daemon.stop() == 0

    state = bed.folder / "state/state.db"
    shutil.move(state, f"{state}.damaged")
    shutil.move(copy, state)
    assert "is sound" in bed.does("state", "check")
    daemon = bed.start()
    daemon.wait_for("job.quarantined")

    assert bed.job("before.csv")["state"] == "running"
    doubt = bed.job("after.csv")
    assert doubt["code"] == "submission_unknown"
    assert bed.json("report")["may_be_billed"]["files"] == 1
    bed.does("resolve", doubt["job"], "--task-id", str(bed.sandbox.accepted[1].task_id))
    assert bed.json("report")["may_be_billed"]["files"] == 0
    assert bed.json("report")["totals"]["accepted_files"] == 2


def test_history_is_forgotten_and_the_report_stays(bed: Bed) -> None:
    bed.route(duplicate_window="1s", keep={"history": "1s", "archive": "1s"})
    bed.drop("a.csv", rows(3, "file"))
    bed.gone.update(bed.dropped)
    assert bed.once() == 0
    wait(lambda: bed.once() == 0 and bed.jobs() == [], "the job is forgotten")

    assert bed.files("archive") == {}
    assert bed.files("outbox").keys() == {"a.csv"}
    assert bed.json("report")["totals"]["accepted_rows"] == 3
    assert bed.command("jobs", "show", "a.csv").returncode == 66
