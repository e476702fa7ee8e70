"""One task ID for two jobs: both are held; the second alone, if the first was delivered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.lifecycle import advance, conflict
from bulkgpt_watchd.core.ports import Change
from tests.core.any_jobs import NOW, POLICY
from tests.sample_jobs import sample_job


def accepted(task_id: str = "t1") -> Change:
    event = e.Accepted(task_id)
    old = sample_job("second", state=State.SUBMITTING, revision=7, attempts=1, workflow_id="w")
    return Change(old, advance(old, event, NOW, POLICY, 0.0), event)


def holder(state: State, **fields: Any) -> Job:
    return sample_job("first", **{"state": state, "task_id": "t1", "revision": 3} | fields)


def held(*holders: Job) -> dict[str, Change]:
    changes = conflict(accepted(), holders, NOW, POLICY)
    assert changes[0].old.id == "second"
    for change in changes:
        assert change.new.id == change.old.id
        assert change.new.revision == change.old.revision + 1
        assert isinstance(change.event, e.GaveUp)
        assert (change.new.state, change.new.code) == (State.FAILING, "task_id_conflict")
        assert change.new.due_at == NOW
        assert change.new.task_id == "t1"
        assert "t1" in (change.new.message or "")
    return {change.new.id: change for change in changes}


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FINISHED, State.FETCHED, State.RECALLED])
def test_both_are_held_while_the_first_has_no_result(state: State) -> None:
    changes = held(holder(state))
    assert changes.keys() == {"first", "second"}
    assert changes["first"].new.related_job == "second"
    assert changes["second"].new.related_job == "first"
    assert "second.csv" in (changes["first"].new.message or "")
    assert "first.csv" in (changes["second"].new.message or "")


@pytest.mark.parametrize("state", [State.DELIVERED, State.DONE, State.FAILING, State.FAILED])
def test_the_second_alone_is_held_when_the_first_was_delivered_or_has_failed_already(state: State) -> None:
    assert held(holder(state)).keys() == {"second"}


def test_the_second_alone_is_held_when_the_first_has_another_task_now() -> None:
    """It was paid again: what runs for it is not in question."""
    assert held(holder(State.SUBMITTED, task_id="t2", earlier_task_ids=("t1",))).keys() == {"second"}


def test_every_one_of_many_is_held() -> None:
    third = replace(holder(State.SUBMITTED), id="third")
    assert held(holder(State.FINISHED), third).keys() == {"first", "second", "third"}


def test_the_accepted_task_is_kept_with_its_verdict() -> None:
    """Both steps are one change of the row as it stood before the answer."""
    second = held(holder(State.SUBMITTED))["second"]
    assert second.old == accepted().old
    assert (second.new.submitted_at, second.new.attempts, second.new.workflow_id) == (NOW, 1, "w")
