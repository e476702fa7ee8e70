"""`state check`, `state backup` and `state prune`, as they are typed."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bulkgpt_watchd.core.job import Job, State
from tests.adapters.open_state import open_state
from tests.cli.conftest import DAY_S, TODAY, Bed
from tests.cli.live import live
from tests.sample_jobs import sample_job


def test_a_sound_state_says_what_it_holds(paid: Bed) -> None:
    ran = paid.cli("state", "check")
    content = json.loads(paid.cli("state", "check", "--json").stdout)

    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[0] == f"{paid.state} is sound"
    assert "jobs     6 delivering" in ran.stdout
    assert (content["ok"], content["jobs"], content["ledger"]["days"]) == (True, {"delivering": 6}, 3)


def hurt(path: Path) -> None:
    """Overwrite the middle of the file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def miscount(path: Path) -> None:
    with closing(sqlite3.connect(path)) as state, state:
        state.execute("UPDATE counts SET jobs = jobs + 1")


def orphan(path: Path) -> None:
    with closing(sqlite3.connect(path)) as state, state:
        state.execute("INSERT INTO journal VALUES (999, 1, 0.0, 'claimed', '{}')")


def scribble(path: Path) -> None:
    """Write what is no UTF-8 into a text, as a bit that flipped does; every page stays whole."""
    with closing(sqlite3.connect(path)) as state, state:
        state.execute("UPDATE facts SET value = CAST(x'7b22e5ff' AS TEXT)")


def misspell(path: Path) -> None:
    with closing(sqlite3.connect(path)) as state, state:
        state.execute("UPDATE jobs SET state = 'submittee' WHERE id = 'aaaa1111'")


@pytest.mark.parametrize(
    ("damage", "command"),
    [
        *((scribble, command) for command in ("state check", "status", "jobs", "report", "state prune")),
        *((misspell, command) for command in ("state check", "status", "jobs")),
    ],
)
def test_what_cannot_be_decoded_is_a_damaged_state_and_no_bug(
    paid: Bed, damage: Callable[[Path], None], command: str
) -> None:
    damage(paid.state)

    ran = paid.cli(*command.split())

    assert (ran.exit_code, "state backup" in ran.output) == (74, True)


@pytest.mark.parametrize("damage", [hurt, miscount, orphan])
def test_a_damaged_state_is_74_and_says_what_to_do(paid: Bed, damage: Callable[[Path], None]) -> None:
    damage(paid.state)

    for arguments in (("state", "check"), ("state", "check", "--json")):
        assert paid.cli(*arguments).exit_code == 74
    assert "state backup" in (paid.cli("state", "check").output)


def test_the_state_of_a_newer_version_is_not_called_sound(paid: Bed) -> None:
    with closing(sqlite3.connect(paid.state)) as state:
        state.execute("PRAGMA user_version = 9999")

    ran = paid.cli("state", "check")

    assert ran.exit_code == 74
    assert "has schema 9999" in ran.output
    assert "install the newer version again" in ran.output


def test_a_copy_is_a_state_again(paid: Bed) -> None:
    copy = paid.folder / "copy.db"
    before = os.umask(0o077)
    ran = paid.cli("state", "backup", copy)
    os.umask(before)

    assert (ran.exit_code, ran.stderr) == (0, "")
    assert copy.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in paid.folder.iterdir() if "copy" in path.name) == ["copy.db"]
    report = paid.cli("report").stdout
    copy.replace(paid.state)
    assert paid.cli("report").stdout == report
    assert paid.cli("state", "check").exit_code == 0


def test_a_copy_overwrites_nothing(paid: Bed) -> None:
    target = paid.folder / "mine.db"
    target.write_bytes(b"mine")

    ran = paid.cli("state", "backup", target)

    assert ran.exit_code == 77
    assert "is there already; nothing was written" in ran.stderr
    assert target.read_bytes() == b"mine"


def test_a_copy_that_cannot_be_written_leaves_nothing(paid: Bed) -> None:
    ran = paid.cli("state", "backup", paid.folder / "missing" / "copy.db")
    assert (ran.exit_code, "No such file or directory" in ran.stderr) == (74, True)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # as a full disk
    ran = paid.cli("state", "backup", paid.folder / "copy.db")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ran.exit_code == 74
    assert ran.stderr.startswith(f"bulkgpt-watchd: the copy {paid.folder}/copy.db of {paid.state} cannot be made: ")

    hurt(paid.state)
    ran = paid.cli("state", "backup", paid.folder / "copy.db")
    assert (ran.exit_code, "is damaged" in ran.stderr or "would be damaged" in ran.stderr) == (74, True)
    assert not [path for path in paid.folder.iterdir() if "copy" in path.name]


def test_what_copies_left_that_were_killed_is_gone_after_the_next(paid: Bed) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [
        paid.folder / f".state-copy.{pid}.new{more}" for pid in (gone.pid, os.getpid()) for more in ("", "-journal")
    ]
    others = [paid.folder / f".state-copy.{name}" for name in ("1.new", "mine.new", f"{gone.pid}.old")]
    for path in (*left, *others):
        path.touch()

    ran = paid.cli("state", "backup", paid.folder / "copy.db")

    assert (ran.exit_code, ran.stderr) == (0, "")
    assert {path for path in paid.folder.iterdir() if ".state-copy" in path.name} == set(others)


def test_a_copy_may_have_any_name_that_the_disk_takes(paid: Bed) -> None:
    """SQLite's own files beside it have longer names."""
    ran = paid.cli("state", "backup", paid.folder / f"{'n' * 252}.db")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [len(path.name) for path in paid.folder.iterdir() if path.name.startswith("n")] == [255]


async def test_a_copy_is_whole_while_the_state_is_written(bed: Bed) -> None:
    store = await open_state(bed.state)
    is_over = asyncio.Event()

    async def write() -> int:
        number = 0
        while not is_over.is_set():
            await store.add([sample_job(f"j{number + each:07}") for each in range(10)])
            number += 10
        return number

    writing = asyncio.create_task(write())
    for number in range(5):
        ran = await asyncio.to_thread(bed.cli, "state", "backup", bed.folder / f"copy{number}.db")
        assert ran.exit_code == 0, ran.output
    is_over.set()
    written = await writing
    await store.close()

    for number in range(5):
        with closing(sqlite3.connect(bed.folder / f"copy{number}.db")) as copy:
            jobs = copy.execute("SELECT count(*) FROM jobs").fetchone()[0]
            assert jobs % 10 == 0
            assert jobs <= written
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_without_a_state_there_is_nothing_to_check_or_copy(bed: Bed) -> None:
    for arguments in (("check",), ("backup", bed.folder / "copy.db"), ("prune",)):
        ran = bed.cli("state", *arguments)
        assert (ran.exit_code, "no state at" in ran.stderr) == (74, True)


def ended(job_id: str, **fields: object) -> Job:
    return sample_job(job_id, state=State.DONE, due_at=None, ended_at=TODAY - 100 * DAY_S, **fields)


def test_pruning_without_a_daemon_keeps_what_is_open_or_in_error(bed: Bed) -> None:
    error = bed.folder / "leads/error"
    error.mkdir()
    (error / "there.csv").touch()
    failed = {"state": State.FAILED, "due_at": None, "ended_at": TODAY - 100 * DAY_S}
    bed.remember(
        ended("done0000"),
        sample_job("there000", **failed, code="csv_empty", error_path=str(error / "there.csv")),
        sample_job("gone0000", **failed, code="csv_empty", error_path=str(error / "gone.csv")),
        sample_job("doubt000", **failed, code="submission_unknown"),
        sample_job("other000", **failed, code="csv_empty", error_path="/nowhere/x.csv", route="other"),
        sample_job("young000", **{**failed, "state": State.DONE, "ended_at": TODAY}),
        facts={"routes": {"leads": route_of(bed)}},
    )

    trial = bed.cli("state", "prune", "--older-than", "90d", "--dry-run")
    ran = bed.cli("state", "prune", "--older-than", "90d")

    assert trial.stdout == ran.stdout.replace("forgot", "would forget")
    assert ran.stdout.splitlines() == [
        "forgot 2 jobs older than 90d: 1 done, 1 failed",
        "kept: 2 jobs with a file in the error folder",
        "kept: 1 job with an open question",
    ]
    assert json.loads(bed.cli("state", "prune", "--json").stdout)["forgotten"] == {}
    assert [row["job"] for row in json.loads(bed.cli("jobs", "--json").stdout)] == [
        *("there000", "doubt000", "other000", "young000")
    ]
    told = bed.cli("jobs", "show", "done0000")
    assert (told.exit_code, "one that ended long ago is forgotten (`keep.history`)" in told.stderr) == (66, True)


def route_of(bed: Bed) -> dict[str, object]:
    folders = {role: str(bed.folder / "leads" / role) for role in ("inbox", "outbox", "error", "archive")}
    return {"workflow_id": "w", **folders, "work": str(bed.inbox / ".bulkgpt-watchd"), "duplicate_window": "12h"}


async def test_pruning_and_lifting_go_through_the_daemon(bed: Bed) -> None:
    bed.config.write_text(bed.config.read_text() + "budget: {files_per_day: 1}\n")
    await asyncio.to_thread(bed.remember, ended("done0000"))
    async with live(bed) as daemon:
        daemon.drop("a.csv", "1")
        daemon.drop("b.csv", "2")
        await daemon.has_logged("budget.reached")
        ran = await daemon.cli("state", "prune", "--older-than", "90d")
        assert ran.stdout == "forgot 1 job older than 90d: 1 done\n"
        told = await daemon.json("status")
        assert (told["state"], told["budget"]["files_today"], told["budget"]["used_up"]) == ("degraded", 1, True)

        ran = await daemon.cli("resume", "--over-budget")

        assert ran.stdout.startswith("going on: all routes, over budget until ")
        await daemon.until("a.csv", lambda row: row["state"] == "done")
        await daemon.until("b.csv", lambda row: row["state"] == "done")
        assert (await daemon.json("report"))["totals"]["accepted_files"] == 2
