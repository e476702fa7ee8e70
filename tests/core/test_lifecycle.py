"""The table: what may happen to a job, where it leads, and that nobody walks in circles for nothing."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.job import SHOWN_AS, TERMINAL, Job, State
from bulkgpt_watchd.core.lifecycle import BOUNDED, TRANSITIONS, IllegalTransition, advance
from bulkgpt_watchd.effects import EFFECTS
from tests.core.any_jobs import ANY_JOB, EVENTS, NOW, POLICY, TIMES
from tests.sample_jobs import sample_job

Edge = tuple[State, type[Any], State]
EDGES: list[Edge] = [(state, event, target) for state, row in TRANSITIONS.items() for event, target in row.items()]
JITTERS = st.floats(0, 1, exclude_max=True)


def reached_from(start: State) -> set[State]:
    """Give *start* and every state that a walk from it can come to."""
    reached, new = set[State](), {start}
    while new:
        reached |= new
        new = {target for state, _, target in EDGES if state in new} - reached
    return reached


@pytest.mark.parametrize("event_type", EVENTS)
@given(data=st.data())
def test_every_pair_leads_where_the_table_says_and_no_other_can_happen(
    event_type: type[Any], data: st.DataObject
) -> None:
    event = data.draw(EVENTS[event_type])
    for state in State:
        job = sample_job("a", state=state)
        target = TRANSITIONS[state].get(event_type)
        if target is None:
            with pytest.raises(IllegalTransition):
                advance(job, event, NOW, POLICY, 0.0)
        else:
            assert advance(job, event, NOW, POLICY, 0.0).state is target


@given(job=ANY_JOB, now=TIMES, jitter=JITTERS, data=st.data())
def test_every_step_of_every_job_is_counted_dated_and_owed_its_effect(
    job: Job, now: float, jitter: float, data: st.DataObject
) -> None:
    """Revision plus one; changed_at moves with the state alone; due_at is there exactly where an effect is owed."""
    for event_type in TRANSITIONS[job.state]:
        new = advance(job, data.draw(EVENTS[event_type]), now, POLICY, jitter)
        assert new.revision == job.revision + 1
        assert new.changed_at == (now if new.state is not job.state else job.changed_at)
        assert (new.due_at is not None) == (new.state in EFFECTS)
        assert new.due_at is None or new.due_at >= now
        assert (new.id, new.route, new.file, new.inbox, new.work) == (job.id, job.route, job.file, job.inbox, job.work)
        assert new.created_at == job.created_at


def test_the_table_and_what_people_see_know_every_state() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert SHOWN_AS.keys() == set(State)
    assert set(SHOWN_AS.values()) == {"waiting", "submitting", "running", "delivering", "done", "failed", "withdrawn"}


def test_every_state_that_has_not_ended_is_owed_an_effect_but_submitting() -> None:
    assert EFFECTS.keys() == set(State) - TERMINAL - {State.SUBMITTING}


@pytest.mark.parametrize("state", State)
def test_every_state_can_come_to_an_end(state: State) -> None:
    assert reached_from(state) & TERMINAL


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL - {State.DISCOVERED}))
def test_a_claimed_file_ends_delivered_or_in_error_whatever_happens(state: State) -> None:
    assert State.WITHDRAWN not in reached_from(state)
    assert State.FAILED in reached_from(state) | reached_from(State.DONE)


def test_only_what_is_bounded_can_be_walked_in_a_circle() -> None:
    graph: dict[State, set[State]] = {state: set() for state in State}
    for state, event, target in EDGES:
        if (state, event) not in BOUNDED:
            assert target is not state
            graph[state].add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_search_for_circles_finds_one() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({State.READY: {State.SUBMITTING}, State.SUBMITTING: {State.READY}}).prepare()


def test_every_bound_names_an_edge_of_a_circle_and_what_ends_it() -> None:
    edges = {(state, event): target for state, event, target in EDGES}
    assert BOUNDED.keys() <= edges.keys()
    assert [edge for edge in BOUNDED if edge[0] not in reached_from(edges[edge])] == []
    assert all(BOUNDED.values())


def test_the_line_is_left_at_one_point_only() -> None:
    """Any failure: GaveUp, then FAILING, then the error folder."""
    assert {target for _, event, target in EDGES if event is e.GaveUp} == {State.FAILING}
    assert {event for _, event, target in EDGES if target is State.FAILING} == {e.GaveUp, e.Retargeted, e.Deferred}
    assert [edge for edge in EDGES if edge[2] is State.FAILED and edge[0] is not State.FAILED] == [
        (State.FAILING, e.Quarantined, State.FAILED)
    ]


def test_only_an_answer_or_a_restart_moves_what_passed_the_point_of_no_return() -> None:
    assert TRANSITIONS[State.SUBMITTING] == {
        e.Accepted: State.SUBMITTED,
        e.Deferred: State.READY,
        e.GaveUp: State.FAILING,
    }
    assert [edge for edge in EDGES if edge[2] is State.SUBMITTING] == [(State.READY, e.Passed, State.SUBMITTING)]


def test_only_a_person_moves_a_failed_job_on() -> None:
    assert TRANSITIONS[State.FAILED].keys() == {e.Recalled, e.Abandoned, e.Superseded}
    assert TRANSITIONS[State.DONE].keys() == {e.Reopened, e.Cleared}
    assert TRANSITIONS[State.WITHDRAWN] == {}


def test_nobody_answers_before_the_file_stands_in_error() -> None:
    """Then a file that is recalled has one place, and a sent name in work is of a submit that came later."""
    assert [edge[0] for edge in EDGES if edge[1] is e.Recalled] == [State.FAILED]


def test_an_illegal_step_says_what_cannot_happen_to_what() -> None:
    with pytest.raises(IllegalTransition, match="Accepted cannot happen to a job that is done"):
        advance(sample_job("a", state=State.DONE), e.Accepted("t1"), NOW, POLICY, 0.0)
