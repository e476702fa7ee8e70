"""Any outage, any order of ends: what it costs, and that no restart forgets it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.core import gate as rules
from bulkgpt_watchd.core.gate import Gate, Hold

RETRY_S = (5.0, 600.0)
NOW = 1_800_000_000.0


class Outage:
    """BulkGPT takes what it is sent and answers nothing; at most *limit* submits run at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.gate = Gate()
        self.now = NOW
        self.in_flight: list[int] = []  # the epoch at the start of each
        self.doubts = 0

    def start(self) -> None:
        """Start as many as there are places for."""
        self.in_flight += [self.gate.epoch] * self.gate.places(len(self.in_flight), self.limit)

    def end(self, index: int, how: str) -> None:
        """End any of those in flight: past its point of no return in a doubt, before it certainly not accepted."""
        if not self.in_flight:
            return
        epoch = self.in_flight.pop(index % len(self.in_flight))
        if how == "doubt":
            self.doubts += 1
            self.gate = rules.doubt(self.gate, epoch, "no answer", self.now, RETRY_S)
        elif how != "refused":
            self.gate = rules.denied(self.gate, epoch, "leads", int(how), "denied", self.now, RETRY_S)

    def probe(self, *, is_answered: bool) -> None:
        self.gate = rules.probed(self.gate, is_answered=is_answered, now=self.now, retry_s=RETRY_S)

    def deny_a_free_call(self) -> None:
        self.gate = rules.denied(self.gate, self.gate.epoch, "orders", 404, "a proxy", self.now, RETRY_S)

    def die(self) -> None:
        """Die and start again: what was past its point is a doubt of our own making, and does not count."""
        self.gate = rules.from_json(json.loads(json.dumps(rules.to_json(self.gate))))
        self.gate = rules.restarted(self.gate, len(self.in_flight), self.now)
        self.in_flight.clear()

    def go_on_until_locked(self) -> None:
        """Do the worst: send whenever it is allowed, and answer every free question."""
        while not self.gate.is_locked:
            self.start()
            while self.in_flight:
                self.end(0, "doubt")
            self.probe(is_answered=True)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["start", "start", "doubt", "doubt", "refused", "401", "403", "probe", "silence", "call", "die"]
        ),
        st.integers(0, 7),
    ),
    max_size=60,
)


@pytest.mark.fault("F6")
@settings(max_examples=500)
@given(st.integers(1, 8), STEPS)
def test_one_outage_costs_at_most_two_doubts_more_than_submits_at_once(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    outage = Outage(limit)
    for step, index in steps:
        outage.now += 100 * index
        match step:
            case "start":
                outage.start()
            case "probe" | "silence":
                outage.probe(is_answered=step == "probe")
            case "call":
                outage.deny_a_free_call()
            case "die":
                outage.die()
            case _:
                outage.end(index, step)
    outage.go_on_until_locked()
    assert outage.doubts <= limit + 2
    before = outage.doubts
    for index in range(100):
        outage.start()
        outage.end(index, "doubt")
        outage.probe(is_answered=True)
    assert outage.doubts == before


def test_the_worst_outage_costs_just_that() -> None:
    outage = Outage(4)
    outage.go_on_until_locked()
    assert outage.doubts == 4 + 2


# --- written down and read again --------------------------------------------------------------------------------------

TIMES = st.floats(0, 4e9)
KEYS = st.text(max_size=5)
HOLDS = st.dictionaries(KEYS, st.builds(Hold, KEYS, TIMES, TIMES), max_size=3)
GATES = st.builds(
    Gate,
    position=st.sampled_from(["open", "half", "shut"]),
    reason=st.none() | KEYS,
    is_denied=st.booleans(),
    since=st.none() | TIMES,
    shut_at=st.none() | TIMES,
    probe_at=st.none() | TIMES,
    openings=st.integers(0, 99),
    strikes=st.integers(0, 9),
    epoch=st.integers(0, 10**6),
    trials_from=st.none() | st.integers(0, 10**6),
    routes=HOLDS,
    workflows=HOLDS,
    rejected=st.dictionaries(KEYS, st.integers(0, 9), max_size=3),
    accepted_at=st.dictionaries(KEYS, TIMES, max_size=3),
)


@given(GATES)
def test_a_gate_survives_a_restart(gate: Gate) -> None:
    assert rules.from_json(json.loads(json.dumps(rules.to_json(gate)))) == gate


@given(GATES, st.sets(st.sampled_from(sorted(Gate.__dataclass_fields__))))
def test_the_gate_of_an_older_version_is_read(gate: Gate, unknown_then: set[str]) -> None:
    older = {name: value for name, value in rules.to_json(gate).items() if name not in unknown_then}
    read = rules.from_json(older)
    for name in Gate.__dataclass_fields__:
        assert getattr(read, name) == getattr(Gate() if name in unknown_then else gate, name)


def test_the_gate_of_a_newer_version_is_read_as_far_as_it_is_understood() -> None:
    hold: dict[str, Any] = {"reason": "r", "since": 1.0, "try_at": 2.0, "weight": 3}
    newer = {**rules.to_json(Gate()), "position": "half", "colour": "red", "routes": {"leads": hold}}
    assert rules.from_json(newer) == Gate(position="half", routes={"leads": Hold("r", 1.0, 2.0)})


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_gate_yet_is_open(nothing: dict[str, Any] | None) -> None:
    assert rules.from_json(nothing) == Gate()
