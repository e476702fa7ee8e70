"""What holds on NFS, in a real kernel with its own server (stories: uml_nfs.py); they take 8 minutes, see conftest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.conftest import STORIES_S
from tests.system.uml import Kernel

pytestmark = [pytest.mark.system, pytest.mark.timeout(STORIES_S + 60)]


@pytest.mark.fault("F29")
def test_a_rename_that_the_kernel_does_late_makes_no_doubt_and_no_second_submit(nfs: Kernel) -> None:
    told = nfs.story("renamed_late")
    assert "hangs" in told["deferred"]
    assert told["states"] == ["done"] * 3
    assert told["paid"] == 3


@pytest.mark.fault("F30")
def test_calls_that_fail_take_no_waiting_file_for_gone(nfs: Kernel) -> None:
    told = nfs.story("soft_mount")
    assert told["reason"]
    assert told["states"] == {"waits.csv": "waiting", "beside.csv": "done"}
    assert (told["withdrawn"], told["failed"]) == ([], [])
    assert told["results"] == ["waits.csv"]


@pytest.mark.fault("F32")
def test_what_nfs_keeps_of_a_file_that_was_removed_while_open_is_not_taken(nfs: Kernel) -> None:
    told = nfs.story("silly_names")
    assert told["silly"] == 1, "else there is no such name here, and nothing is shown"
    assert told["left"]
    assert told["files"] == ["swapped.csv"]


@pytest.mark.fault("F32", "F23")
def test_of_a_file_that_is_replaced_again_and_again_the_last_one_is_sent_whole(
    nfs: Kernel, record_property: Any
) -> None:
    assert nfs.story("silly_names")["whole"]
    record_property("counted: replacements of a file on NFS while it was looked at", 20)


@pytest.mark.fault("F35")
def test_no_name_is_replaced_where_the_kernel_has_no_rename_for_it(nfs: Kernel) -> None:
    told = nfs.story("names_are_never_replaced")
    assert told["code"] == "EINVAL", "else this kernel can do it, and nothing is shown"
    assert told["kept"]
    assert told["states"] == {"a.csv": "done", "bad.csv": "failed", "worse.csv": "failed"}
    # Those of others; a result; an original and its receipt; two files and their reasons.
    assert told["counts"] == {"outbox": 1 + 1, "archive": 1 + 2, "error": 2 + 4}


@pytest.mark.fault("F47")
def test_a_server_to_which_root_is_nobody_is_good_enough(nfs: Kernel) -> None:
    told = nfs.story("root_is_nobody")
    assert told["owner"] != 0, "else root is root there, and nothing is shown"
    assert told["results"] == ["closed.csv", "open.csv"]
    assert told["error"] == ["bad.csv", "bad.csv.error.json"]


@pytest.mark.fault("F47")
def test_a_file_that_only_its_owner_may_read_stays_in_the_inbox_and_is_told(nfs: Kernel) -> None:
    told = nfs.story("root_is_nobody")
    assert "permission denied" in told["reason"]
    assert told["left"]


@pytest.mark.fault("F36")
def test_a_server_whose_disk_is_full_keeps_a_paid_result_waiting_until_there_is_room(nfs: Kernel) -> None:
    told = nfs.story("server_is_full")
    assert "no space left" in told["reason"]
    assert told["visible"] == []
    assert told["whole"]
    assert (told["paid"], told["failed"]) == (1, [])
