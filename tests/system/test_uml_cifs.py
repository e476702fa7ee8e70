"""What holds on CIFS, in a real kernel with Samba (stories: uml_cifs.py); they take 8 minutes, see conftest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.conftest import STORIES_S
from tests.system.test_uml_shares import BESIDE_S
from tests.system.uml import Kernel

pytestmark = [pytest.mark.system, pytest.mark.timeout(STORIES_S + 60)]


@pytest.mark.fault("F33", "F20")
def test_an_upload_that_stalls_for_longer_than_settle_is_not_taken_while_its_client_has_it_open(cifs: Kernel) -> None:
    """The server says "busy" to the claim, and that means later, without limit."""
    told = cifs.story("upload_in_progress")
    assert told["sizes"][0] == 0, "an empty file stood there for longer than its grace"
    assert 0 < told["sizes"][-1] < told["whole_bytes"], "and a part of it for longer than `settle`"
    assert told["early"] == 0
    assert [reason.rpartition(": ")[2] for reason in told["busy"]] == ["device or resource busy"]
    assert told["whole"]
    assert told["failed"] == []


@pytest.mark.fault("F29", "F30")
def test_a_server_that_says_nothing_stops_its_own_route_only(cifs: Kernel) -> None:
    told = cifs.story("server_silent")
    assert "hangs" in told["reason"]
    assert max(told["beside_s"]) < BESIDE_S, told["beside_s"]
    assert told["results"] == ["before.csv", "during.csv"]


@pytest.mark.fault("F34")
def test_a_mode_that_the_share_does_not_keep_stops_no_result(cifs: Kernel) -> None:
    told = cifs.story("modes_are_not_kept")
    assert told["mode"] != "0o640", "else modes are kept here, and nothing is shown"
    assert told["results"] == ["a.csv"]


@pytest.mark.fault("F34")
def test_names_that_differ_in_case_only_are_one_name_and_never_replaced(cifs: Kernel) -> None:
    told = cifs.story("case_is_not_kept")
    assert told["kept"]
    assert told["states"] == {"a.csv": "done", "bad.csv": "failed"}
    # Those of others; a result; an original and its receipt; a file and its reason.
    assert told["counts"] == {"outbox": 1 + 1, "archive": 1 + 2, "error": 1 + 2}


@pytest.mark.fault("F34", "S7")
@pytest.mark.parametrize(
    ("story", "names"),
    [
        ("odd_names", ("back_slash.csv", "back_slash/good.csv", "deep/er__than/good.csv")),
        ("odd_names_on_a_stick", ("colon_.csv", "back_slash/good.csv", "deep/er__than/good.csv")),
    ],
)
def test_a_result_whose_name_a_disk_cannot_have_is_delivered_under_one_that_it_can(
    cifs: Kernel, record_property: Any, story: str, names: tuple[str, ...]
) -> None:
    """The names of folders on the way too."""
    told = cifs.story(story)
    assert {*map(repr, names)} <= {*told["names"]}
    assert "'umlaut \\xfc \\u20ac.csv'" in told["names"], "what it can have is kept"
    assert {state for name, state in told["states"].items() if "bad" in name} == {"failed"}
    assert {state for name, state in told["states"].items() if "bad" not in name} == {"done"}
    assert (told["missing"], told["more"], told["lost"]) == (0, 0, [])
    assert told["unavailable"] == []
    record_property("counted: odd names that went to a share or to vfat", len(told["states"]))


@pytest.mark.fault("F34")
def test_inode_numbers_that_the_client_makes_up_are_enough(cifs: Kernel) -> None:
    told = cifs.story("without_inode_numbers")
    assert told["results"] == ["0.csv", "1.csv", "2.csv", "3.csv"]
    assert told["unavailable"] == []
