"""What shuts only one route's or one workflow's gate (contract: outcomes, "The gate")."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.core import gate as rules
from bulkgpt_watchd.core.gate import Gate, Hold

RETRY_S = (5.0, 600.0)
NOW = 1_800_000_000.0


def accepted(gate: Gate, route: str, workflow_id: str = "w", now: float = NOW) -> Gate:
    return rules.accepted(gate, route, workflow_id, now)


def denied(gate: Gate, route: str, http_status: int = 403, now: float = NOW) -> Gate:
    return rules.denied(gate, gate.epoch, route, http_status, "forbidden", now, RETRY_S)


def rejected(gate: Gate, times: int, workflow_id: str = "w") -> Gate:
    for _ in range(times):
        gate = rules.rejected(gate, workflow_id, "no such workflow", NOW, RETRY_S)
    return gate


def tried(gate: Gate, route: str, workflow_id: str, now: float) -> Gate:
    return rules.tried(gate, route, workflow_id, now, RETRY_S[1])


# --- one route's own refusal ------------------------------------------------------------------------------------------


def test_a_403_while_others_are_accepted_holds_that_route_alone() -> None:
    gate = denied(accepted(Gate(), "orders"), "leads")
    assert (gate.position, gate.is_denied) == ("open", False)
    assert gate.holds("leads", "w", NOW) == Hold("forbidden", NOW, NOW + 600)
    assert gate.holds("orders", "w", NOW) is None


def test_a_403_without_others_shuts_the_gate() -> None:
    assert denied(Gate(), "leads").position == "shut"
    assert denied(accepted(Gate(), "leads"), "leads").position == "shut"


def test_others_that_were_accepted_long_ago_are_no_sign() -> None:
    gate = accepted(Gate(), "orders")
    assert denied(gate, "leads", now=NOW + 599).position == "open"
    assert denied(gate, "leads", now=NOW + 600).position == "shut"


@pytest.mark.parametrize("http_status", [401, 402, 404, 302])
def test_any_other_denial_shuts_the_gate_for_all(http_status: int) -> None:
    assert denied(accepted(Gate(), "orders"), "leads", http_status).position == "shut"


def test_a_key_that_no_route_may_use_any_more_shuts_the_gate_at_the_last() -> None:
    """A route that was refused itself is no sign that others are accepted."""
    gate = accepted(accepted(Gate(), "leads"), "orders")
    gate = denied(gate, "leads", now=NOW + 1)
    assert gate.position == "open"
    assert denied(gate, "orders", now=NOW + 2).position == "shut"


def test_a_403_at_half_open_holds_the_route_and_lets_the_next_one_try() -> None:
    gate = rules.restarted(accepted(Gate(), "orders"), 1, NOW)
    gate = denied(gate, "leads")
    assert gate.position == "half"
    assert gate.holds("leads", "w", NOW) is not None


# --- three rejections of one workflow ---------------------------------------------------------------------------------


def test_three_rejections_in_a_row_hold_their_workflow_alone() -> None:
    assert rejected(Gate(), 2).holds("leads", "w", NOW) is None
    gate = rejected(Gate(), 3)
    assert gate.position == "open"
    assert gate.holds("leads", "w", NOW) == Hold("no such workflow", NOW, NOW + 600)
    assert gate.holds("any other route", "w", NOW) is not None


def test_a_changed_workflow_id_is_not_held() -> None:
    assert rejected(Gate(), 3).holds("leads", "w2", NOW) is None


def test_one_accepted_in_between_starts_the_count_anew() -> None:
    gate = rejected(accepted(rejected(Gate(), 2), "leads"), 2)
    assert gate.holds("leads", "w", NOW) is None
    assert rejected(gate, 1).holds("leads", "w", NOW) is not None


def test_rejections_of_two_workflows_are_counted_apart() -> None:
    gate = rejected(rejected(accepted(rejected(Gate(), 2), "leads", "w2"), 2, "w2"), 1)
    assert gate.holds("leads", "w", NOW) is not None
    assert gate.holds("leads", "w2", NOW) is None


# --- what opens them --------------------------------------------------------------------------------------------------


HELD = {
    "a route": denied(accepted(Gate(), "orders"), "leads"),
    "a workflow": rejected(Gate(), 3),
    "both": rejected(denied(accepted(Gate(), "orders"), "leads"), 3),
}


@pytest.mark.parametrize("gate", HELD.values(), ids=HELD)
def test_a_hold_lets_one_submit_through_each_retry_max(gate: Gate) -> None:
    now = NOW
    for _ in range(3):
        assert gate.holds("leads", "w", now + 599) is not None
        now += 600
        assert gate.holds("leads", "w", now) is None
        gate = tried(gate, "leads", "w", now)
        assert gate.holds("leads", "w", now) is not None


@pytest.mark.parametrize("gate", HELD.values(), ids=HELD)
def test_an_accepted_trial_ends_the_hold(gate: Gate) -> None:
    gate = accepted(gate, "leads", now=NOW + 600)
    assert (gate.routes, gate.workflows, gate.rejected) == ({}, {}, {})


@pytest.mark.parametrize("gate", HELD.values(), ids=HELD)
def test_a_person_ends_the_hold_of_one_route_or_of_all(gate: Gate) -> None:
    for route in ("leads", None):
        assert rules.resumed(gate, route, "w").holds("leads", "w", NOW) is None


@pytest.mark.parametrize("route", ["leads", None])
@pytest.mark.parametrize("gate", [Gate(), rules.restarted(Gate(), 1, NOW)])
def test_a_person_who_resumes_bears_three_rejections_anew(gate: Gate, route: str | None) -> None:
    gate = rules.resumed(rejected(gate, 3), route, "w")
    assert rejected(gate, 2).workflows == {}
    assert rejected(gate, 3).workflows.keys() == {"w"}


def test_a_trial_that_is_refused_again_holds_for_another_retry_max() -> None:
    gate = rejected(rejected(Gate(), 3), 1)
    assert gate.workflows["w"].try_at == NOW + 600
    gate = denied(accepted(HELD["a route"], "orders", now=NOW + 600), "leads", now=NOW + 600)
    assert gate.routes["leads"].try_at == NOW + 1200


def test_resuming_one_route_leaves_the_others_held_and_the_gate_as_it_is() -> None:
    gate = denied(accepted(denied(accepted(Gate(), "orders"), "leads"), "orders", "w2"), "bills")
    shut = rules.doubt(gate, gate.epoch, "no answer", NOW, RETRY_S)
    resumed = rules.resumed(shut, "leads", "w")
    assert resumed.position == "shut"
    assert resumed.routes.keys() == {"bills"}


def test_a_trial_of_one_route_puts_no_other_off() -> None:
    gate = denied(accepted(denied(accepted(Gate(), "orders"), "leads"), "orders", "w2"), "bills")
    after = tried(gate, "leads", "w", NOW + 600)
    assert after.routes["bills"] == gate.routes["bills"]
    assert tried(gate, "orders", "w", NOW) == gate
