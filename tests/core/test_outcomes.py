"""The codes with which a job fails (contract: outcomes)."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from bulkgpt_watchd.core.outcomes import ENDED_AT_BULKGPT, HOLDS_A_QUESTION, OUTCOMES, what_to_do

CODES = (
    *("csv_invalid", "csv_encoding", "csv_empty", "too_large", "too_many_rows", "marker_mismatch"),
    *("duplicate", "rejected", "submission_unknown", "task_id_conflict"),
    *("task_error", "task_canceled", "task_timeout", "task_unknown", "task_partial"),
    *("result_unavailable", "result_invalid", "source_lost", "internal_error"),
)


def advice(code: str) -> str:
    return what_to_do(code, job="j0b", route="leads", other="0th3r")


def test_there_are_the_codes_of_the_contract_and_no_others() -> None:
    assert sorted(OUTCOMES) == sorted(CODES)


@pytest.mark.parametrize("code", CODES)
def test_each_code_says_in_sentences_what_it_means_and_what_to_do(code: str) -> None:
    for text in (OUTCOMES[code].meaning, advice(code)):
        assert text[0].isupper() or text[0] == "`"
        assert text.endswith(".")
        assert "  " not in text


@pytest.mark.parametrize("code", CODES)
def test_each_advice_is_filled_for_the_job_at_hand(code: str) -> None:
    fields = {name for _, name, _, _ in Formatter().parse(OUTCOMES[code].what_to_do) if name is not None}
    assert fields <= {"job", "route", "other"}
    values = {"job": "j0b", "route": "leads", "other": "0th3r"}
    assert {name for name in fields if values[name] not in advice(code)} == set()
    assert not re.search(r"[{}]", advice(code))


def test_a_name_with_braces_is_only_a_name() -> None:
    assert "{job}" in what_to_do("rejected", job="j0b", route="{job}", other=None)


def test_without_another_job_the_advice_still_reads() -> None:
    assert "None" not in what_to_do("duplicate", job="j0b", route="leads", other=None)


@pytest.mark.parametrize("code", sorted(HOLDS_A_QUESTION))
def test_a_question_names_each_of_its_answers(code: str) -> None:
    for answer in ("--task-id", "--not-submitted", "--abandon"):
        assert answer in advice(code)
    assert "dashboard" in advice(code)
    assert "retry" not in advice(code)


def test_a_doubt_and_a_conflict_are_questions() -> None:
    assert {"submission_unknown", "task_id_conflict"} == HOLDS_A_QUESTION


def test_a_duplicate_names_the_commands_for_the_other_job() -> None:
    for command in ("resolve 0th3r", "redeliver 0th3r", "retry j0b --pay-again"):
        assert command in advice("duplicate")


@pytest.mark.parametrize("code", ["task_timeout", "task_unknown", "result_unavailable", "result_invalid"])
def test_what_is_paid_is_told_to_be_fetched_free(code: str) -> None:
    assert "free" in advice(code)
    assert "redeliver j0b" in advice(code)


def test_a_partial_result_is_handed_over_free() -> None:
    assert "redeliver j0b" in advice("task_partial")
    assert "free" in advice("task_partial")


@pytest.mark.parametrize("code", sorted(ENDED_AT_BULKGPT))
def test_what_ended_at_bulkgpt_is_told_to_cost_again(code: str) -> None:
    assert "billed again" in advice(code)
    assert "retry j0b --pay-again" in advice(code)
    assert "a copy" in advice(code)  # moved back from error it is refused: its job holds a task ID


def test_error_and_cancel_are_how_a_task_ends_at_bulkgpt() -> None:
    assert {"task_error", "task_canceled"} == ENDED_AT_BULKGPT
