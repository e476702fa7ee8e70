"""What `status --json` says (contract: commands)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bulkgpt_watchd.core import gate as rules
from bulkgpt_watchd.core.gate import Gate
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.routes import EVERY_ROUTE
from bulkgpt_watchd.core.status import status
from tests.core.any_jobs import NOW
from tests.sample_jobs import sample_job

RETRY_S = (5.0, 600.0)
SHUT = rules.doubt(Gate(), 0, "no answer", NOW, RETRY_S)
HALF = rules.half(SHUT)
LOCKED = Gate(position="shut", reason="three doubts", since=NOW, shut_at=NOW)
DENIED = rules.denied(rules.accepted(Gate(), "orders", "w2", NOW), 0, "leads", 403, "forbidden", NOW, RETRY_S)
REJECTED = rules.rejected(Gate(rejected={"w1": 2}), "w1", "no such workflow", NOW, RETRY_S)
DOUBT = sample_job("d0ubt", state=State.FAILED, code="submission_unknown", message="no answer")
ROUTES = {"leads": {"workflow_id": "w1", "inbox": "/srv/leads"}, "orders": {"workflow_id": "w2", "inbox": "/srv/o"}}


def told(
    gate: Gate | None = None,
    *,
    doubts: tuple[Job, ...] = (),
    stuck: Sequence[Job] = (),
    at: float = NOW,
    **facts: Any,
) -> dict[str, Any]:
    """Give the status as a reader of its JSON gets it."""
    remembered = {"routes": ROUTES, "gate": None if gate is None else rules.to_json(gate)} | facts
    content: dict[str, Any] = status(
        json.loads(json.dumps(remembered)), {}, doubts, stuck=stuck, now=at, is_running=True
    )
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    text.encode()
    read: dict[str, Any] = json.loads(text)
    return read


def routes(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {route["name"]: route for route in content["routes"]}


def pause(until: float | None = None, reason: str = "by anna") -> dict[str, Any]:
    return {"reason": reason, "since": NOW, "until": until}


# --- all is well ------------------------------------------------------------------------------------------------------


def test_a_daemon_without_trouble_is_ok() -> None:
    content = told()
    assert (content["schema"], content["state"]) == (1, "ok")
    assert (content["gate"], content["gate_reason"], content["paused"]) == ("open", None, False)
    assert content["problems"] == []
    assert content["running"] is True
    for route in content["routes"]:
        assert route["available"] is True
        assert (route["gate"], route["gate_reason"], route["paused"]) == ("open", None, False)
        assert route["unsettled"] == 0


def test_a_route_tells_its_inbox_and_how_many_files_are_not_quiet_yet() -> None:
    content = routes(told(health={"leads": {"inbox": "/mnt/leads", "unsettled": 3}}))
    assert (content["leads"]["inbox"], content["leads"]["unsettled"]) == ("/mnt/leads", 3)
    assert (content["orders"]["inbox"], content["orders"]["unsettled"]) == ("/srv/o", 0)


def test_a_renamed_route_is_told_by_its_name_with_what_is_kept_by_its_key() -> None:
    content = told(
        doubts=(DOUBT,), names={"leads": "orders", "orders": "leads"}, health={"leads": {"reason": "inbox is missing"}}
    )
    assert [route["name"] for route in content["routes"]] == ["leads", "orders"]
    assert routes(content)["orders"]["reason"] == "inbox is missing"
    assert routes(content)["orders"]["workflow_id"] == "w1"
    assert content["doubts"][0]["route"] == "orders"
    assert "route orders: inbox is missing" in content["problems"]


def test_a_state_that_knows_nothing_yet_can_be_told() -> None:
    content = status({}, {}, (), now=NOW, is_running=False)
    assert (content["state"], content["gate"], content["routes"], content["running"]) == ("ok", "open", [], False)


def test_jobs_are_counted_by_route_and_by_what_people_see() -> None:
    counts = {
        ("leads", State.DISCOVERED): 1,
        ("leads", State.CLAIMED): 2,
        ("leads", State.READY): 4,
        ("leads", State.RECALLED): 8,
        ("leads", State.FINISHED): 1,
        ("leads", State.FETCHED): 2,
        ("leads", State.DELIVERED): 4,
        ("leads", State.FAILING): 8,
        ("leads", State.SUBMITTED): 3,
        ("removed", State.DONE): 5,
    }
    content = routes(status({"routes": ROUTES}, counts, (), now=NOW, is_running=True))
    assert {key: content["leads"][key] for key in ("waiting", "submitting", "running", "delivering", "done")} == (
        {"waiting": 15, "submitting": 0, "running": 3, "delivering": 15, "done": 0}
    )
    assert content["removed"]["done"] == 5
    assert content["orders"]["waiting"] == 0


@pytest.mark.parametrize(
    ("is_running", "is_asked_for", "problems"),
    [
        (True, True, ["web: 127.0.0.1:8787 cannot be used: address already in use"]),
        (True, False, []),
        (False, True, []),
    ],
)
def test_an_address_that_cannot_be_used_is_a_problem_where_it_was_asked_for(
    is_running: bool, is_asked_for: bool, problems: list[str]
) -> None:
    web = {"address": "127.0.0.1:8787", "reason": "address already in use"}
    content = status({"web": {**web, "is_asked_for": is_asked_for}}, {}, (), now=NOW, is_running=is_running)
    assert (content["problems"], content["state"]) == (problems, "degraded" if problems else "ok")
    assert content["web"] == (web if is_running else None)


# --- the gate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [SHUT, HALF, LOCKED])
def test_a_gate_that_is_not_open_is_shut_for_all_and_degrades(gate: Gate) -> None:
    """Half open is shut."""
    content = told(gate)
    assert (content["state"], content["gate"], content["gate_reason"]) == ("degraded", "shut", gate.reason)
    assert [(route["gate"], route["gate_reason"]) for route in content["routes"]] == [("shut", gate.reason)] * 2
    assert any(str(gate.reason) in problem for problem in content["problems"])


def test_it_says_when_it_tries_again_or_that_a_person_has_to() -> None:
    assert told(SHUT)["gate_next_try_at"] == "2027-01-15T08:00:05.000Z"
    assert told(SHUT)["gate_needs_resume"] is False
    assert told(LOCKED)["gate_next_try_at"] is None
    assert told(LOCKED)["gate_needs_resume"] is True


@pytest.mark.parametrize(("gate", "reason"), [(DENIED, "forbidden"), (REJECTED, "no such workflow")])
def test_one_route_or_workflow_that_is_held_shuts_the_gate_of_its_routes_alone(gate: Gate, reason: str) -> None:
    content = told(gate)
    assert (content["state"], content["gate"]) == ("degraded", "open")
    leads, orders = routes(content)["leads"], routes(content)["orders"]
    assert (leads["gate"], leads["gate_reason"], leads["held_until"]) == ("shut", reason, "2027-01-15T08:10:00.000Z")
    assert (orders["gate"], orders["gate_reason"], orders["held_until"]) == ("open", None, None)


def test_a_hold_stays_one_while_its_trial_is_due() -> None:
    leads = routes(told(DENIED, at=NOW + 600))["leads"]
    assert (leads["gate"], leads["held_until"]) == ("shut", None)


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_a_pause_of_all_is_told_with_its_end_and_for_each_route() -> None:
    content = told(pauses={EVERY_ROUTE: pause(NOW + 3600)})
    assert content["paused"] is True
    assert content["pause"] == {
        "reason": "by anna",
        "since": "2027-01-15T08:00:00.000Z",
        "until": "2027-01-15T09:00:00.000Z",
    }
    assert [route["paused"] for route in content["routes"]] == [True, True]


def test_a_pause_of_one_route_is_told_for_that_one_alone() -> None:
    content = told(pauses={"leads": pause()})
    assert content["paused"] is False
    assert {name: route["paused"] for name, route in routes(content).items()} == {"leads": True, "orders": False}
    assert routes(content)["leads"]["pause"]["until"] is None


def test_a_pause_ends_by_itself() -> None:
    pauses = {"leads": pause(NOW + 10), EVERY_ROUTE: pause(NOW + 20)}
    assert told(pauses=pauses, at=NOW + 19)["paused"] is True
    ended = told(pauses=pauses, at=NOW + 20)
    assert (ended["paused"], ended["pause"]) == (False, None)
    assert [route["paused"] for route in ended["routes"]] == [False, False]


def test_a_person_who_pauses_degrades_nothing() -> None:
    assert told(pauses={EVERY_ROUTE: pause()})["state"] == "ok"


# --- routes and jobs in trouble ---------------------------------------------------------------------------------------


def test_a_route_that_cannot_be_used_says_why_and_since_when() -> None:
    content = told(health={"leads": {"reason": "inbox is missing", "since": NOW}})
    leads, orders = routes(content)["leads"], routes(content)["orders"]
    assert content["state"] == "degraded"
    assert (leads["available"], leads["reason"]) == (False, "inbox is missing")
    assert leads["unavailable_since"] == "2027-01-15T08:00:00.000Z"
    assert orders["available"] is True


@pytest.mark.parametrize(
    "health",
    [{"disk_low": "4 bytes free"}, {"unreadable": {os.fsdecode(b"k\xe4ufer.csv"): "permission denied"}}],
)
def test_other_trouble_of_a_route_degrades_it_and_leaves_it_available(health: dict[str, Any]) -> None:
    content = told(health={"leads": health})
    assert content["state"] == "degraded"
    assert routes(content)["leads"]["available"] is True
    assert len(content["problems"]) == 1
    assert "route leads" in content["problems"][0]


def test_what_a_daemon_cannot_write_down_is_told_as_it_says_it_once() -> None:
    troubles = [
        {"what": "disk", "route": "leads", "reason": "no room"},
        {"what": "state", "reason": "it is full"},
        {"what": "gate", "reason": "told already"},
    ]
    content = status({"routes": ROUTES}, {}, (), troubles=troubles, now=NOW, is_running=True)
    assert content["problems"] == ["state: it is full", "route leads: no room"]
    assert content["state"] == "degraded"

    facts = {"routes": ROUTES, "health": {"leads": {"disk_low": "no room"}}}
    assert status(facts, {}, (), troubles=troubles[:1], now=NOW, is_running=True)["problems"] == [
        "route leads: no room"
    ]


@pytest.mark.parametrize(("position", "is_told"), [("shut", True), ("half", True), ("open", False)])
def test_a_refused_key_account_or_address_is_told_from_an_outage(position: str, is_told: bool) -> None:
    assert told(Gate(position=position, reason="no", is_denied=True, since=NOW))["gate_denied"] is is_told
    assert told(SHUT)["gate_denied"] is False


def test_an_unreadable_file_is_named_as_it_can_be_printed() -> None:
    health = {"leads": {"unreadable": {os.fsdecode(b"k\xe4ufer.csv"): "permission denied"}}}
    assert routes(told(health=health))["leads"]["unreadable"] == [r"k\xe4ufer.csv"]


def test_a_doubt_waits_for_a_person_and_degrades() -> None:
    content = told(doubts=(DOUBT,))
    assert content["state"] == "degraded"
    assert [job["job"] for job in content["doubts"]] == ["d0ubt"]
    assert any("d0ubt" in problem for problem in content["problems"])


def test_a_question_that_was_answered_is_none_any_more() -> None:
    content = told(doubts=(replace(DOUBT, is_closed=True), replace(DOUBT, superseded_by="n3w")))
    assert (content["state"], content["doubts"], content["problems"]) == ("ok", [], [])


# --- nothing secret ---------------------------------------------------------------------------------------------------


def test_nothing_that_is_remembered_of_a_route_or_elsewhere_is_told_unasked() -> None:
    secret = "s3cret"
    content = told(
        routes={"leads": {"workflow_id": "w1", "inbox": "/srv/leads", "headers": secret}},
        health={"leads": {"reason": None, "note": secret}},
        api_key=secret,
        mounts={"leads": {"inbox": [secret, "ext4"]}},
    )
    assert secret not in json.dumps(content)


# --- files that do not get on -----------------------------------------------------------------------------------------


def test_files_that_wait_are_told_with_their_reason_those_with_one_reason_together() -> None:
    stuck = [sample_job(f"j{number}", state=State.READY, waits_for="no route to host") for number in range(3)]
    stuck.append(sample_job("j9", file="a\x1b.csv", state=State.DISCOVERED, waits_for="cannot claim it"))
    content = told(stuck=stuck)
    assert content["state"] == "degraded"
    assert routes(content)["leads"]["problems"] == [
        "3 files wait: no route to host",
        "a\\x1b.csv waits: cannot claim it",
    ]
    assert routes(content)["orders"]["problems"] == []


def test_of_many_reasons_the_first_are_told() -> None:
    stuck = [sample_job(f"j{number}", state=State.READY, waits_for=f"reason {number}") for number in range(9)]
    assert routes(told(stuck=stuck))["leads"]["problems"][-2:] == [
        "j4.csv waits: reason 4",
        "and 4 more reasons",
    ]
