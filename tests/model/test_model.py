"""Tell stories that nobody thought of: the whole daemon under all that may happen, in any order."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Model

Record = Callable[[str, object], None]

UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=35, database=None)
"""A step may be a day of a daemon; a folder of examples would be one more thing that tests leave behind."""


def tell(record: Record, how: settings, number: int | None = None) -> Counter[str]:
    """Let chance tell as many stories as *how* says, of a seed of this number or the same ones; give what happened."""
    tally: Counter[str] = Counter()

    def model() -> Model:
        return Model(tally)

    told = model if number is None else seed(number)(model)
    run_state_machine_as_test(told, settings=how)  # type: ignore[arg-type]  # whatever makes a machine will do
    for what, count in tally.items():
        record(f"counted: {what} (model)", count)
    return tally


@pytest.mark.fault("F1", "F5", "F6", "F7", "F10", "F12", "F13", "F14", "F17", "F26", "F36", "F37", "F41", "F48")
@pytest.mark.timeout(480)  # twenty seconds; but a story that fails is made short, which may take five minutes
def test_the_promises_hold_whatever_happens(record_property: Record) -> None:
    tally = tell(record_property, settings(UNHURRIED, max_examples=40, derandomize=True))
    assert min(tally["kills"], tally["older or lost states"]) > 0


@pytest.mark.system
@pytest.mark.fault("F1", "F5", "F6", "F7", "F10", "F12", "F13", "F14", "F17", "F26", "F36", "F37", "F41", "F48")
@pytest.mark.timeout(3600)  # ten minutes and more on two processors
def test_the_promises_hold_whatever_happens_in_two_thousand_stories(record_property: Record) -> None:
    number = int(os.environ.get("MODEL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"MODEL_SEED={number}")  # noqa: T201  # shown where the test fails
    record_property("seed: MODEL_SEED", number)
    tally = tell(record_property, settings(UNHURRIED, max_examples=2_000), number)
    assert min(tally["kills"], tally["older or lost states"]) > 0
