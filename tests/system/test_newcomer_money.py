"""A newcomer's first hour goes on: a budget, a week of history, a copy of the state; what is paid is paid once."""

from __future__ import annotations

import csv
import io
import shutil
import sqlite3
from contextlib import closing

import pytest

from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.sandbox import SandboxOptions
from tests.system.bed import KEY
from tests.system.newcomer import Newcomer, ask, metric
from tests.system.process import wait

DAY_S = 86_400.0

AT = [f"{name}_at" for name in ("created", "changed", "submitted", "completed", "delivered", "ended", "passed")]
"""Columns of a job that hold a time."""


@pytest.fixture
def kind() -> type[Newcomer]:
    return Newcomer


def rows(number: int, mark: str) -> bytes:
    return b"a\n" + b"".join(b"%s %d\n" % (mark.encode(), row) for row in range(number))


def reported(bed: Newcomer) -> tuple[int, int]:
    """Give the files and rows that the report calls billed."""
    lines = list(csv.DictReader(io.StringIO(bed.does("report", "--csv"))))
    return sum(int(line["accepted_files"]) for line in lines), sum(int(line["accepted_rows"]) for line in lines)


def paid(bed: Newcomer) -> tuple[int, int]:
    """Give the files and rows that BulkGPT bills."""
    return len(bed.sandbox.accepted), sum(record.rows or 0 for record in bed.sandbox.accepted)


def test_a_day_s_budget_is_seen_everywhere_let_go_and_adds_up_with_what_bulkgpt_bills(bed: Newcomer) -> None:
    bed.configure(budget={"rows_per_day": 4})
    daemon = bed.start()
    bed.drop("a.csv", rows(3, "a"))
    bed.wait_ended(1)
    bed.drop("b.csv", rows(2, "b"))
    over = daemon.wait_for("job.over_budget", file="b.csv")
    bed.drop("c.csv", rows(1, "c"))
    bed.wait_ended(2)
    reached = daemon.wait_for("budget.reached")
    bed.drop("d.csv", rows(9, "d"))
    wait(lambda: bed.json("status")["routes"][0]["waiting"] == 2, "both wait", daemon=daemon)

    assert (reached["used"], reached["limit"], reached["unit"]) == (4, 4, "rows")
    why = "over budget: route leads may send 4 rows a day and this file does not fit into the rest of it"
    why += "; goes on at MIDNIGHT, or `bulkgpt-watchd resume leads --over-budget`"
    assert bed.plain(over["reason"]) == why
    used_up = "the budget is used up: 4 of 4 rows were sent today; it goes on at MIDNIGHT"
    told = bed.says("status")[1].splitlines()
    assert told[4].split(maxsplit=5) == [
        "leads",
        "2",
        "0",
        "2",
        "0",
        "OVER BUDGET until MIDNIGHT: 4 of 4 rows sent today",
    ]
    assert told[6:] == ["1 problem:", f"  route leads: {used_up}"]
    budget = bed.json("status")["routes"][0]["budget"]
    assert (budget["rows_today"], budget["rows_per_day"], budget["used_up"], budget["lifted"]) == (4, 4, True, False)
    assert bed.plain(bed.job("b.csv")["waits_for"]) == why
    assert bed.files("inbox").keys() == {"d.csv"}, "nothing is claimed any more"
    code, told_dry, _ = bed.says("run", "--dry-run")
    assert code == 0
    assert "  nothing would be taken now: over budget: route leads may send 4 rows a day, and 4 were sent;" in told_dry
    assert "this file has 9: no day is enough for it; raise the budget, or let it go today with `bulk" in told_dry
    assert metric(daemon, 'jobs{route="leads",state="waiting"}') == 2
    assert ask(daemon, "/readyz")[0] == 200, "it does what it was told to"
    assert reported(bed) == paid(bed) == (2, 4)

    lifted = bed.says("resume", "leads", "--over-budget")
    assert lifted == (0, "going on: route leads, over budget until MIDNIGHT\n", "")
    bed.wait_ended(4)
    assert bed.json("status")["state"] == "ok"
    assert reported(bed) == paid(bed) == (4, 15)
    assert daemon.told("budget.lifted")


def age(bed: Newcomer, by_s: float) -> None:
    """Let all that is in the state be older, as if the clock had gone on."""
    with closing(sqlite3.connect(bed.folder / "state/state.db")) as state, state:
        state.execute(f"UPDATE jobs SET {', '.join(f'{name} = {name} - {by_s}' for name in AT)}")
        state.execute("UPDATE ledger SET day = date(day, ?)", (f"-{by_s / DAY_S:.0f} days",))


@pytest.mark.parametrize("how", ["state prune", "keep.history"])
def test_a_week_of_history_is_forgotten_and_the_report_still_has_it(bed: Newcomer, how: str) -> None:
    for number in range(3):
        bed.drop(f"old-{number}.csv", rows(2, f"old {number}"))
    bed.drop("bad.csv", b"a,b\n1\n")
    assert bed.once() == 10
    age(bed, 8 * DAY_S)
    bed.drop("new.csv", rows(1, "new"))
    assert bed.once() == 0

    if how == "state prune":
        trial, done = (bed.says("state", "prune", "--older-than", "7d", *more) for more in (("--dry-run",), ()))
        head = "jobs older than 7d"
        kept = "kept: 1 job with a file in the error folder\n"
        assert trial == (0, f"would forget 3 {head}: 3 done\n{kept}", "")
        assert done == (0, f"forgot 3 {head}: 3 done\n{kept}", "")
    else:
        bed.configure(keep={"history": "7d"})
        assert bed.once() == 0

    assert {job["file"] for job in bed.jobs()} == {"bad.csv", "new.csv"}
    assert bed.says("jobs", "show", "old-1.csv")[0] == 66
    assert reported(bed) == paid(bed) == (4, 7)
    assert bed.files("outbox").keys() == {"old-0.csv", "old-1.csv", "old-2.csv", "new.csv"}
    assert "is sound" in bed.does("state", "check")


@pytest.mark.fault("F41")
@pytest.mark.parametrize("options", [SandboxOptions(key=KEY, preparing_s=0.1, running_s=3.0, finalizing_s=0.1)])
def test_an_older_copy_of_the_state_makes_a_doubt_and_pays_nothing_twice(bed: Newcomer) -> None:
    daemon = bed.start()
    bed.drop("before.csv", rows(1, "before"))
    daemon.wait_for("task.submitted", file="before.csv")
    copy = bed.folder / "copy.db"
    code, told, said = bed.says("state", "backup", str(copy))
    assert (code, said) == (0, "")
    assert told.startswith("copied to DIR/copy.db: ")
    assert bed.says("state", "backup", str(copy)) == (
        77,
        "",
        "bulkgpt-watchd: DIR/copy.db is there already; nothing was written\n",
    )
    bed.drop("after.csv", rows(2, "after"))
    daemon.wait_for("task.submitted", file="after.csv")
    assert daemon.stop() == 0

    state = bed.folder / "state/state.db"
    shutil.move(state, f"{state}.damaged")
    for name in ("state.db-wal", "state.db-shm"):
        state.with_name(name).unlink(missing_ok=True)
    shutil.copy(copy, state)
    assert bed.says("state", "check")[1].startswith("DIR/state/state.db is sound\n")
    daemon = bed.start()
    daemon.wait_for("job.quarantined", file="after.csv")
    job = bed.job("after.csv")["job"]

    code, told, _ = bed.says("status")
    assert code == 0
    assert told.splitlines()[-5:] == [
        "1 job needs a decision:",
        f"  {job}  leads/after.csv  submission_unknown",
        f"  submission_unknown: {OUTCOMES['submission_unknown'].meaning}",
        "  Look at the BulkGPT dashboard whether a task for the file exists, then:",
        f"    bulkgpt-watchd resolve {job} --task-id ID | --not-submitted | --abandon",
    ]
    assert bed.error("after.csv")["message"] == (
        "The file's name in work says that it may have been sent, and the state does not know of it"
        " (the state is an older copy, was lost, or belonged to another daemon)."
    )
    assert "\n1 file, whose rows are not known, may be billed too, nobody knows." in bed.says("report")[1]
    before, after = (str(record.task_id) for record in bed.sandbox.accepted)
    for arguments in (("retry", job), ("redeliver", job), ("resolve", job, "--task-id", before)):
        assert bed.says(*arguments)[0] == 77, arguments
    assert bed.says("resolve", job, "--task-id", "none") == (
        77,
        "",
        "bulkgpt-watchd: BulkGPT does not know task none: Invalid Task ID.\n",
    )

    told = f"job {job} (leads/after.csv) goes on with task {after}\n"
    assert bed.says("resolve", job, "--task-id", after) == (0, told, "")
    daemon.wait_for("job.done", file="after.csv")
    daemon.wait_for("job.done", file="before.csv")
    assert bed.files("outbox").keys() == {"before.csv", "after.csv"}
    assert bed.json("status")["state"] == "ok"
    assert reported(bed) == paid(bed) == (2, 3)
    assert bed.json("report")["may_be_billed"] == {"files": 0, "rows": 0}
