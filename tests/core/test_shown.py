"""What people and programs see of a job (contract: folders of a route, commands)."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.core import shown
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.outcomes import OUTCOMES
from tests.core.any_jobs import ANY_JOB, NOW, TIMES
from tests.sample_jobs import sample_job

IDENTITY = ("job", "route", "workflow_id", "task_ids", "file", "sha256", "bytes", "rows", "attempts", "first_seen")
ERROR_KEYS = {"schema", "code", "message", "what_to_do", *IDENTITY, "failed_at"}
OPTIONAL_ERROR_KEYS = ("http_status", "api_message", "line")
RECEIPT_KEYS = {
    "schema",
    *IDENTITY,
    *("submitted_at", "completed_at", "delivered_at"),
    *("rows_in", "rows_ok", "rows_failed", "rows_out"),
    *("result", "result_sha256"),
}
ROW_KEYS = {
    *("job", "route", "file", "state", "code", "task_ids", "rows", "rows_done", "rows_ok", "rows_failed", "attempts"),
    *("created_at", "changed_at", "result"),
}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
BAD_NAME = os.fsdecode(b"sub/k\xe4ufer\n.csv")

DONE = sample_job(
    "j0b",
    state=State.DONE,
    file=BAD_NAME,
    workflow_id="w",
    task_id="t2",
    earlier_task_ids=("t1",),
    sha256="5ha",
    rows=24,
    rows_ok=20,
    rows_total=24,
    rows_out=24,
    attempts=2,
    created_at=NOW,
    submitted_at=NOW + 1,
    completed_at=NOW + 2,
    delivered_at=NOW + 3,
    result_path=os.fsdecode(b"/out/sub/k\xe4ufer\n.csv"),
    result_sha256="re5",
)
FAILED = sample_job(
    "j0b",
    state=State.FAILED,
    file=BAD_NAME,
    workflow_id="w",
    sha256="5ha",
    rows=24,
    attempts=1,
    created_at=NOW,
    ended_at=NOW + 9,
    code="rejected",
    message="BulkGPT said no.",
    http_status=404,
    api_message="no such workflow",
)


def as_json(content: Any) -> Any:
    """Write it as strictly as any reader may want it, and read it."""
    return json.loads(json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


# --- the error file ---------------------------------------------------------------------------------------------------


def test_the_error_file_says_who_what_why_and_what_to_do() -> None:
    assert shown.error_file(FAILED, has_source=True) == {
        "schema": 1,
        "code": "rejected",
        "message": "BulkGPT said no.",
        "what_to_do": OUTCOMES["rejected"].what_to_do.format(route="leads", job="j0b"),
        "job": "j0b",
        "route": "leads",
        "workflow_id": "w",
        "task_ids": [],
        "file": r"sub/k\xe4ufer\x0a.csv",
        "sha256": "5ha",
        "bytes": 24,
        "rows": 24,
        "attempts": 1,
        "first_seen": "2027-01-15T08:00:00.000Z",
        "failed_at": "2027-01-15T08:00:09.000Z",
        "http_status": 404,
        "api_message": "no such workflow",
    }


@given(ANY_JOB, st.booleans())
def test_the_error_file_of_any_job_has_the_keys_of_the_contract(job: Job, has_source: bool) -> None:
    content = as_json(shown.error_file(job, has_source=has_source))
    told = {key for key in OPTIONAL_ERROR_KEYS if getattr(job, key) is not None}
    assert content.keys() == ERROR_KEYS | told


def test_an_error_file_without_its_file_says_so() -> None:
    assert "no longer in work" not in shown.error_file(FAILED, has_source=True)["message"]
    assert shown.error_file(FAILED, has_source=False)["message"].startswith("BulkGPT said no. ")
    assert "no longer in work" in shown.error_file(FAILED, has_source=False)["message"]


# --- the receipt ------------------------------------------------------------------------------------------------------


def test_the_receipt_says_what_was_sent_what_came_back_and_when() -> None:
    assert shown.receipt(DONE, has_source=True) == {
        "schema": 1,
        "job": "j0b",
        "route": "leads",
        "workflow_id": "w",
        "task_ids": ["t1", "t2"],
        "file": r"sub/k\xe4ufer\x0a.csv",
        "sha256": "5ha",
        "bytes": 24,
        "rows": 24,
        "attempts": 2,
        "first_seen": "2027-01-15T08:00:00.000Z",
        "submitted_at": "2027-01-15T08:00:01.000Z",
        "completed_at": "2027-01-15T08:00:02.000Z",
        "delivered_at": "2027-01-15T08:00:03.000Z",
        "rows_in": 24,
        "rows_ok": 20,
        "rows_failed": 4,
        "rows_out": 24,
        "result": r"k\xe4ufer\x0a.csv",
        "result_sha256": "re5",
    }


def test_a_receipt_without_the_original_says_so() -> None:
    assert shown.receipt(DONE, has_source=False) == shown.receipt(DONE, has_source=True) | {"source_lost": True}


def test_a_receipt_of_an_original_that_was_written_to_says_so() -> None:
    changed = shown.receipt(DONE, has_source=True, is_changed=True)
    assert changed == shown.receipt(DONE, has_source=True) | {"source_changed": True}


@given(ANY_JOB, st.booleans())
def test_the_receipt_of_any_job_has_the_keys_of_the_contract(job: Job, has_source: bool) -> None:
    content = as_json(shown.receipt(job, has_source=has_source))
    assert content.keys() == RECEIPT_KEYS | (set() if has_source else {"source_lost"})


# --- jobs --json ------------------------------------------------------------------------------------------------------


@given(ANY_JOB)
def test_the_row_of_any_job_has_at_least_the_keys_of_the_contract(job: Job) -> None:
    content = as_json(shown.row(job))
    assert content.keys() >= ROW_KEYS
    assert content["state"] in {"waiting", "submitting", "running", "delivering", "done", "failed", "withdrawn"}


@given(ANY_JOB)
def test_whatever_a_file_is_called_it_is_shown_on_one_harmless_line(job: Job) -> None:
    for content in (shown.row(job), shown.receipt(job, has_source=True), shown.error_file(job, has_source=True)):
        for key in ("file", "result", "archive", "error"):
            assert content.get(key) is None or content[key].isprintable()


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"state": State.FETCHED, "result_path": "r"}, {}),
        ({"state": State.DELIVERED, "result_path": "r", "delivered_at": NOW, "archive_path": "a"}, {"result": "r"}),
        (
            {"state": State.DONE, "result_path": "r", "delivered_at": NOW, "archive_path": "a"},
            {"result": "r", "archive": "a"},
        ),
        ({"state": State.FAILING, "error_path": "e"}, {}),
        ({"state": State.FAILED, "error_path": "e"}, {"error": "e"}),
    ],
)
def test_only_files_that_are_there_are_named(fields: dict[str, Any], names: dict[str, str]) -> None:
    content = shown.row(sample_job("j0b", **fields))
    assert {key: content[key] for key in ("result", "archive", "error") if content[key] is not None} == names


def test_what_waits_says_why_and_until_when() -> None:
    waits = shown.row(sample_job("j0b", state=State.READY, waits_for="HTTP 503", due_at=NOW))
    assert (waits["waits_for"], waits["next_try_at"]) == ("HTTP 503", "2027-01-15T08:00:00.000Z")
    assert shown.row(sample_job("j0b", state=State.READY, due_at=NOW))["next_try_at"] is None


def test_a_failed_job_is_told_with_its_advice() -> None:
    assert shown.row(FAILED)["what_to_do"] == shown.error_file(FAILED, has_source=True)["what_to_do"]
    assert shown.row(DONE)["what_to_do"] is None


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({"rows_ok": 20, "rows_total": 24}, 4),
        ({"rows_ok": 24, "rows_total": 24}, 0),
        ({"rows_ok": 20, "rows": 24}, 4),  # BulkGPT told no total
        ({"rows_ok": 25, "rows_total": 24}, 0),
        ({"rows_total": 24}, None),
        ({"rows_ok": 20}, None),
        ({"rows_ok": 20, "rows_total": 24, "completed_at": None}, None),  # not complete yet
    ],
)
def test_failed_rows_are_what_was_paid_without_a_good_answer(fields: dict[str, Any], failed: int | None) -> None:
    job = sample_job("j0b", **{"state": State.DONE, "completed_at": NOW} | fields)
    assert shown.rows_failed(job) == failed
    assert shown.is_partial(job) == bool(failed)


def test_only_a_delivered_job_is_partial() -> None:
    assert shown.is_partial(DONE)
    assert not shown.is_partial(sample_job("j0b", state=State.FAILED, rows_ok=1, rows_total=2, completed_at=NOW))


# --- times ------------------------------------------------------------------------------------------------------------


@given(TIMES)
def test_every_time_is_rfc3339_utc(at: float) -> None:
    text = shown.rfc3339(at)
    assert text is not None
    assert RFC3339.fullmatch(text)
    read = datetime.fromisoformat(text)
    assert read.tzinfo == UTC
    assert at - 0.0011 <= read.timestamp() <= at + 0.0001


def test_no_time_is_null() -> None:
    assert shown.rfc3339(None) is None
