"""`report` and what `status` says of budgets, as they are typed."""

from __future__ import annotations

import csv
import io
import json

from bulkgpt_watchd.cli.screen import Table
from bulkgpt_watchd.cli.status import Seen, screen
from bulkgpt_watchd.cli.words import local
from bulkgpt_watchd.core.budget import Spent
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ledger import AMOUNTS, day_of
from bulkgpt_watchd.core.status import status
from tests.cli.conftest import DAY_S, TODAY, YESTERDAY, Bed
from tests.sample_jobs import sample_job


def test_the_report_has_a_line_for_each_day_and_route_and_a_total(paid: Bed) -> None:
    ran = paid.cli("report")
    hint = "See: bulkgpt-watchd jobs --state submission_unknown"

    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "DAY (UTC)   ROUTE     FILES   ROWS   GOOD  FAILED  REFUSED  IN DOUBT",
        f"{day_of(YESTERDAY)}  leads         1  1,000    999       1        0         0",
        f"{day_of(TODAY)}  leads         2     23     21       2        0         1",
        f"{day_of(TODAY)}  new name      1      7      6       1        0         0",
        "total                     4  1,030  1,026       4        0         1",
        "",
        "FILES and ROWS were accepted, and so billed; GOOD and FAILED are rows of results that were delivered.",
        f"1 file with 50 rows may be billed too, nobody knows. {hint}",
    ]


def test_the_report_as_csv_is_read_by_programs(paid: Bed) -> None:
    rows = list(csv.DictReader(io.StringIO(paid.cli("report", "--csv", "--since", "60d").stdout)))

    assert list(rows[0]) == ["day", "route", "workflow_id", *AMOUNTS]
    assert [(row["day"], row["route"], row["workflow_id"], row["accepted_rows"]) for row in rows] == [
        (day_of(TODAY - 40 * DAY_S), "leads", "w", "9"),
        (day_of(YESTERDAY), "leads", "w", "1000"),
        (day_of(TODAY), "leads", "v", "20"),
        (day_of(TODAY), "leads", "w", "3"),
        (day_of(TODAY), "new name", "w", "7"),
    ]


def test_the_report_as_json_has_totals_and_what_may_be_billed_apart(paid: Bed) -> None:
    content = json.loads(paid.cli("report", "--json", "--route", "leads").stdout)

    assert content["totals"]["accepted_rows"] == 1023
    assert content["totals"]["accepted_rows"] == sum(row["accepted_rows"] for row in content["rows"])
    assert content["may_be_billed"] == {"files": 1, "rows": 50}
    assert {row["route"] for row in content["rows"]} == {"leads"}


def test_the_report_of_a_route_that_never_was_is_66(paid: Bed) -> None:
    ran = paid.cli("report", "--route", "nowhere")

    assert ran.exit_code == 66
    assert "there is no route 'nowhere'; there are: leads, new name" in ran.stderr
    assert paid.cli("report", "--csv", "--json").exit_code == 2


def test_nothing_sent_is_told_in_words(bed: Bed) -> None:
    bed.remember()

    assert bed.cli("report", "--since", "7d").stdout == f"nothing was sent since {day_of(TODAY - 7 * DAY_S)} (UTC)\n"
    assert bed.cli("report", "--csv").stdout.count("\n") == 1


def test_status_names_the_budget_that_a_file_without_one_of_its_own_waits_for() -> None:
    facts = {"routes": {"b": {}}, "budget": {"budget": {"rows_per_day": 10, "files_per_day": None}}}
    waiting = sample_job("j0000001", route="b", state=State.READY, waits_for="over budget: too many")
    content = status(facts, {}, [], ready=[waiting], now=1_800_000_000.0, is_running=True)
    [routes] = [block for block in screen(Seen(content, [], 1_800_000_000.0)) if isinstance(block, Table)]

    assert getattr(routes.rows[0][-1], "text", None) == "1 file over budget: that of all routes"


def test_status_shows_what_is_used_and_what_waits() -> None:
    now = 1_800_000_000.0
    budget = {"rows_per_day": 10, "files_per_day": None}
    facts = {"routes": {"leads": {"budget": budget}, "b": {"budget": budget}}, "budget": {"budget": budget}}
    waiting = sample_job("j0000001", route="b", state=State.READY, waits_for="over budget: too many")
    spent = {"leads": Spent(10, 1), "b": Spent(2, 1)}
    content = status(facts, {}, [], ready=[waiting], spent=spent, now=now, is_running=True)

    lines = [getattr(block, "text", block) for block in screen(Seen(content, [], now))]
    [routes] = [block for block in screen(Seen(content, [], now)) if isinstance(block, Table)]

    assert "budget of all routes: 12 of 10 rows sent today" in lines
    midnight = local(1_800_057_600.0)
    assert [getattr(row[-1], "text", None) for row in routes.rows] == [
        "OVER BUDGET: that of all routes is used up",
        f"OVER BUDGET until {midnight}: 10 of 10 rows sent today",
    ]
    assert content["problems"] == [
        "all routes: the budget is used up: 12 of 10 rows were sent today; it goes on at 2027-01-16T00:00:00.000Z",
        "route b: j0000001.csv waits: over budget: too many",
        "route leads: the budget is used up: 10 of 10 rows were sent today; it goes on at 2027-01-16T00:00:00.000Z",
    ]
