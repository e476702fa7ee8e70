"""When the next effect of a job is due."""

from __future__ import annotations

from typing import Any

import pytest

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Stamp, State
from bulkgpt_watchd.core.lifecycle import advance
from tests.core.any_jobs import NOW, POLICY
from tests.sample_jobs import sample_job

STAMP = Stamp(inode=9, bytes=99, mtime_ns=999)


def due_s(state: State, event: Event, jitter: float = 0.0, **fields: Any) -> float | None:
    """Give the seconds until the next effect."""
    due_at = advance(sample_job("a", state=state, **fields), event, NOW, POLICY, jitter).due_at
    return None if due_at is None else due_at - NOW


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.DISCOVERED, e.Claimed(STAMP, is_settled=True)),
        (State.CLAIMED, e.Prepared(STAMP, "5ha", 1)),
        (State.CLAIMED, e.GaveUp("csv_empty", "empty")),
        (State.SUBMITTED, e.Finished()),
        (State.FINISHED, e.Fetched("r", "5ha", 1, 1)),
        (State.FETCHED, e.Retargeted("r-1")),
        (State.FETCHED, e.Delivered("a")),
        (State.FAILING, e.Retargeted("e")),
        (State.FAILED, e.Recalled(None, "e")),
        (State.RECALLED, e.Restored()),
        (State.RECALLED, e.Resumed()),
        (State.DONE, e.Reopened()),
    ],
)
def test_a_step_forward_is_followed_at_once(state: State, event: Event) -> None:
    assert due_s(state, event) == 0


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.READY, e.Passed("w")),
        (State.DISCOVERED, e.Vanished()),
        (State.DELIVERED, e.Archived()),
        (State.FAILING, e.Quarantined()),
        (State.FAILED, e.Abandoned()),
        (State.FAILED, e.Superseded("b")),
    ],
)
def test_nothing_is_due_for_what_has_ended_or_awaits_an_answer(state: State, event: Event) -> None:
    assert due_s(state, event) is None


@pytest.mark.parametrize(("failures", "seconds"), [(0, 5), (1, 10), (2, 20), (5, 160), (7, 600), (10**6, 600)])
@pytest.mark.parametrize("state", [State.DISCOVERED, State.CLAIMED, State.READY, State.SUBMITTING, State.FINISHED])
def test_the_backoff_doubles_from_retry_min_to_retry_max(state: State, failures: int, seconds: float) -> None:
    assert due_s(state, e.Deferred("later"), failures=failures) == seconds
    assert due_s(state, e.Deferred("later"), jitter=0.9, failures=failures) == max(5, seconds * 0.775)


@pytest.mark.parametrize("state", [State.READY, State.SUBMITTING])
def test_a_retry_after_wins_over_our_own_backoff(state: State) -> None:
    assert due_s(state, e.Deferred("HTTP 429", 1.0), failures=20) == 1
    assert due_s(state, e.Deferred("HTTP 429", 1800.0), failures=20) == 1800


@pytest.mark.parametrize("state", [State.READY, State.SUBMITTING, State.SUBMITTED, State.FINISHED])
def test_a_retry_after_is_obeyed_for_an_hour_at_most(state: State) -> None:
    """A wrong date must stop no file, and above all no paid one."""
    assert due_s(state, e.Deferred("HTTP 503", 3600.0)) == 3600
    assert due_s(state, e.Deferred("HTTP 503", 3601.0)) == 3600
    assert due_s(state, e.Deferred("HTTP 503", 365 * 86_400.0)) == 3600


def test_a_retry_after_of_zero_names_no_wait_and_starts_no_rush() -> None:
    assert due_s(State.SUBMITTING, e.Deferred("HTTP 429", 0.0), failures=2) == 20


def test_what_was_not_its_turn_is_looked_at_after_the_shortest_wait() -> None:
    assert due_s(State.READY, e.Deferred("paused", is_failure=False), failures=9) == 5


@pytest.mark.parametrize("state", [State.READY, State.SUBMITTING])
def test_what_the_gate_holds_has_no_wait_of_its_own(state: State) -> None:
    """It is tried as soon as the gate opens, and was no fault of the file."""
    job = sample_job("a", state=state, failures=9)
    held = advance(job, e.Deferred("HTTP 401", is_held=True), NOW, POLICY, 0.0)
    assert (held.due_at, held.failures, held.waits_for) == (NOW, 9, "HTTP 401")


@pytest.mark.parametrize("event", [e.Disturbed(STAMP), e.Claimed(STAMP, is_settled=False)])
def test_a_file_that_somebody_writes_to_has_to_be_quiet_again(event: Event) -> None:
    state = State.READY if isinstance(event, e.Disturbed) else State.DISCOVERED
    assert due_s(state, event) == 10


def test_a_new_task_is_asked_about_after_poll_min() -> None:
    assert due_s(State.SUBMITTING, e.Accepted("t1")) == 2


@pytest.mark.parametrize("event", [e.Progressed("inProgress"), e.TaskMissed("Invalid Task ID.")])
def test_a_running_task_is_asked_about_by_its_age(event: Event) -> None:
    assert due_s(State.SUBMITTED, event, submitted_at=NOW - 100) == pytest.approx(10)


def test_a_running_task_is_asked_about_by_what_is_just_told() -> None:
    """A quarter in a hundred seconds: three hundred to go, asked again at the half of it, but poll.max is a minute."""
    assert due_s(State.SUBMITTED, e.Progressed("inProgress", 6, None, 24), submitted_at=NOW - 100) == 60
    assert due_s(State.SUBMITTED, e.Progressed("inProgress", 23, None, 24), submitted_at=NOW - 230) == pytest.approx(5)


def test_a_task_is_asked_about_right_when_its_time_is_over() -> None:
    spent = {"patience_s": POLICY.task_timeout_s - 20, "asked_at": NOW, "submitted_at": NOW - 86_400}
    assert due_s(State.SUBMITTED, e.Progressed("inProgress"), **spent) == 20
