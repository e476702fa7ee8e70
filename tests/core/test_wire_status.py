"""What each answer to a status call means, and which errors are about the account."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.core import wire
from bulkgpt_watchd.core.errors import Denied, ReplyNotUnderstood, TaskNotKnown, Unavailable
from bulkgpt_watchd.core.wire import Phase, TaskStatus
from tests.core.test_wire import EVERY_CODE, HOSTILE, polled, reply


@pytest.mark.fault("F12")
@pytest.mark.parametrize(
    ("word", "phase"),
    [
        ("preparing", "running"),
        ("inProgress", "running"),
        ("finalizing", "running"),
        ("completed", "completed"),
        ("error", "error"),
        ("canceled", "canceled"),
        ("paused", "unknown"),
        ("Completed", "unknown"),
    ],
)
def test_every_status_word_has_a_phase(word: str, phase: Phase) -> None:
    assert polled(reply(200, {"status": {"status": word}})) == TaskStatus(word, phase, None, None, None, None)


def test_the_sample_of_the_vendor_is_read() -> None:
    answer = {
        "status": {
            "status": "completed",
            "numOfTasksCompleted": 24,
            "numOfTaskSuccess": 23,
            "totalNumOfTasks": 25,
            "downloadUrl": "https://example.com/output.csv?signature=a%2Fb",
        }
    }
    url = "https://example.com/output.csv?signature=a%2Fb"

    assert polled(reply(200, answer)) == TaskStatus("completed", "completed", 24, 23, 25, url)


@pytest.mark.parametrize(
    ("count", "rows"),
    [(0, 0), (24.0, 24), (-1, None), (2.5, None), ("24", None), (True, None), ([], None), (None, None), (10**10, None)],
)
def test_a_counter_that_is_no_count_is_not_told(count: object, rows: int | None) -> None:
    status = polled(reply(200, {"status": {"status": "inProgress", "totalNumOfTasks": count}}))

    assert isinstance(status, TaskStatus)
    assert status.rows_total == rows


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 4_000])
def test_a_counter_beyond_all_numbers_is_not_told(number: bytes) -> None:
    status = polled(reply(200, b'{"status": {"status": "inProgress", "numOfTaskSuccess": %b}}' % number))

    assert isinstance(status, TaskStatus)
    assert status.rows_ok is None


@pytest.mark.parametrize("url", [None, 7, "", " ", "https://x/\n", "https://x/\ud800", "https://x/" + "a" * 8_000])
def test_a_link_that_cannot_be_one_is_not_told(url: object) -> None:
    status = polled(reply(200, {"status": {"status": "completed", "downloadUrl": url}}))

    assert status == TaskStatus("completed", "completed", None, None, None, None)


def test_a_status_counts_more_than_an_error_beside_it() -> None:
    assert isinstance(polled(reply(200, {"status": {"status": "error"}, "error": "Invalid API key"})), TaskStatus)


@pytest.mark.parametrize("code", [200, 400, 404])
def test_an_unknown_task_is_told_in_the_words_of_the_api(code: int) -> None:
    answer = polled(reply(code, {"error": "Invalid Task ID."}))

    assert isinstance(answer, TaskNotKnown)
    assert str(answer) == "Invalid Task ID."


def test_a_status_call_that_failed_concludes_nothing_about_the_task() -> None:
    for code in EVERY_CODE:
        answer = polled(reply(code, b"<html>no</html>"))

        if code in {408, 429, 499} or code >= 500:
            expected: type = Unavailable
        elif 300 <= code < 500:
            expected = Denied
        else:
            expected = ReplyNotUnderstood
        assert type(answer) is expected, code


def test_a_status_call_with_a_bad_key_is_denied() -> None:
    for code in (200, 400, 401, 402, 403):
        answer = polled(reply(code, {"error": "Invalid API key"}))

        assert isinstance(answer, Denied)
        assert (answer.http_status, answer.api_message) == (code, "Invalid API key")
    assert isinstance(polled(reply(403, {"error": "Invalid Task ID."})), Denied)
    assert isinstance(polled(reply(503, {"error": "Invalid API key"})), Unavailable)


@pytest.mark.fault("S21")
@pytest.mark.parametrize("body", HOSTILE)
def test_a_hostile_answer_to_a_status_call_is_not_understood(body: bytes) -> None:
    assert isinstance(polled(reply(200, body)), ReplyNotUnderstood)


@pytest.mark.parametrize(
    "text",
    [
        "Invalid API key",
        "Invalid api_key.",
        "API-Key missing",
        "Missing x-api-key header",
        "The header 'x-api-key' is required",
        "Invalid key",
        "Your key has been revoked",
        "Key not found",
        "Unauthorized",
        "You are not authorised to do this",
        "Authentication failed",
        "Forbidden",
        "Access token expired",
        "You have run out of credits.",
        "Insufficient credits to process 1000 rows",
        "You've used all credits, don't forget to top up",
        "Not enough credit",
        "Quota exceeded",
        "Monthly quota of 'pro' reached",
        "Your current plan does not allow API access",
        "Plan limit reached",
        "Subscription expired",
        "Please update your billing details",
        "Payment required",
        "Insufficient balance",
        "Your free trial has ended",
        "Account is suspended",
        "Rate limit exceeded",
        "Too many requests",
        "Daily limit reached",
    ],
)
def test_errors_about_key_credit_quota_or_plan_are_about_the_account(text: str) -> None:
    assert wire.is_about_account(text)
    assert wire.is_about_account(text.upper())


@pytest.mark.parametrize(
    "text",
    [
        "Invalid Task ID.",
        "Invalid workflow ID",
        "Workflow not found",
        "Workflow 'Credit check' is disabled",
        'Workflow "Travel plan" not found',
        "Workflow v0#Workflow#plan_b#1721762149339 not found",
        "CSV has invalid key column",
        "Missing required column: plan",
        "Column 'api key' is missing",
        "Field billing is empty in row 3",
        "Unknown key 'csv' in request",
        "The monkey is out",
        "Row limit exceeded",
        "File too large: the limit is 20 MB",
        "CSV could not be parsed",
        "No rows",
        "Internal error",
        "explanation missing",
        "",
    ],
)
def test_errors_about_file_task_or_workflow_are_not_about_the_account(text: str) -> None:
    assert not wire.is_about_account(text)


@pytest.mark.fault("S22")
def test_a_long_text_is_cut_after_it_was_made_harmless() -> None:
    assert wire.clean("a" * 500) == "a" * 500
    assert wire.clean("a" * 501) == "a" * 499 + "…"
    assert len(wire.clean("\u202e" * 1_000_000, 100)) == 100
