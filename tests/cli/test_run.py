"""What `run` says when it cannot start: one line of its log, or every mistake, and its exit code."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable

import pytest
from click.testing import Result

from tests.cli.conftest import Bed


def last_line(ran: Result) -> str:
    return ran.stderr.splitlines()[-1]


def test_a_wrong_configuration_starts_nothing(bed: Bed) -> None:
    bed.config.write_text("api: {timout: 1s}\nroutes: []\n")
    ran = bed.cli("run")

    assert (ran.exit_code, ran.stdout) == (78, "")
    assert "1:7: api.timout: unknown key; did you mean 'timeout'?\n  1 | api: {timout: 1s}\n    |       ^" in ran.stderr
    assert last_line(ran) == "2 mistakes"
    assert list(bed.state.parent.iterdir()) == []


def test_a_missing_key_is_a_mistake_of_the_configuration(bed: Bed) -> None:
    (bed.folder / "key").unlink()
    ran = bed.cli("run")

    assert ran.exit_code == 78
    assert f"api.api_key_file: {bed.folder}/key does not exist" in ran.stderr


def test_a_state_that_another_daemon_holds_ends_with_12(bed: Bed) -> None:
    with open(f"{bed.state}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = bed.cli("run")

    assert ran.exit_code == 12
    failed = json.loads(last_line(ran))
    assert (failed["event"], failed["exit_code"]) == ("daemon.failed", 12)
    assert failed["reason"].startswith(f"the state {bed.state} is held by another instance")


def _garbage(bed: Bed) -> None:
    bed.state.write_text("something else, and long enough to be read\n" * 100)


def _no_place(bed: Bed) -> None:
    bed.config.write_text(bed.config.read_text().replace("state/state.db", "no/such/folder/state.db"))


def _socket_in_the_way(bed: Bed) -> None:
    (bed.state.parent / "control.sock").mkdir()


@pytest.mark.parametrize("harm", [_garbage, _no_place, _socket_in_the_way])
def test_a_state_that_cannot_be_used_ends_with_74(bed: Bed, harm: Callable[[Bed], None]) -> None:
    harm(bed)
    ran = bed.cli("run")

    assert (ran.exit_code, ran.stdout) == (74, "")
    failed = json.loads(last_line(ran))
    assert (failed["event"], failed["level"], failed["exit_code"]) == ("daemon.failed", "error", 74)
    assert failed["reason"].startswith("the ")
    assert "Traceback" not in ran.stderr


def test_a_time_limit_without_once_is_a_mistake_of_usage(bed: Bed) -> None:
    assert bed.cli("run", "--timeout", "2h").exit_code == 2
    assert json.loads(bed.cli("jobs", "--since", "x", "--json").stdout)["error"]["exit_code"] == 2
