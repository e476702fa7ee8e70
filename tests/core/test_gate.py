"""The gate, sentence by sentence (contract: outcomes, "The gate")."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bulkgpt_watchd.core import gate as rules
from bulkgpt_watchd.core.gate import Gate

RETRY_S = (5.0, 600.0)
NOW = 1_800_000_000.0
LIMIT = 4


def doubt(gate: Gate, epoch: int | None = None, now: float = NOW) -> Gate:
    return rules.doubt(gate, gate.epoch if epoch is None else epoch, "no answer", now, RETRY_S)


def denied(gate: Gate, http_status: int | None = 401, route: str = "leads", now: float = NOW) -> Gate:
    return rules.denied(gate, gate.epoch, route, http_status, "key refused", now, RETRY_S)


def accepted(gate: Gate, route: str = "leads", workflow_id: str = "w", now: float = NOW) -> Gate:
    return rules.accepted(gate, route, workflow_id, now)


def rejected(gate: Gate, workflow_id: str = "w", now: float = NOW) -> Gate:
    return rules.rejected(gate, workflow_id, "no such workflow", now, RETRY_S)


def probed(gate: Gate, *, is_answered: bool = True, now: float = NOW) -> Gate:
    return rules.probed(gate, is_answered=is_answered, now=now, retry_s=RETRY_S)


def locked() -> Gate:
    gate = doubt(Gate())
    for _ in range(2):
        gate = doubt(probed(gate))
    return gate


# --- what shuts it ----------------------------------------------------------------------------------------------------


def test_a_doubt_shuts_it() -> None:
    gate = doubt(Gate())
    assert (gate.position, gate.reason, gate.since, gate.shut_at) == ("shut", "no answer", NOW, NOW)


@pytest.mark.parametrize("http_status", [401, 402, 403, 302, 404, 407, None])
def test_a_denial_shuts_it(http_status: int | None) -> None:
    gate = denied(Gate(), http_status)
    assert (gate.position, gate.reason, gate.since) == ("shut", "key refused", NOW)


@pytest.mark.parametrize("gate", [doubt(Gate()), denied(Gate()), locked()])
def test_shut_means_no_submit(gate: Gate) -> None:
    assert gate.places(0, LIMIT) == 0


def test_open_means_as_many_as_are_allowed_at_once() -> None:
    assert [Gate().places(in_flight, LIMIT) for in_flight in range(6)] == [4, 3, 2, 1, 0, 0]


def test_it_is_not_open_since_it_shut_first() -> None:
    gate = denied(probed(doubt(Gate())), now=NOW + 60)
    assert (gate.since, gate.shut_at) == (NOW, NOW + 60)


# --- what opens it ----------------------------------------------------------------------------------------------------


def test_a_readable_answer_opens_it_by_half_for_one_submit_at_a_time() -> None:
    gate = probed(doubt(Gate()))
    assert gate.position == "half"
    assert [gate.places(in_flight, LIMIT) for in_flight in range(3)] == [1, 0, 0]


def test_no_readable_answer_leaves_it_shut() -> None:
    gate = probed(doubt(Gate()), is_answered=False)
    assert (gate.position, gate.probe_at) == ("shut", NOW + 10)


def test_it_is_open_once_one_submit_was_accepted() -> None:
    gate = accepted(probed(doubt(Gate())))
    assert gate.places(0, LIMIT) == LIMIT
    assert (gate.reason, gate.since, gate.shut_at, gate.probe_at) == (None, None, None, None)


def test_openings_back_off_from_retry_min_to_retry_max() -> None:
    waits, gate = list[float](), Gate()
    for _ in range(10):
        gate = denied(gate)
        waits.append((gate.probe_at or 0) - NOW)
        gate = probed(gate)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_probes_without_an_answer_back_off_alike() -> None:
    waits, gate = list[float](), doubt(Gate())
    for _ in range(9):
        waits.append((gate.probe_at or 0) - NOW)
        gate = probed(gate, is_answered=False)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]


def test_only_an_accepted_submit_resets_the_backoff() -> None:
    gate = Gate()
    for _ in range(4):
        gate = denied(probed(gate))
        gate = probed(gate, is_answered=False)
    patient = rules.resumed(gate, None, None)
    assert (denied(patient).probe_at or 0) - NOW == 600
    assert (denied(accepted(patient)).probe_at or 0) - NOW == 5


def test_an_open_gate_is_not_probed() -> None:
    assert probed(Gate()) == Gate()
    assert Gate().probe_at is None


def test_an_accepted_submit_from_before_does_not_open_it() -> None:
    """It opens by half, after an answer to a free call: what was sent before the outage says nothing about now."""
    gate = accepted(doubt(Gate()))
    assert (gate.position, gate.probe_at) == ("shut", NOW + 5)


# --- what an outage costs ---------------------------------------------------------------------------------------------


def test_submits_that_were_in_flight_together_when_it_shut_count_as_one_doubt() -> None:
    gate = doubt(Gate())
    for _ in range(LIMIT - 1):
        assert doubt(gate, epoch=0) == gate
    assert gate.strikes == 1


def test_a_late_doubt_from_before_does_not_shut_what_was_opened_by_half() -> None:
    gate = probed(doubt(Gate()))
    assert doubt(gate, epoch=0) == gate


def test_after_two_more_doubts_each_at_half_open_only_a_person_opens_it() -> None:
    first = doubt(Gate())
    second = doubt(probed(first))
    third = doubt(probed(second))
    assert [gate.is_locked for gate in (first, second, third)] == [False, False, True]
    assert third.position == "shut"


@pytest.mark.parametrize(
    "after",
    [
        probed(locked()),
        probed(locked(), is_answered=False),
        denied(locked()),
        doubt(locked(), epoch=0),
        accepted(locked()),
        rules.restarted(locked(), 3, NOW),
        rules.resumed(locked(), "leads", "w"),
        rules.from_json(json.loads(json.dumps(rules.to_json(locked())))),
    ],
)
def test_nothing_else_opens_what_only_a_person_may_open(after: Gate) -> None:
    assert after.is_locked


def test_a_person_opens_it_by_half_and_two_doubts_more_are_borne() -> None:
    gate = rules.resumed(locked(), None, None)
    assert gate.position == "half"
    once, twice = doubt(gate), doubt(probed(doubt(gate)))
    assert not once.is_locked
    assert not twice.is_locked
    assert doubt(probed(twice)).is_locked


def test_a_denial_is_no_doubt() -> None:
    gate = doubt(Gate())
    for _ in range(10):
        gate = denied(probed(gate))
    assert (gate.strikes, gate.is_locked) == (1, False)


def test_an_accepted_submit_ends_the_count_of_doubts() -> None:
    gate = doubt(probed(doubt(Gate())))
    gate = doubt(probed(doubt(accepted(probed(gate)))))
    assert not gate.is_locked
    assert doubt(probed(gate)).is_locked


def test_a_doubt_at_half_open_counts_also_where_a_free_call_was_denied_meanwhile() -> None:
    """The submit was tried alone: that a question about another task shut the gate first makes it no older outage."""
    gate = doubt(Gate())
    for _ in range(2):
        gate = probed(gate)
        trial = gate.epoch
        gate = doubt(denied(gate, 404), trial)
    assert gate.is_locked


# --- why it is shut ---------------------------------------------------------------------------------------------------


def test_it_knows_whether_it_was_denied_or_in_doubt() -> None:
    assert denied(Gate()).is_denied
    assert not doubt(Gate()).is_denied
    assert not doubt(probed(denied(Gate()))).is_denied
    assert denied(probed(doubt(Gate()))).is_denied
    assert not accepted(probed(denied(Gate()))).is_denied


def test_a_denial_of_a_free_call_is_why_it_stays_shut_whatever_shut_it() -> None:
    for shut in (doubt(Gate()), locked()):
        gate = denied(shut)
        assert gate == replace(shut, is_denied=True, reason="key refused")


def test_what_was_denied_may_be_asked_at_once_and_needs_no_patience_without_a_task() -> None:
    gate = rules.hurried(denied(Gate()), NOW + 1)
    assert gate == replace(denied(Gate()), probe_at=NOW + 1, shut_at=None)


@pytest.mark.parametrize("gate", [Gate(), doubt(Gate()), probed(denied(Gate())), denied(locked())])
def test_nothing_else_is_hurried(gate: Gate) -> None:
    """A doubt costs money, so its backoff holds; what only a person opens stays so."""
    assert rules.hurried(gate, NOW + 1) == gate


# --- our own death ----------------------------------------------------------------------------------------------------


def test_doubts_of_our_own_death_start_it_half_open_and_do_not_count() -> None:
    gate = rules.restarted(Gate(), 4, NOW)
    assert (gate.position, gate.since, gate.strikes) == ("half", NOW, 0)
    assert gate.reason is not None


def test_without_doubts_a_restart_changes_nothing() -> None:
    for gate in (Gate(), doubt(Gate()), probed(doubt(Gate())), locked()):
        assert rules.restarted(gate, 0, NOW) == gate


@pytest.mark.parametrize("gate", [doubt(Gate()), probed(doubt(Gate())), locked()])
def test_a_restart_does_not_open_what_was_shut(gate: Gate) -> None:
    assert rules.restarted(gate, 2, NOW) == gate
