"""What a change of a job adds to the counters: each thing once, and money where it is spent."""

from __future__ import annotations

from typing import Any

import pytest

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.figures import FIGURES, VALUES, of_change, zeros
from bulkgpt_watchd.core.job import SHOWN_AS, State
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.ports import Change
from tests.sample_jobs import sample_job

SENT = {"rows": 3, "size_bytes": 14}


def counted(old: dict[str, Any], new: dict[str, Any], event: e.Event) -> dict[tuple[str, ...], float]:
    change = Change(sample_job("a", **old), sample_job("a", **{**old, **new}), event)
    return {(sample.figure.removesuffix("_total"), *sample.labels[1:]): sample.value for sample in of_change(change)}


@pytest.mark.parametrize("state", [State.READY, State.SUBMITTING])
def test_what_was_accepted_is_paid(state: State) -> None:
    new = {"state": State.SUBMITTED, "task_id": "t"}

    assert counted({"state": state, **SENT}, new, e.Accepted("t")) == {
        ("submits", "accepted"): 1,
        ("rows", "sent"): 3,
        ("input_bytes",): 14,
    }


def test_two_jobs_with_one_task_id_were_both_accepted() -> None:
    new = {"state": State.FAILING, "task_id": "t", "code": "task_id_conflict"}
    event = e.GaveUp("task_id_conflict", "one ID for two")

    assert counted({"state": State.SUBMITTING, **SENT}, new, event) == {
        ("submits", "accepted"): 1,
        ("rows", "sent"): 3,
        ("input_bytes",): 14,
        ("jobs_failed", "task_id_conflict"): 1,
    }
    holder = {"state": State.SUBMITTED, "task_id": "t", **SENT}
    assert counted(holder, {"state": State.FAILING}, event) == {("jobs_failed", "task_id_conflict"): 1}


@pytest.mark.parametrize(
    ("event", "new", "added"),
    [
        (
            e.GaveUp("submission_unknown", "lost"),
            State.FAILING,
            {("submits", "unknown"): 1, ("rows", "doubtful"): 3, ("jobs_failed", "submission_unknown"): 1},
        ),
        (
            e.GaveUp("rejected", "no", http_status=400),
            State.FAILING,
            {("submits", "rejected"): 1, ("jobs_failed", "rejected"): 1},
        ),
        (e.GaveUp("duplicate", "twice"), State.FAILING, {("jobs_failed", "duplicate"): 1}),
        (e.Deferred("refused"), State.READY, {("submits", "deferred"): 1}),
        (e.Deferred("401", is_held=True), State.READY, {("submits", "denied"): 1}),
        (e.Deferred("paused", is_failure=False), State.READY, {}),
    ],
)
def test_each_end_of_a_submit_is_counted(event: e.Event, new: State, added: dict[tuple[str, ...], float]) -> None:
    assert counted({"state": State.READY, **SENT}, {"state": new}, event) == added


def test_a_wait_elsewhere_is_no_submit() -> None:
    assert counted({"state": State.SUBMITTED, "task_id": "t"}, {}, e.Deferred("refused")) == {}


def test_rows_of_a_task_are_counted_once_however_often_it_is_found_complete() -> None:
    done = {"state": State.FINISHED, "completed_at": 1.0, "rows_ok": 2, "rows_total": 3}
    asked = {"state": State.SUBMITTED, "task_id": "t", **SENT}

    assert counted(asked, done, e.Finished()) == {("rows", "ok"): 2, ("rows", "failed"): 1}
    assert counted({**asked, "completed_at": 1.0}, done, e.Finished()) == {}


@pytest.mark.parametrize(
    ("old", "new", "event", "outcome"),
    [
        (State.DELIVERED, {"state": State.DONE}, e.Archived(), "done"),
        (
            State.DELIVERED,
            {"state": State.DONE, "rows": 3, "rows_ok": 2, "completed_at": 1.0},
            e.Archived(),
            "partial",
        ),
        (State.FAILING, {"state": State.FAILED}, e.Quarantined(), "failed"),
        (State.DISCOVERED, {"state": State.WITHDRAWN}, e.Vanished(), "withdrawn"),
    ],
)
def test_each_end_of_a_job_is_counted(old: State, new: dict[str, Any], event: e.Event, outcome: str) -> None:
    times = {"created_at": 100.0, "changed_at": 400.5}

    assert counted({"state": old}, {**new, **times}, event) == {
        ("jobs_finished", outcome): 1,
        ("job_duration_seconds", outcome): 300.5,
    }


def test_a_clock_that_was_set_back_makes_no_counter_fall() -> None:
    new = {"state": State.DONE, "created_at": 100.0, "changed_at": 50.0}

    assert counted({"state": State.DELIVERED}, new, e.Archived())["job_duration_seconds", "done"] == 0


def test_a_closed_job_does_not_end_again() -> None:
    assert counted({"state": State.FAILED}, {"is_closed": True}, e.Abandoned()) == {}


def test_a_delivered_result_is_counted_in_bytes() -> None:
    assert counted({"state": State.FETCHED, "result_bytes": 62}, {"state": State.DELIVERED}, e.Delivered(None)) == {
        ("result_bytes",): 62
    }


def test_every_counter_of_a_route_begins_at_zero() -> None:
    begun = {(sample.figure, *sample.labels): sample.value for sample in zeros("leads")}

    assert set(begun.values()) == {0}
    assert {figure for figure, *_ in begun} == {name for name, figure in FIGURES.items() if figure.kind == "counter"}
    assert {key[2] for key in begun if key[0] == "jobs_failed_total"} == set(OUTCOMES)


def test_the_values_of_labels_are_those_of_known_labels() -> None:
    assert all(label in FIGURES[name].labels for name, label in VALUES)
    assert set(VALUES["jobs", "state"]) == set(SHOWN_AS.values())
    assert set(VALUES["oldest_job_age_seconds", "state"]) == set(SHOWN_AS.values()) - {"done", "failed", "withdrawn"}


def test_no_figure_is_labelled_by_a_job_a_task_or_a_file() -> None:
    labels = {label for figure in FIGURES.values() for label in figure.labels}

    assert labels == {"route", "state", "code", "outcome", "kind", "folder", "version", "python", "schema"}
