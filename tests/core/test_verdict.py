"""What BulkGPT's answers about a task mean (contract: outcomes)."""

from __future__ import annotations

from typing import Any

import pytest

from bulkgpt_watchd.core.events import Deferred, Event, Finished, GaveUp, Progressed, TaskMissed
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.lifecycle import advance
from bulkgpt_watchd.core.policy import UNKNOWN_TASK_PATIENCE_S
from bulkgpt_watchd.core.verdict import of_status, of_unknown_task
from bulkgpt_watchd.core.wire import TaskStatus
from tests.core.any_jobs import DAY_S, NOW, POLICY
from tests.sample_jobs import sample_job

URL = "https://store.example/r.csv"
RUNNING = TaskStatus("inProgress", "running", 12, 11, 24, None)
STRANGE = TaskStatus("dreaming", "unknown", None, None, None, None)
COMPLETED = TaskStatus("completed", "completed", 24, 24, 24, URL)
WITHOUT_LINK = TaskStatus("completed", "completed", 24, 24, 24, None)
WITHOUT_COUNTERS = TaskStatus("completed", "completed", None, None, None, URL)
IMPATIENT: dict[str, Any] = {"patience_s": POLICY.task_timeout_s, "asked_at": NOW}
PATIENT: dict[str, Any] = {"patience_s": POLICY.task_timeout_s - 1, "asked_at": NOW}


def task(state: State = State.SUBMITTED, **fields: Any) -> Job:
    return sample_job("a", **{"state": state, "task_id": "t1", "rows": 24, "asked_at": NOW} | fields)


def verdict(job: Job, status: TaskStatus, *, takes_partial: bool = True) -> Event:
    return of_status(job, status, NOW, POLICY, takes_partial=takes_partial)


def code_of(event: Event) -> str | None:
    return event.code if isinstance(event, GaveUp) else None


def rows(ok: int | None, total: int | None, url: str | None = URL) -> TaskStatus:
    return TaskStatus("completed", "completed", total, ok, total, url)


# --- how it ended -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FINISHED])
@pytest.mark.parametrize("phase", ["error", "canceled"])
def test_a_task_that_ended_at_bulkgpt_is_told_so_with_its_word(state: State, phase: Any) -> None:
    event = verdict(task(state), TaskStatus(phase, phase, 24, 24, 24, URL))
    assert code_of(event) == f"task_{phase}"
    assert phase in (event.message if isinstance(event, GaveUp) else "")


def test_a_complete_task_with_a_link_is_finished_with_its_counters() -> None:
    assert verdict(task(), COMPLETED) == Finished(24, 24, 24)


def test_missing_counters_are_no_fault() -> None:
    for takes_partial in (True, False):
        assert verdict(task(), WITHOUT_COUNTERS, takes_partial=takes_partial) == Finished()


def test_a_link_before_the_end_is_no_result() -> None:
    early = TaskStatus("finalizing", "running", 24, 24, 24, URL)
    assert verdict(task(), early) == Progressed("finalizing", 24, 24, 24)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_partial", [True, False])
def test_no_row_ok_at_all_is_a_task_error(takes_partial: bool) -> None:
    for total in (24, None):
        assert code_of(verdict(task(), rows(0, total), takes_partial=takes_partial)) == "task_error"


def test_failed_rows_are_delivered_unless_the_route_says_error() -> None:
    assert isinstance(verdict(task(), rows(20, 24)), Finished)
    event = verdict(task(), rows(20, 24), takes_partial=False)
    assert code_of(event) == "task_partial"
    assert "4" in (event.message if isinstance(event, GaveUp) else "")


def test_without_a_total_the_rows_that_were_sent_count() -> None:
    assert code_of(verdict(task(rows=24), rows(20, None), takes_partial=False)) == "task_partial"
    assert isinstance(verdict(task(rows=20), rows(20, None), takes_partial=False), Finished)
    assert isinstance(verdict(task(rows=None), rows(20, None), takes_partial=False), Finished)


def test_more_rows_ok_than_sent_are_delivered_and_told() -> None:
    assert verdict(task(rows=20), rows(24, 20), takes_partial=False) == Finished(20, 24, 20)


# --- waited out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RUNNING, STRANGE, WITHOUT_LINK])
def test_what_is_not_complete_with_a_link_is_waited_out(status: TaskStatus) -> None:
    event = verdict(task(**PATIENT), status)
    assert event == Progressed(status.word, status.rows_done, status.rows_ok, status.rows_total)


@pytest.mark.parametrize("status", [RUNNING, STRANGE, WITHOUT_LINK])
def test_a_task_that_was_complete_and_is_not_now_is_waited_for(status: TaskStatus) -> None:
    assert isinstance(verdict(task(State.FINISHED, **PATIENT), status), Deferred)


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FINISHED])
@pytest.mark.parametrize(
    ("status", "code"), [(RUNNING, "task_timeout"), (STRANGE, "task_timeout"), (WITHOUT_LINK, "result_unavailable")]
)
def test_after_task_timeout_a_readable_answer_ends_the_wait(state: State, status: TaskStatus, code: str) -> None:
    assert code_of(verdict(task(state, **IMPATIENT), status)) == code


def test_the_time_since_the_last_answer_counts_too() -> None:
    almost_s = POLICY.task_timeout_s - 60
    assert isinstance(verdict(task(patience_s=almost_s, asked_at=NOW - 59), RUNNING), Progressed)
    assert code_of(verdict(task(patience_s=almost_s, asked_at=NOW - 60), RUNNING)) == "task_timeout"


def test_a_result_that_comes_after_task_timeout_is_taken_all_the_same() -> None:
    assert isinstance(verdict(task(**IMPATIENT), COMPLETED), Finished)


def test_days_without_an_answer_time_no_task_out() -> None:
    silent = task(patience_s=0.0, asked_at=NOW - 30 * DAY_S)
    assert isinstance(verdict(silent, RUNNING), Progressed)


# --- not known --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FINISHED])
def test_a_task_that_is_not_known_is_waited_out_for_some_minutes_then_believed(state: State) -> None:
    text = "Invalid Task ID."
    assert of_unknown_task(task(state, unknown_s=UNKNOWN_TASK_PATIENCE_S - 1), text, NOW, POLICY) == TaskMissed(text)
    event = of_unknown_task(task(state, unknown_s=UNKNOWN_TASK_PATIENCE_S), text, NOW, POLICY)
    assert code_of(event) == "task_unknown"
    assert isinstance(event, GaveUp)
    assert event.api_message == text


# --- every walk ends --------------------------------------------------------------------------------------------------


def walk(state: State, status: TaskStatus | None, *, limit: int) -> tuple[str | None, float, int]:
    """Ask again and again, as often as it is due; None: the task is not known. Give code, days and questions."""
    job, now = task(state, submitted_at=NOW), NOW
    for asked in range(1, limit):
        now = job.due_at if asked > 1 and job.due_at is not None else now
        event = (
            of_unknown_task(job, "Invalid Task ID.", now, POLICY)
            if status is None
            else of_status(job, status, now, POLICY, takes_partial=True)
        )
        job = advance(job, event, now, POLICY, 0.0)
        if job.state is State.FAILING:
            return job.code, (now - NOW) / DAY_S, asked
    return None, (now - NOW) / DAY_S, limit


@pytest.mark.parametrize(
    ("status", "code"), [(RUNNING, "task_timeout"), (STRANGE, "task_timeout"), (WITHOUT_LINK, "result_unavailable")]
)
def test_a_task_that_never_completes_is_given_up_after_task_timeout(status: TaskStatus, code: str) -> None:
    ended, days, _ = walk(State.SUBMITTED, status, limit=20_000)
    assert ended == code
    assert days == pytest.approx(7, abs=0.01)


def test_a_task_that_stops_being_complete_is_given_up_in_the_end() -> None:
    ended, days, _ = walk(State.FINISHED, RUNNING, limit=20_000)
    assert ended == "task_timeout"
    assert days >= 7


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FINISHED])
def test_a_task_that_stays_unknown_is_given_up_after_a_quarter_of_an_hour(state: State) -> None:
    ended, days, _ = walk(state, None, limit=1_000)
    assert ended == "task_unknown"
    assert days * DAY_S == pytest.approx(UNKNOWN_TASK_PATIENCE_S, abs=120)
