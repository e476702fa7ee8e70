"""A server of shares loses power alone, and with it what it had said yes to (stories: uml_undone.py); 3 minutes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.conftest import STORIES_S
from tests.system.uml import Kernel

pytestmark = [pytest.mark.system, pytest.mark.timeout(STORIES_S + 60)]


@pytest.mark.fault("F39")
def test_a_claim_that_is_undone_while_its_task_runs_is_not_paid_again(undone: Kernel, record_property: Any) -> None:
    """The result comes, the receipt says that the original was gone, and the file is a duplicate by then."""
    facts = undone.story("undone_while_it_runs")
    assert facts["undone"] == ["a.csv"], "else nothing was undone"
    assert facts["paid"] == 1
    assert facts["outcomes"] == ["done", "duplicate"]
    assert facts["results"] == ["a.csv"]
    assert (facts["archive"], facts["source_lost"]) == (["a.csv.receipt.json"], True)
    assert facts["error"] == ["a.csv", "a.csv.error.json"]
    record_property("counted: power cuts of a server of shares alone", 1)


@pytest.mark.fault("F39")
def test_a_claim_that_is_undone_before_it_was_sent_costs_nothing_and_loses_no_file(
    undone: Kernel, record_property: Any
) -> None:
    facts = undone.story("undone_before_it_is_sent")
    before = facts["before"]
    assert before["undone"] == ["a.csv"], "else nothing was undone"
    assert before["paid"] == 1, "first.csv"
    assert before["outcomes"] == ["done", "duplicate", "source_lost"]
    assert "a.csv" in before["error"]
    # Dropped again it goes, since nothing was ever accepted of it.
    assert facts["paid"] == 2
    assert facts["outcomes"] == ["done", "done", "duplicate", "source_lost"]
    assert facts["results"] == ["a.csv"]
    assert facts["archive"] == ["a.csv", "a.csv.receipt.json"]
    record_property("counted: power cuts of a server of shares alone", 1)


@pytest.mark.fault("F39")
def test_a_delivery_that_is_undone_is_not_paid_again_and_had_again_for_free(
    undone: Kernel, record_property: Any
) -> None:
    facts = undone.story("undone_when_all_is_over")
    assert facts["undone"] == ["a.csv"], "else nothing was undone"
    assert facts["before"] == [], "a disk that lies is not seen by anybody"
    assert facts["paid"] == 1
    assert facts["outcomes"] == ["done", "duplicate"]
    assert facts["results"] == ["a.csv"], "by `redeliver`"
    assert facts["error"] == ["a.csv", "a.csv.error.json"]
    record_property("counted: power cuts of a server of shares alone", 1)
