"""Any walk through the table: what it may never break."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core import shown
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import TERMINAL, Job, Stamp, State
from bulkgpt_watchd.core.lifecycle import TRANSITIONS, advance
from tests.core.any_jobs import NOW, POLICY
from tests.sample_jobs import sample_job

STAMP = Stamp(inode=9, bytes=99, mtime_ns=999)
DOUBT = e.GaveUp("submission_unknown", "no answer")
ROUNDS: tuple[Event, ...] = (
    e.Claimed(STAMP, is_settled=True),
    e.Claimed(STAMP, is_settled=False),
    e.Disturbed(STAMP),
    e.Prepared(STAMP, "5ha", 24),
    e.Passed("w"),
    e.Accepted("t1"),
    e.Accepted("t2"),
    e.Deferred("HTTP 503"),
    e.Deferred("HTTP 429", 0.0),
    e.Deferred("HTTP 429", 30.0),
    e.Deferred("paused", is_failure=False),
    e.Deferred("an XML body", is_bad_result=True, is_answer=True),
    e.Progressed("inProgress"),
    e.Progressed("inProgress", 12, 11, 24),
    e.TaskMissed("Invalid Task ID."),
    e.Finished(),
    e.Finished(24, 20, 24),
    e.Fetched("/out/a.csv", "5ha", 24, 20),
    e.Retargeted("/x/a-1.csv"),
    e.Delivered("/archive/a.csv"),
    e.GaveUp("rejected", "no", http_status=400),
    DOUBT,
    e.Quarantined(),
    e.Recalled(None, "/error/a.csv", may_pay_again=True),
    e.Recalled("t1", "/error/a.csv"),
    e.Recalled("t3", "/error/a.csv", takes_partial=True),
    e.Restored(),
    e.Resumed(),
    e.Reopened(),
    e.Cleared(),
    e.Abandoned(),
)
ENDS: tuple[Event, ...] = (e.Vanished(), e.Archived(), e.NotRedelivered("task_unknown", "no"), e.Superseded("b"))
"""Drawn by the same walk; apart, for they end it."""


class Life:
    """One job, and what really became of its submits."""

    def __init__(self, start: State) -> None:
        self.now = NOW
        self.job = sample_job("a", state=start, created_at=NOW, changed_at=NOW)
        self.may_be_accepted = False  # a submit passed its point of no return; nobody has answered, or decided
        self.given: set[str] = set()  # task IDs that BulkGPT or a person named

    def step(self, choice: int) -> Job:
        """Do one of what can happen, and check what came of it."""
        possible = [event for event in (*ROUNDS, *ENDS) if type(event) in TRANSITIONS[self.job.state]]
        if not possible:
            return self.job
        event = possible[choice % len(possible)]
        self.now += choice % 7919
        self._follow(event)
        old, self.job = self.job, advance(self.job, event, self.now, POLICY, choice % 10 / 10)
        self._check(old, self.job)
        return self.job

    def _follow(self, event: Event) -> None:
        match event:
            case e.Passed():
                self.may_be_accepted = True
            case e.Accepted(task_id):
                self.may_be_accepted = False
                self.given.add(task_id)
            case e.Deferred() | e.GaveUp() if self.job.state is State.SUBMITTING:
                self.may_be_accepted = event is DOUBT
            case e.Recalled(task_id=decided):
                self.may_be_accepted = False
                self.given |= set() if decided is None else {decided}
            case e.Abandoned():
                self.may_be_accepted = False

    def _check(self, old: Job, new: Job) -> None:
        if self.may_be_accepted:
            assert new.state is State.SUBMITTING or new.is_doubt
        assert set(new.task_ids) == self.given
        assert len(new.task_ids) == len(self.given)
        assert (new.due_at is None) == (new.state in TERMINAL or new.state is State.SUBMITTING)
        assert (new.code is not None) == (new.state in {State.FAILING, State.FAILED})
        assert (new.ended_at is not None) == (new.state in TERMINAL | {State.FAILING})
        assert new.attempts >= old.attempts
        assert min(new.patience_s, new.unknown_s, new.failures) >= 0
        json.dumps(shown.row(new), allow_nan=False)


@settings(max_examples=400)
@given(st.sampled_from([State.DISCOVERED, State.CLAIMED, State.READY]), st.lists(st.integers(0, 10**6), max_size=80))
def test_no_walk_loses_a_task_a_doubt_a_verdict_or_the_next_effect(start: State, choices: list[int]) -> None:
    """
    Hold every walk to what the daemon lives by.

    What may have been accepted is awaited or a doubt; no task ID is lost, or named twice; an effect is due exactly
    where one is owed; what failed says why; what ended says when.
    """
    life = Life(start)
    for choice in choices:
        assert life.step(choice) is life.job


@pytest.mark.parametrize("state", State)
def test_the_walks_know_everything_that_can_happen(state: State) -> None:
    assert TRANSITIONS[state].keys() <= {type(event) for event in (*ROUNDS, *ENDS)}
