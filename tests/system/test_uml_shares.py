"""
What holds on NFS and on CIFS alike, in a real kernel with real servers (stories: uml_stories.py).

The first test of each kind waits for all its stories: about 8 minutes.
"""

from __future__ import annotations

from typing import Any

import pytest

from bulkgpt_watchd.adapters.threads import THREADS_PER_ROUTE
from tests.system.conftest import STORIES_S
from tests.system.uml import Kernel
from tests.system.uml_stories import CYCLES

pytestmark = [pytest.mark.system, pytest.mark.timeout(STORIES_S + 60)]

BESIDE_S = 10.0
"""For a file on a local disk from its drop to its end: 0.4 s in there; while a call hangs it would be 20 s and more."""

STOP_S = 15.0

Count = Any
"""pytest's record_property."""


@pytest.mark.fault("F27")
def test_what_others_drop_is_found_by_looking_within_the_time_of_one_look(
    share: Kernel, record_property: Count
) -> None:
    """No event tells of it: only the local inbox is watched."""
    told = share.story("found_without_events")
    assert told["watches"] == 1
    assert max(told["found_after_s"]) < 3, "scan_every is 0.2 s, and a look takes its time in there"
    assert told["results"] == ["0.csv", "1.csv", "2.csv", "3.csv"]
    assert told["unavailable"] == []
    record_property("counted: files that others dropped on a share, found without an event", 4)


@pytest.mark.fault("F28")
def test_a_file_that_others_write_is_not_taken_half_though_the_kernel_says_that_it_stands_still(
    share: Kernel,
) -> None:
    told = share.story("stale_attributes")
    assert told["behind_bytes"] > 100, "else nothing is stale here, and nothing is shown"
    assert told["early"] == []
    assert told["whole"]


@pytest.mark.fault("F29", "F30")
def test_a_server_that_is_away_stops_its_own_route_only(share: Kernel, record_property: Count) -> None:
    told = share.story("server_stopped_and_back")
    assert told["state"] == "degraded"
    assert told["problems"] == [f"route leads: {told['reason']}"]
    assert told["beside_told"] == []
    assert max(told["beside_s"]) < BESIDE_S, told["beside_s"]
    assert told["healthz"] == 200, "nobody may be killed for a share that is away"
    assert told["withdrawn"] == [], "a share that is away is no empty inbox"
    record_property("counted: files of other routes done while a share was away", len(told["beside_s"]))


@pytest.mark.fault("F29", "F30")
def test_a_route_returns_by_itself_with_what_was_dropped_meanwhile(share: Kernel) -> None:
    told = share.story("server_stopped_and_back")
    assert told["results"] == ["before.csv", "during.csv"]
    assert told["state_after"] == "ok"


@pytest.mark.fault("F29", "F30")
def test_a_paid_result_that_comes_while_the_server_is_away_is_delivered_whole_once_it_is_back(share: Kernel) -> None:
    told = share.story("result_while_away")
    assert told["reason"]
    assert told["whole"]
    assert told["archive"] == ["a.csv", "a.csv.receipt.json"]
    assert told["paid"] == 2, "it and one beside it"
    assert told["failed"] == []


@pytest.mark.fault("F29", "F30")
def test_no_thread_and_no_descriptor_is_lost_however_often_a_server_goes(share: Kernel, record_property: Count) -> None:
    told = share.story("hung_again_and_again")
    first, *others = told["counted"]
    assert len(others) == CYCLES - 1
    assert told["results"] == CYCLES + 1
    for each in others:
        assert max(each["hung"], each["back"]) <= max(first["hung"], first["back"]) + 1, told["counted"]
        assert each["descriptors"] <= first["descriptors"] + 2, told["counted"]
    record_property("counted: times that a server of shares went away and came back", CYCLES)


@pytest.mark.fault("F29", "F30")
def test_a_route_has_its_few_threads_whatever_hangs(share: Kernel) -> None:
    """Of the process: its own, SQLite's, the bell's two, a resolver's, and those of three routes (one has no name)."""
    told = share.story("hung_again_and_again")
    assert max(each["hung"] for each in told["counted"]) <= 5 + 3 * THREADS_PER_ROUTE


@pytest.mark.fault("F29", "F30", "F45")
def test_neither_a_stop_nor_a_start_waits_for_a_server_that_is_away(share: Kernel) -> None:
    told = share.story("stopped_while_hung")
    assert told["code"] == 0
    assert told["stop_s"] < STOP_S
    assert told["start_s"] < 60
    assert told["results"] == ["before.csv", "during.csv"]


@pytest.mark.fault("F31", "F43")
def test_a_share_that_is_gone_is_not_taken_for_what_is_below_it(share: Kernel) -> None:
    told = share.story("mounted_over_and_gone")
    assert "is missing" in told["gone"] or "used to lie on" in told["gone"], told["gone"]
    (problem,) = told["reason_below"]
    assert "used to lie on" in problem
    assert told["below"] == ["inbox", "inbox/trap.csv"], "nothing is made or taken there"


@pytest.mark.fault("F31", "F43")
def test_what_is_mounted_over_a_share_is_not_taken_for_it(share: Kernel) -> None:
    told = share.story("mounted_over_and_gone")
    assert "used to lie on" in told["reason_over"]
    assert told["over"] == ["inbox", "inbox/trap.csv"], "nothing is made or taken there"
    assert told["results"] == told["files"] == ["a.csv", "b.csv", "c.csv"]


@pytest.mark.fault("F28")
def test_a_file_on_a_share_has_to_be_quiet_for_a_minute_where_nothing_else_is_said(share: Kernel) -> None:
    assert 59 <= share.story("settles_a_minute")["taken_after_s"] < 80


@pytest.mark.fault("F41")
def test_a_state_on_a_share_is_refused(share: Kernel) -> None:
    told = share.story("state_on_the_share")
    assert told["code"] == 74
    assert "which cannot be trusted with it: put `state.path` on a local disk" in told["told"]
    assert told["made"] == []
