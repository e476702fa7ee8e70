from __future__ import annotations

import json
import re
import time
from typing import Any, get_args

import pytest

from bulkgpt_watchd.cli.timeline import COUNTED, WORDS, words
from bulkgpt_watchd.core.events import Accepted, Event, GaveUp, Prepared
from bulkgpt_watchd.core.job import SHOWN_AS, Stamp, State
from bulkgpt_watchd.core.outcomes import what_to_do
from tests.cli.conftest import Bed
from tests.sample_jobs import sample_job, step

OLD = sample_job("a1000000", state=State.DONE, rows=8, rows_total=8, rows_ok=6, completed_at=1.0)
FAILED = sample_job("a2000000", state=State.FAILED, code="csv_empty", message="no rows", error_path="/srv/error/x.csv")
NEW = sample_job(
    "b1000000", route="b", state=State.SUBMITTED, rows=10, rows_done=4, changed_at=time.time(), task_id="t"
)


@pytest.fixture
def filled(bed: Bed) -> Bed:
    bed.remember(OLD, FAILED, NEW)
    return bed


def ids(bed: Bed, *options: str) -> list[str]:
    rows: list[dict[str, Any]] = json.loads(bed.cli("jobs", "--json", *options).stdout)
    return [row["job"] for row in rows]


def test_the_table_has_the_newest_last_and_each_value_whole(filled: Bed) -> None:
    ran = filled.cli("jobs")

    assert (ran.exit_code, ran.stderr) == (0, "")
    lines = [re.sub(r"\d+[dhms]( \d+[dhms])? ago", "T ago", line) for line in ran.stdout.splitlines()]
    assert [re.split(r" {2,}", line) for line in lines] == [
        ["JOB", "ROUTE", "FILE", "STATE", "ROWS", "CHANGED", "NOTE"],
        ["a1000000", "leads", "a1000000.csv", "done", "8", "T ago", "partial: 2 rows failed"],
        ["a2000000", "leads", "a2000000.csv", "failed", "T ago", "csv_empty"],
        ["b1000000", "b", "b1000000.csv", "running", "4/10", "T ago"],
    ]


def test_json_is_an_array_in_the_same_order_with_what_programs_rely_on(filled: Bed) -> None:
    rows = json.loads(filled.cli("jobs", "--json").stdout)

    assert [row["job"] for row in rows] == ["a1000000", "a2000000", "b1000000"]
    promised = "job route file state code task_ids rows rows_done rows_ok rows_failed attempts created_at changed_at"
    assert {*promised.split(), "result"} <= rows[0].keys()
    assert rows[1]["code"] == "csv_empty"


def test_no_jobs_are_an_empty_array_and_a_word_on_stderr(bed: Bed) -> None:
    bed.remember()

    assert bed.cli("jobs", "--json").stdout == "[]\n"
    ran = bed.cli("jobs")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "no such jobs\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--route", "b"), ["b1000000"]),
        (("--state", "failed"), ["a2000000"]),
        (("--state", "running"), ["b1000000"]),
        (("--state", "csv_empty"), ["a2000000"]),
        (("--state", "submission_unknown"), []),
        (("--since", "1d"), ["b1000000"]),
        (("--since", "36500d"), ["a1000000", "a2000000", "b1000000"]),
        (("--limit", "2"), ["a2000000", "b1000000"]),
    ],
)
def test_jobs_are_chosen(filled: Bed, options: tuple[str, ...], expected: list[str]) -> None:
    assert ids(filled, *options) == expected


def test_a_route_that_nobody_knows_is_told_from_one_without_jobs(filled: Bed) -> None:
    ran = filled.cli("jobs", "--route", "nope")

    assert (ran.exit_code, ran.stdout) == (66, "")
    assert ran.stderr == "bulkgpt-watchd: there is no route 'nope'; there are: b, leads\n"
    assert json.loads(filled.cli("jobs", "--route", "nope", "--json").stdout)["error"]["exit_code"] == 66
    assert filled.cli("jobs", "--route", "b", "--state", "done").stderr == "no such jobs\n"


def test_a_renamed_route_is_shown_and_chosen_by_its_name(bed: Bed) -> None:
    """The key "b" is called "leads" now and the other way round: their inboxes exchanged their names."""
    bed.remember(OLD, FAILED, NEW, facts={"names": {"leads": "b", "b": "leads"}})

    assert ids(bed, "--route", "leads") == ["b1000000"]
    assert json.loads(bed.cli("jobs", "show", "a2000000", "--json").stdout)["route"] == "b"
    assert "b/a2000000.csv" in bed.cli("jobs", "show", "a2000000").stdout
    assert "leads/b1000000.csv" in bed.cli("status").stdout


@pytest.mark.parametrize("state", State)
def test_every_state_is_found_by_the_word_that_people_see(bed: Bed, state: State) -> None:
    bed.remember(sample_job("a1000000", state=state))

    assert ids(bed, "--state", SHOWN_AS[state]) == ["a1000000"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--state", "runing"), "did you mean running? choose one of waiting, submitting, running,"),
        (("--since", "yesterday"), "must be a duration: write 200ms, 5s, 10m, 2h, 7d or a number of seconds"),
        (("--limit", "0"), "0 is not in the range"),
    ],
)
def test_a_word_that_is_none_is_a_mistake_of_usage(bed: Bed, options: tuple[str, ...], told: str) -> None:
    ran = bed.cli("jobs", *options)

    assert ran.exit_code == 2
    assert told in ran.stderr


def test_one_job_is_told_with_why_what_to_do_and_what_happened(bed: Bed) -> None:
    job = sample_job("a1000000", file="sub/x\udce9.csv")
    checked = step(job, Prepared(Stamp(1, 2, 3), "f" * 64, 1), rows=1)
    gone = step(
        checked.new,
        GaveUp("csv_empty", "no rows"),
        state=State.FAILED,
        code="csv_empty",
        message="no rows",
        error_path="/srv/error/x\udce9.csv",
    )
    bed.remember(job, changes=[checked, gone])
    told = bed.cli("jobs", "show", "a1000000").stdout

    head, history = told.split("\n\n")
    assert head.splitlines()[0] == "a1000000  leads/sub/x\\xe9.csv  failed csv_empty"
    facts = dict(re.split(r" {2,}", line, maxsplit=1) for line in head.splitlines()[1:])
    assert facts["why"] == "no rows"
    assert facts["do"] == what_to_do("csv_empty", job="a1000000", route="leads", other=None)
    assert facts["error"] == "/srv/error/x\\xe9.csv"
    assert [line[21:] for line in history.splitlines()] == [
        "found in the inbox",
        "checked: 1 row",
        "failed with csv_empty: no rows",
    ]


def test_one_job_as_json_is_its_row_and_its_journal(bed: Bed) -> None:
    job = sample_job("a1000000")
    bed.remember(job, changes=[step(job, Accepted("t\udce9"), state=State.SUBMITTED, task_id="t")])
    content = json.loads(bed.cli("jobs", "show", "a1000000", "--json").stdout)

    assert (content["job"], content["state"], content["task_ids"]) == ("a1000000", "running", ["t"])
    assert content["journal"] == [
        {"at": "2027-01-15T08:00:00.000Z", "event": "accepted", "facts": {"task_id": "t\\xe9"}}
    ]
    assert json.loads(bed.cli("jobs", "--json", "show", "a1000000").stdout) == content


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a1000000", "a1000000"), ("a2", "a2000000"), ("b", "b1000000"), ("a1000000.csv", "a1000000")],
)
def test_a_job_is_found_by_its_id_the_beginning_of_it_or_its_file(filled: Bed, name: str, expected: str) -> None:
    assert json.loads(filled.cli("jobs", "show", name, "--json").stdout)["job"] == expected


def test_a_file_name_means_its_latest_job(bed: Bed) -> None:
    bed.remember(sample_job("a1000000", file="x.csv"), sample_job("a2000000", file="x.csv"))

    assert json.loads(bed.cli("jobs", "show", "x.csv", "--json").stdout)["job"] == "a2000000"


def test_what_is_not_there_or_not_clear_ends_with_66(filled: Bed) -> None:
    ran = filled.cli("jobs", "show", "zz")
    assert (ran.exit_code, ran.stdout) == (66, "")
    assert ran.stderr == "bulkgpt-watchd: there is no job 'zz'; `bulkgpt-watchd jobs` lists them\n"
    ran = filled.cli("jobs", "show", "a", "--json")
    assert (ran.exit_code, ran.stderr) == (66, "")
    assert json.loads(ran.stdout)["error"] == {
        "message": "'a' may be a2000000 (a2000000.csv), a1000000 (a1000000.csv): write more of the ID",
        "exit_code": 66,
    }
    assert filled.cli("jobs", "show", "").exit_code == 66


def test_every_event_has_its_sentence() -> None:
    assert WORDS.keys() == {re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower() for kind in get_args(Event)}


@pytest.mark.parametrize("event", WORDS)
def test_a_sentence_needs_no_fact_and_shows_no_control_character(event: str) -> None:
    assert "{" not in words(event, {})
    told = words(
        event, dict.fromkeys(re.findall(r"\{(\w+)\}", WORDS[event]), "\x1b[31m{0}") | dict.fromkeys(COUNTED, 1)
    )
    assert "\x1b" not in told
