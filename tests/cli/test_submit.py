"""`submit`: a file appears in the inbox whole, under a name that is free, and its job is followed to its end."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault
from tests.cli.conftest import Bed
from tests.cli.live import live

CONTENT = "a\n1\n2\n"


@pytest.fixture
def given(bed: Bed) -> Path:
    folder = bed.folder / "given"
    folder.mkdir()
    path = folder / "orders.csv"
    path.write_text(CONTENT)
    return path


def inbox(bed: Bed) -> set[str]:
    return {name for name in os.listdir(bed.inbox) if name != ".bulkgpt-watchd"}


def test_a_file_waits_in_the_inbox_for_a_daemon_that_does_not_run(bed: Bed, given: Path) -> None:
    ran = bed.cli("submit", given, "--route", "leads")

    assert ran.exit_code == 0
    assert ran.stdout == f"{given} stands in {bed.inbox}/orders.csv\n"
    assert ran.stderr == "the daemon has not run yet; files wait for it\n"
    assert (bed.inbox / "orders.csv").read_text() == given.read_text() == CONTENT
    assert inbox(bed) == {"orders.csv"}


def test_a_taken_name_gets_another_and_nothing_is_overwritten(bed: Bed, given: Path) -> None:
    (bed.inbox / "orders.csv").write_text("theirs")
    first = bed.cli("submit", given, "--route", "leads")
    content = json.loads(bed.cli("submit", given, "--route", "leads", "--json").stdout)

    assert f"{bed.inbox}/orders-2.csv (its name was taken)" in first.stdout
    assert content["files"][0]["path"] == f"{bed.inbox}/orders-3.csv"
    assert (bed.inbox / "orders.csv").read_text() == "theirs"


def test_the_marker_follows_where_the_route_wants_one(bed: Bed, given: Path) -> None:
    text = bed.config.read_text().replace("settle: 0", 'ready: {done_file: "{name}.done"}')
    bed.config.write_text(text)
    assert bed.cli("submit", given, "--route", "leads").exit_code == 0
    assert inbox(bed) == {"orders.csv", "orders.csv.done"}


def test_the_group_of_the_inbox_may_read_what_a_careful_person_gives(bed: Bed, given: Path) -> None:
    given.chmod(0o600)
    before = os.umask(0o077)
    try:
        bed.cli("submit", given, "--route", "leads")
    finally:
        os.umask(before)
    assert (bed.inbox / "orders.csv").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "route", "code", "says"),
    [
        ("orders.csv", "leeds", 66, "there are: leads"),
        ("missing.csv", "leads", 66, "no such file"),
        ("orders.txt", "leads", 77, "only *.csv"),
        ("orders.csv.part", "leads", 77, "only *.csv"),
        (".", "leads", 66, "not a regular file"),
    ],
)
def test_what_would_lie_there_for_nothing_is_refused_and_nothing_is_put(
    bed: Bed, given: Path, name: str, route: str, code: int, says: str
) -> None:
    for other in ("orders.txt", "orders.csv.part"):
        (given.parent / other).write_text(CONTENT)
    ran = bed.cli("submit", given, given.parent / name, "--route", route)

    assert (ran.exit_code, inbox(bed)) == (code, set())
    assert says in ran.stderr
    assert (
        json.loads(bed.cli("submit", given.parent / name, "--route", route, "--json").stdout)["error"]["exit_code"]
        == code
    )


def test_a_file_of_the_inbox_itself_is_not_doubled(bed: Bed) -> None:
    (bed.inbox / "orders.csv").write_text(CONTENT)
    assert bed.cli("submit", bed.inbox / "orders.csv", "--route", "leads").exit_code == 77
    assert inbox(bed) == {"orders.csv"}


def test_a_missing_inbox_is_told(bed: Bed, given: Path) -> None:
    bed.inbox.rmdir()
    ran = bed.cli("submit", given, "--route", "leads")
    assert ran.exit_code == 77
    assert "is missing" in ran.stderr


def test_waiting_without_a_daemon_ends_when_time_runs_out(bed: Bed, given: Path) -> None:
    ran = bed.cli("submit", given, "--route", "leads", "--wait", "--timeout", "1s")
    assert ran.exit_code == 11
    assert "time ran out: not taken yet; it stays in the inbox" in ran.stderr
    assert bed.cli("submit", given, "--route", "leads", "--timeout", "1s").exit_code == 2


def test_to_wait_for_a_state_that_cannot_be_read_is_refused_before_anything_is_put(bed: Bed, given: Path) -> None:
    bed.state.write_text("")
    ran = bed.cli("submit", given, "--route", "leads", "--wait")
    assert (ran.exit_code, inbox(bed)) == (77, set())


async def test_waiting_tells_what_happens_and_prints_the_result(bed: Bed, given: Path) -> None:
    async with live(bed) as running:
        ran = await running.cli("submit", given, "--route", "leads", "--wait")
        assert (ran.exit_code, ran.stdout) == (0, f"{bed.folder}/leads/outbox/orders.csv\n")
        assert "orders.csv: submitted: task" in ran.stderr
        assert (bed.folder / "leads/outbox/orders.csv").exists()

        again = await running.cli("submit", given, "--route", "leads", "--wait")
        assert (again.exit_code, again.stdout) == (10, "")
        assert "failed with duplicate" in again.stderr
        assert "what to do: " in again.stderr


async def test_some_done_and_some_failed_are_told_each_as_json(bed: Bed, given: Path) -> None:
    bad = given.with_name("bad.csv")
    bad.write_text("a,b\n1\n")
    async with live(bed) as running:
        ran = await running.cli("submit", given, bad, "--route", "leads", "--wait", "--json")
        assert ran.exit_code == 10
        states = [(file["job"]["file"], file["job"]["state"]) for file in json.loads(ran.stdout)["files"]]
        assert states == [("orders.csv", "done"), ("bad.csv", "failed")]


async def test_it_follows_its_own_job_where_an_older_one_has_the_name(bed: Bed, given: Path) -> None:
    async with live(bed) as running:
        await running.cli("submit", given, "--route", "leads", "--wait")
        given.write_text("a\n3\n")
        ran = await running.json("submit", str(given), "--route", "leads", "--wait")
        assert ran["files"][0]["job"]["rows"] == 1
        assert ran["files"][0]["job"]["state"] == "done"


async def test_a_partial_result_is_told(bed: Bed, given: Path) -> None:
    async with live(bed) as running:
        running.sandbox.plan(Fault(call="submit", rows_failed=1))
        ran = await running.cli("submit", given, "--route", "leads", "--wait")
        assert ran.exit_code == 0
        assert "partial: 1 of 2 rows failed" in ran.stderr


async def test_a_file_that_is_taken_back_ends_the_waiting(bed: Bed, given: Path) -> None:
    async with live(bed) as running:
        await running.cli("pause")
        waiting = asyncio.create_task(running.cli("submit", given, "--route", "leads", "--wait"))
        while not (bed.inbox / "orders.csv").exists():  # noqa: ASYNC110  # another thread puts it there
            await asyncio.sleep(0.02)
        (bed.inbox / "orders.csv").unlink()
        ran = await waiting
        assert ran.exit_code == 10
        assert "taken" in ran.stderr


async def test_who_waits_is_told_that_the_budget_is_used_up(bed: Bed, given: Path) -> None:
    bed.config.write_text(bed.config.read_text().replace("settle: 0", "settle: 0, budget: {rows_per_day: 1}"))
    async with live(bed) as running:
        running.drop("first.csv", "1")
        await running.until("first.csv", lambda row: row["state"] == "done")
        ran = await running.cli("submit", given, "--route", "leads", "--wait", "--timeout", "3500ms")

        assert ran.exit_code == 11
        assert "files wait, since the budget of route leads is used up until " in ran.stderr
