"""The same bytes again: what is refused, and what may simply be dropped (contract: `duplicate`, and moving back)."""

from __future__ import annotations

from typing import Any

import pytest

from bulkgpt_watchd.core.duplicates import DuplicateRule, obstacle, superseded
from bulkgpt_watchd.core.job import Job, State
from tests.core.any_jobs import NOW
from tests.sample_jobs import sample_job

WINDOW_S = 12 * 3600
RULE = DuplicateRule(is_on=True, workflow_id="w", since=NOW - WINDOW_S)
OFF = DuplicateRule(is_on=False, workflow_id="w", since=NOW - WINDOW_S)
JOB = sample_job("new", state=State.READY, sha256="5ha", created_at=NOW)
LATELY = {"ended_at": NOW - 60}
LONG_AGO = {"ended_at": NOW - WINDOW_S - 1}
SENT = {"task_id": "t1", "workflow_id": "w"}

PAID_WITHOUT_RESULT = (
    "task_timeout",
    "task_unknown",
    "task_id_conflict",
    "task_partial",
    "result_unavailable",
    "result_invalid",
    "internal_error",
)
REFUSED = (
    "csv_invalid",
    "csv_encoding",
    "csv_empty",
    "too_large",
    "too_many_rows",
    "marker_mismatch",
    "duplicate",
    "rejected",
    "source_lost",
    "internal_error",
)
"""Codes of files that were certainly not accepted: they have no task ID."""


def twin(state: State, **fields: Any) -> Job:
    return sample_job("old", **{"state": state, "sha256": "5ha", "created_at": NOW - 600} | fields)


def stops(other: Job, rule: DuplicateRule = RULE, *, job: Job = JOB, is_moved_back: bool = False) -> bool:
    found = obstacle(job, [other], rule, {other.id} if is_moved_back else ())
    assert found in {None, other}
    return found is not None


# --- under way --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [State.SUBMITTING, State.SUBMITTED, State.FINISHED, State.FETCHED, State.DELIVERED, State.RECALLED]
)
def test_a_job_that_was_sent_and_is_under_way_stands_in_the_way_whoever_came_first(state: State) -> None:
    assert stops(twin(state, **SENT))
    assert stops(twin(state, **SENT, created_at=NOW + 1))


@pytest.mark.parametrize("state", [State.CLAIMED, State.READY, State.RECALLED])
def test_of_two_that_were_not_sent_the_older_goes_first(state: State) -> None:
    """Or each would refuse the other."""
    older, younger = twin(state, created_at=NOW - 1), twin(state, created_at=NOW + 1)
    assert (stops(older), stops(younger)) == (True, False)
    assert (obstacle(older, [JOB], RULE), obstacle(younger, [JOB], RULE)) == (None, JOB)


def test_of_two_of_one_moment_exactly_one_goes_first() -> None:
    other = twin(State.READY, created_at=NOW)
    assert stops(other) is not (obstacle(other, [JOB], RULE) is JOB)


# --- in doubt ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [LATELY, LONG_AGO])
@pytest.mark.parametrize("state", [State.FAILING, State.FAILED])
def test_a_doubt_stands_in_the_way_however_old_it_is(state: State, when: dict[str, float]) -> None:
    assert stops(twin(state, code="submission_unknown", workflow_id="w", **when))


# --- within the window ------------------------------------------------------------------------------------------------


def test_a_done_job_stands_in_the_way_within_the_window() -> None:
    assert stops(twin(State.DONE, **SENT, **LATELY))
    assert not stops(twin(State.DONE, **SENT, **LONG_AGO))


def test_the_window_ends_to_the_second() -> None:
    assert stops(twin(State.DONE, **SENT, ended_at=NOW - WINDOW_S))


@pytest.mark.parametrize("code", PAID_WITHOUT_RESULT)
@pytest.mark.parametrize("state", [State.FAILING, State.FAILED])
def test_a_paid_job_without_its_result_stands_in_the_way_within_the_window(state: State, code: str) -> None:
    assert stops(twin(state, code=code, **SENT, **LATELY))
    assert not stops(twin(state, code=code, **SENT, **LONG_AGO))


# --- may simply be dropped again --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("state", [State.FAILING, State.FAILED])
def test_what_was_refused_may_be_dropped_again(state: State, code: str) -> None:
    assert not stops(twin(state, code=code, **LATELY))


@pytest.mark.parametrize("code", ["task_error", "task_canceled"])
def test_what_ended_in_error_at_bulkgpt_may_be_dropped_again(code: str) -> None:
    assert not stops(twin(State.FAILED, code=code, **SENT, **LATELY))


@pytest.mark.parametrize(
    ("code", "fields"), [("submission_unknown", {}), ("task_id_conflict", SENT), ("task_timeout", SENT)]
)
def test_what_was_abandoned_may_be_dropped_again(code: str, fields: dict[str, Any]) -> None:
    assert not stops(twin(State.FAILED, code=code, is_closed=True, **fields, **LATELY))


@pytest.mark.parametrize(
    "other",
    [
        twin(State.SUBMITTED, task_id="t1", workflow_id="another"),
        twin(State.SUBMITTED, sha256="other bytes", **SENT),
        twin(State.FAILED, code="submission_unknown", sha256="other bytes"),
    ],
)
def test_other_bytes_and_another_workflow_are_no_duplicate(other: Job) -> None:
    assert not stops(other)


@pytest.mark.parametrize(
    "other",
    [twin(State.SUBMITTED, **SENT), twin(State.DONE, **SENT, **LATELY), twin(State.FAILED, code="submission_unknown")],
)
def test_a_route_may_pay_again_on_purpose_and_so_may_a_person(other: Job) -> None:
    assert not stops(other, OFF)
    allowed = sample_job("new", state=State.READY, sha256="5ha", may_pay_again=True)
    assert not stops(other, job=allowed)


def test_the_first_of_many_that_stands_in_the_way_is_named() -> None:
    refused = twin(State.FAILED, code="rejected", **LATELY)
    done = sample_job("done", state=State.DONE, sha256="5ha", **SENT, **LATELY)
    assert obstacle(JOB, [refused, done], RULE) is done


# --- moved back from error --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [LATELY, LONG_AGO])
@pytest.mark.parametrize("rule", [RULE, OFF])
@pytest.mark.parametrize(
    "undecided",
    [
        {"code": "submission_unknown"},
        *({"code": code, "task_id": "t1"} for code in (*PAID_WITHOUT_RESULT, "task_error", "task_canceled")),
    ],
)
@pytest.mark.parametrize("workflow_id", ["w", "of another time"])
def test_a_file_moved_back_is_refused_while_its_job_is_in_doubt_or_holds_a_task(
    when: dict[str, float], rule: DuplicateRule, undecided: dict[str, Any], workflow_id: str
) -> None:
    other = twin(State.FAILED, workflow_id=workflow_id, **undecided, **when)
    assert stops(other, rule, is_moved_back=True)
    assert superseded([other], {other.id}) == ()


@pytest.mark.parametrize("code", REFUSED)
def test_any_other_file_moved_back_is_a_fresh_job_and_takes_over_from_its_old_one(code: str) -> None:
    other = twin(State.FAILED, code=code, **LATELY)
    assert not stops(other, is_moved_back=True)
    assert superseded([other], {other.id}) == ("old",)


@pytest.mark.parametrize(("code", "task_id"), [("submission_unknown", None), ("task_id_conflict", "t1")])
def test_an_abandoned_file_moved_back_is_a_fresh_job_too(code: str, task_id: str | None) -> None:
    other = twin(State.FAILED, code=code, task_id=task_id, is_closed=True, **LATELY)
    assert not stops(other, is_moved_back=True)
    assert superseded([other], {other.id}) == ("old",)


def test_a_corrected_file_moved_back_takes_over_from_its_old_job() -> None:
    other = twin(State.FAILED, code="csv_invalid", sha256="the wrong bytes", **LATELY)
    assert not stops(other, is_moved_back=True)
    assert superseded([other], {other.id}) == ("old",)


def test_another_file_of_that_name_is_not_refused_for_a_doubt() -> None:
    """Tomorrow's orders.csv is not today's, though somebody deleted today's from the error folder."""
    other = twin(State.FAILED, code="submission_unknown", sha256="the bytes of today", **LATELY)
    assert not stops(other, is_moved_back=True)
    assert superseded([other], {other.id}) == ()


def test_a_doubt_whose_bytes_nobody_knows_is_told_by_its_size() -> None:
    """It was found in work without a state: moving it back must not pay it twice."""
    unknown = twin(State.FAILED, code="submission_unknown", sha256=None, size_bytes=JOB.size_bytes, **LATELY)
    assert stops(unknown, is_moved_back=True)
    other_size = twin(State.FAILED, code="submission_unknown", sha256=None, size_bytes=JOB.size_bytes + 1, **LATELY)
    assert not stops(other_size, is_moved_back=True)


def test_a_failed_job_whose_file_is_still_in_error_is_not_taken_over() -> None:
    assert superseded([twin(State.FAILED, code="csv_invalid", **LATELY)], ()) == ()
