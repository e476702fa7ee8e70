"""What each event writes into a job: counters, task IDs, paths and verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.lifecycle import advance
from bulkgpt_watchd.core.policy import SILENCE_COUNTS_AT_MOST_S
from tests.core.any_jobs import NOW, POLICY
from tests.sample_jobs import sample_job

STAMP = Stamp(inode=9, bytes=99, mtime_ns=999)
OUTAGE = e.Deferred("HTTP 503")


def after(job: Job, *events: Event, now: float = NOW) -> Job:
    for event in events:
        job = advance(job, event, now, POLICY, 0.0)
    return job


def job_in(state: State, **fields: Any) -> Job:
    return sample_job("a", state=state, **fields)


# --- intake -----------------------------------------------------------------------------------------------------------


def test_the_stamp_of_a_claimed_file_is_what_it_was_in_work() -> None:
    assert after(job_in(State.DISCOVERED), e.Claimed(STAMP, is_settled=True)).stamp == STAMP


def test_what_the_check_found_is_kept() -> None:
    ready = after(job_in(State.CLAIMED), e.Prepared(STAMP, "5ha", rows=24))
    assert (ready.stamp, ready.sha256, ready.rows) == (STAMP, "5ha", 24)


def test_what_the_check_found_is_forgotten_when_somebody_writes_to_the_file() -> None:
    """Its old hash would refuse another file as the duplicate of bytes that are no longer there."""
    claimed = after(job_in(State.READY, sha256="5ha", rows=24), e.Disturbed(STAMP))
    assert (claimed.stamp, claimed.sha256, claimed.rows) == (STAMP, None, None)


def test_a_file_taken_back_has_ended() -> None:
    assert after(job_in(State.DISCOVERED), e.Vanished()).ended_at == NOW


# --- attempts and failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "attempts"),
    [
        ([e.Deferred("connection refused")], 1),
        ([e.Deferred("paused", is_failure=False)], 0),
        ([e.Disturbed(STAMP)], 0),
        ([e.Passed("w")], 1),
        ([e.Passed("w"), e.Accepted("t1")], 1),
        ([e.Passed("w"), e.Deferred("HTTP 429"), e.Passed("w"), e.Deferred("HTTP 429")], 2),
        ([OUTAGE, OUTAGE, e.Passed("w"), e.GaveUp("submission_unknown", "no answer")], 3),
        ([e.Accepted("t1")], 1),
        ([e.GaveUp("rejected", "no such workflow", http_status=404)], 1),
        ([e.GaveUp("duplicate", "same bytes as job b")], 0),
    ],
)
def test_attempts_count_the_submits_that_were_tried(events: list[Event], attempts: int) -> None:
    assert after(job_in(State.READY), *events).attempts == attempts


def test_a_refusal_after_the_point_of_no_return_does_not_start_the_backoff_anew() -> None:
    job = job_in(State.READY)
    for failures in (1, 2, 3, 4):
        job = after(job, e.Passed("w"), e.Deferred("HTTP 429"))
        assert job.failures == failures


def test_waiting_for_a_turn_is_no_failure() -> None:
    job = after(job_in(State.READY, failures=3), e.Deferred("paused", is_failure=False))
    assert (job.failures, job.waits_for) == (3, "paused")


@pytest.mark.parametrize(
    ("state", "progress"),
    [
        (State.DISCOVERED, e.Claimed(STAMP, is_settled=True)),
        (State.CLAIMED, e.Prepared(STAMP, "5ha", rows=1)),
        (State.SUBMITTING, e.Accepted("t1")),
        (State.SUBMITTED, e.Progressed("inProgress")),
        (State.SUBMITTED, e.Finished()),
        (State.FINISHED, e.Fetched("/out/a.csv", "5ha", 24, 24)),
        (State.FETCHED, e.Delivered("/archive/a.csv")),
        (State.FAILING, e.Quarantined()),
        (State.RECALLED, e.Restored()),
    ],
)
def test_progress_ends_the_backoff_and_the_waiting(state: State, progress: Event) -> None:
    waits = after(job_in(state, failures=6), OUTAGE) if state is not State.SUBMITTING else job_in(state, failures=7)
    assert waits.failures == 7
    moved_on = after(waits, progress)
    assert (moved_on.failures, moved_on.waits_for) == (0, None)


@pytest.mark.parametrize("state", [State.FETCHED, State.DELIVERED, State.FAILING])
def test_another_target_name_is_no_progress(state: State) -> None:
    assert after(job_in(state, failures=4), e.Retargeted("/x/a-1.csv")).failures == 4


def test_a_job_that_is_being_sent_waits_for_nothing() -> None:
    assert after(job_in(State.READY), OUTAGE, e.Passed("w")).waits_for is None


def test_bodies_that_are_no_csv_are_counted_until_the_task_finishes_anew() -> None:
    """A cut or an outage in between is no whole body: it starts no new count, or the count would have no end."""
    bad = e.Deferred("an XML body", is_bad_result=True, is_answer=True)
    job = after(job_in(State.FINISHED), bad, OUTAGE, bad)
    assert job.bad_results == 2
    assert after(replace(job, state=State.SUBMITTED), e.Finished()).bad_results == 0


# --- what BulkGPT said ------------------------------------------------------------------------------------------------


def test_the_workflow_is_fixed_at_the_point_of_no_return() -> None:
    assert after(job_in(State.READY), e.Passed("w1"), e.Deferred("HTTP 429"), e.Passed("w2")).workflow_id == "w2"


def test_an_accepted_task_starts_with_full_patience() -> None:
    job = after(job_in(State.SUBMITTING, patience_s=50.0, unknown_s=50.0), e.Accepted("t1"))
    assert (job.task_id, job.submitted_at, job.asked_at) == ("t1", NOW, NOW)
    assert (job.patience_s, job.unknown_s) == (0.0, 0.0)


def test_counters_that_are_not_told_stay_as_they_were() -> None:
    job = after(
        job_in(State.SUBMITTED), e.Progressed("inProgress", 3, 2, 24), e.Progressed("inProgress"), e.Finished(24)
    )
    assert (job.rows_done, job.rows_ok, job.rows_total, job.completed_at) == (24, 2, 24, NOW)


def test_hours_without_the_api_count_as_one_short_wait() -> None:
    job = after(job_in(State.SUBMITTED, asked_at=NOW), *[OUTAGE] * 50, now=NOW + 30 * 86_400)
    assert job.patience_s == 0.0
    job = after(job, e.Progressed("inProgress"), now=NOW + 30 * 86_400)
    assert job.patience_s == SILENCE_COUNTS_AT_MOST_S


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FINISHED])
def test_an_unknown_task_ends_its_patience_until_it_is_known_again(state: State) -> None:
    missed = after(
        after(job_in(state, asked_at=NOW), e.TaskMissed("Invalid Task ID."), now=NOW + 60),
        e.TaskMissed("Invalid Task ID."),
        now=NOW + 100,
    )
    assert (missed.unknown_s, missed.patience_s, missed.api_message) == (100.0, 100.0, "Invalid Task ID.")
    known = after(replace(missed, state=State.SUBMITTED), e.Progressed("inProgress"), now=NOW + 110)
    assert (known.unknown_s, known.patience_s, known.api_message) == (0.0, 110.0, None)
    finished = after(replace(missed, state=State.SUBMITTED), e.Finished(), now=NOW + 110)
    assert (finished.unknown_s, finished.patience_s, finished.api_message) == (0.0, 0.0, None)


# --- moves ------------------------------------------------------------------------------------------------------------


def test_what_was_fetched_is_kept() -> None:
    job = after(job_in(State.FINISHED), e.Fetched("/out/a.csv", "5ha", 240, 23))
    assert (job.result_path, job.result_sha256, job.result_bytes, job.rows_out) == ("/out/a.csv", "5ha", 240, 23)


@pytest.mark.parametrize(
    ("state", "field"),
    [(State.FETCHED, "result_path"), (State.DELIVERED, "archive_path"), (State.FAILING, "error_path")],
)
def test_a_new_target_name_is_that_of_the_move_at_hand(state: State, field: str) -> None:
    paths = {"result_path": "r", "archive_path": "a", "error_path": "e"}
    job = after(job_in(state, **paths), e.Retargeted("new"))
    assert {name: getattr(job, name) for name in paths} == paths | {field: "new"}


def test_a_delivered_job_ends_in_the_archive() -> None:
    delivered = after(job_in(State.FETCHED), e.Delivered("/archive/a.csv"))
    assert (delivered.delivered_at, delivered.archive_path, delivered.ended_at) == (NOW, "/archive/a.csv", None)
    assert after(delivered, e.Archived(), now=NOW + 1).ended_at == NOW + 1


# --- verdicts and decisions -------------------------------------------------------------------------------------------


def test_a_verdict_keeps_what_is_known_and_chooses_its_place_anew() -> None:
    event = e.GaveUp("rejected", "no", line=7, http_status=400, api_message="nope", related_job="b", sha256="5ha")
    job = after(job_in(State.CLAIMED, error_path="/error/of-last-time.csv"), event)
    assert (job.code, job.message, job.line, job.http_status, job.api_message, job.related_job, job.sha256) == (
        ("rejected", "no", 7, 400, "nope", "b", "5ha")
    )
    assert (job.error_path, job.ended_at) == (None, NOW)


def test_a_verdict_on_a_recalled_file_leaves_it_the_place_that_it_has_in_error() -> None:
    recalled = job_in(State.RECALLED, error_path="/error/a.csv", task_id="t1")
    assert after(recalled, e.GaveUp("task_id_conflict", "held")).error_path == "/error/a.csv"


@pytest.mark.parametrize(
    ("had", "decided", "now_has", "earlier"),
    [
        (None, "t1", "t1", ()),
        ("t1", "t1", "t1", ()),
        ("t1", None, None, ("t1",)),
        ("t1", "t2", "t2", ("t1",)),
        (None, None, None, ()),
    ],
)
def test_a_decision_loses_no_task_id(
    had: str | None, decided: str | None, now_has: str | None, earlier: tuple[str, ...]
) -> None:
    job = after(job_in(State.FAILED, task_id=had), e.Recalled(decided, "/error/a.csv"))
    assert (job.task_id, job.earlier_task_ids) == (now_has, earlier)


def test_an_earlier_task_that_is_the_present_one_again_is_named_once() -> None:
    job = after(job_in(State.FAILED, earlier_task_ids=("t1", "t2")), e.Recalled("t1", None))
    assert job.task_ids == ("t2", "t1")


def test_a_decision_forgets_the_verdict_and_keeps_what_was_decided() -> None:
    failed = after(
        job_in(State.SUBMITTING, bad_results=2),
        e.GaveUp("task_partial", "3 rows", line=1, http_status=200, api_message="x", related_job="b"),
        e.Quarantined(),
        e.Abandoned(),
    )
    job = after(failed, e.Recalled(None, "/error/a.csv", may_pay_again=True, takes_partial=True))
    forgotten = ("code", "message", "line", "http_status", "api_message", "related_job", "ended_at")
    assert {getattr(job, name) for name in forgotten} == {None}
    assert (job.is_closed, job.bad_results) == (False, 0)
    assert (job.error_path, job.may_pay_again, job.takes_partial) == ("/error/a.csv", True, True)
    once_more = after(replace(job, state=State.FAILED), e.Recalled(None, None))
    assert (once_more.may_pay_again, once_more.takes_partial) == (False, False)


TASK_FACTS: dict[str, Any] = {
    "rows_done": 24,
    "rows_ok": 20,
    "rows_total": 24,
    "submitted_at": NOW - 9,
    "completed_at": NOW - 5,
}


@pytest.mark.parametrize("decided", [None, "t2"])
def test_what_one_task_did_is_never_told_of_the_next(decided: str | None) -> None:
    job = after(job_in(State.FAILED, task_id="t1", **TASK_FACTS), e.Recalled(decided, None))
    assert {getattr(job, name) for name in TASK_FACTS} == {None}


def test_a_task_that_is_asked_about_again_keeps_what_it_did() -> None:
    job = after(job_in(State.FAILED, task_id="t1", **TASK_FACTS), e.Recalled("t1", None), e.Resumed())
    assert {name: getattr(job, name) for name in TASK_FACTS} == TASK_FACTS


@pytest.mark.parametrize(("decided", "workflow_id"), [(None, None), ("t1", "w")])
def test_a_file_to_be_sent_again_takes_the_workflow_of_then(decided: str | None, workflow_id: str | None) -> None:
    doubt = job_in(State.FAILED, code="submission_unknown", workflow_id="w")
    assert after(doubt, e.Recalled(decided, None)).workflow_id == workflow_id


def test_a_resumed_task_is_as_old_as_it_is_known_and_has_full_patience() -> None:
    job = after(job_in(State.RECALLED, task_id="t1", patience_s=9.0, unknown_s=9.0), e.Resumed())
    assert (job.submitted_at, job.asked_at, job.patience_s, job.unknown_s) == (NOW, NOW, 0.0, 0.0)
    assert after(job_in(State.RECALLED, task_id="t1", submitted_at=1.0), e.Resumed()).submitted_at == 1.0


def test_a_redelivery_takes_what_there_is() -> None:
    job = after(job_in(State.DONE, task_id="t1", ended_at=1.0, patience_s=9.0), e.Reopened())
    assert (job.state, job.takes_partial, job.ended_at, job.patience_s) == (State.SUBMITTED, True, None, 0.0)


def test_a_doubt_is_one_until_a_person_closes_it() -> None:
    failing = after(job_in(State.SUBMITTING), e.GaveUp("submission_unknown", "no answer"))
    failed = after(failing, e.Quarantined())
    assert failing.is_doubt
    assert failed.is_doubt
    assert not after(failed, e.Abandoned()).is_doubt
    assert not after(failed, e.Recalled(None, None)).is_doubt
    assert not after(job_in(State.SUBMITTING), e.GaveUp("rejected", "no")).is_doubt


def test_a_superseded_job_names_the_new_one() -> None:
    assert after(job_in(State.FAILED), e.Superseded("b")).superseded_by == "b"


def test_a_task_id_that_came_before_the_last_block_keeps_its_workflow() -> None:
    assert after(job_in(State.READY, workflow_id=None), e.Accepted("t1", "w1")).workflow_id == "w1"
    assert after(job_in(State.SUBMITTING, workflow_id="w1"), e.Accepted("t1")).workflow_id == "w1"
