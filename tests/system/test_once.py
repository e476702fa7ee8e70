"""`run --once`, as cron uses it: it takes what is there, waits, and its exit code tells how it went."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import pytest

from bulkgpt_watchd.sandbox import Fault, SandboxOptions, answer
from tests.system.bed import KEY, Bed
from tests.system.process import AS_MORTAL, wait

NOBODY = 65534
"""A user that owns nothing."""


def in_time(bed: Bed, before: Iterable[str] = ()) -> int:
    """Do `run --once`; give the exit code, which must not be that of a limit that ran out."""
    daemon = bed.start("--once", "--timeout", "10s", is_ready=False, before=before)
    code = daemon.ended()
    assert not daemon.told("once.timed_out"), daemon.tail()
    return code


def test_all_done_is_0(bed: Bed) -> None:
    for number in range(3):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    assert bed.once() == 0
    assert len(bed.files("outbox")) == 3
    assert bed.once() == 0, "nothing to do is no failure"
    assert len(bed.sandbox.accepted) == 3


@pytest.mark.parametrize("options", [SandboxOptions(key=KEY, preparing_s=0.2, running_s=1.0, finalizing_s=0.2)])
def test_it_waits_for_the_tasks(bed: Bed) -> None:
    bed.route(settle="300ms")
    bed.drop("a.csv")
    started = time.monotonic()
    assert bed.once() == 0
    assert time.monotonic() - started > 1.4
    assert bed.files("outbox").keys() == {"a.csv"}


def test_some_failed_is_10_and_only_those_of_this_run_count(bed: Bed) -> None:
    bed.drop("bad.csv", b"a,b\n1\n")
    bed.drop("good.csv", b"a,b\n1,2\n")
    assert bed.once() == 10
    assert bed.files("outbox").keys() == {"good.csv"}
    assert bed.files("error").keys() == {"bad.csv", "bad.csv.error.json"}
    bed.drop("better.csv", b"a,b\n3,4\n")
    assert bed.once() == 0


def test_a_doubt_is_a_failure(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", http_status=500))
    bed.drop("a.csv")
    assert bed.once() == 10
    assert bed.error("a.csv")["code"] == "submission_unknown"


def test_paused_is_11_and_touches_nothing(bed: Bed) -> None:
    daemon = bed.start()
    bed.does("pause", "leads")
    daemon.stop()
    bed.drop("a.csv")
    assert bed.once() == 11
    assert bed.files("inbox").keys() == {"a.csv"}
    assert not bed.sandbox.ledger


def test_a_pause_of_another_route_does_not_hold_this_one(bed: Bed) -> None:
    bed.route()
    bed.route("more")
    daemon = bed.start()
    bed.does("pause", "more")
    daemon.stop()
    bed.drop("a.csv")
    bed.drop("b.csv", b"a\n1\n", "more")
    assert bed.once() == 11
    assert bed.files("outbox").keys() == {"a.csv"}
    assert bed.files("inbox", "more").keys() == {"b.csv"}


def test_time_that_runs_out_is_11_and_the_next_run_goes_on(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", task_end="never"))
    bed.drop("a.csv")
    started = time.monotonic()
    assert bed.once("--timeout", "1s") == 11
    assert time.monotonic() - started < 10
    [job] = bed.jobs()
    assert job["state"] == "running"
    assert bed.once("--timeout", "1s") == 11
    assert len(bed.sandbox.accepted) == 1


def test_a_missing_inbox_is_11_and_the_others_are_done(bed: Bed) -> None:
    bed.route()
    bed.route("more")
    bed.place("inbox", "more").rmdir()
    bed.drop("a.csv")
    assert bed.once() == 11
    assert bed.files("outbox").keys() == {"a.csv"}


def test_a_wrong_key_is_77_and_moves_nothing(bed: Bed) -> None:
    bed.set_key("sk-live-of-another-account")
    for number in range(3):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    assert bed.once() == 77
    assert bed.files("error") == bed.files("outbox") == {}
    bed.set_key(KEY)
    assert bed.once() == 0
    assert len(bed.files("outbox")) == 3


def test_a_wrong_key_is_77_at_every_start(bed: Bed) -> None:
    """Why the gate is shut is written down: the second start does not wait for a key that is still wrong."""
    bed.api["retry"] = {"min": "100ms", "max": "1h"}
    bed.set_key("sk-live-of-another-account")
    bed.drop("a.csv")
    assert [in_time(bed) for _ in range(3)] == [77, 77, 77]
    assert bed.files("error") == {}
    assert not bed.sandbox.accepted


@pytest.mark.parametrize("files", [{}, {"b.csv": b"a\n1\n"}])
def test_a_wrong_key_is_77_also_with_a_task_that_it_may_not_ask_about(bed: Bed, files: dict[str, bytes]) -> None:
    bed.drop("a.csv")
    bed.sandbox.plan(Fault(call="submit", task_end="never"))
    assert bed.once("--timeout", "1s") == 11
    bed.set_key("sk-live-of-another-account")
    for name, content in files.items():
        bed.drop(name, content)
    assert [in_time(bed) for _ in range(3)] == [77, 77, 77]
    [job, *_] = bed.jobs()
    assert job["state"] == "running"


@pytest.mark.parametrize("has_task", [False, True])
def test_a_mended_key_is_tried_at_once_by_the_next_run(bed: Bed, has_task: bool) -> None:
    """A run from cron has no time to wait for `retry.max`, and a person may have mended the key since."""
    bed.api["retry"] = {"min": "1h", "max": "1h"}
    if has_task:
        bed.drop("first.csv", b"a\n1\n")
        assert bed.once() == 0
    bed.set_key("sk-live-of-another-account")
    bed.drop("a.csv")
    assert bed.once() == 77
    bed.set_key(KEY)
    bed.sandbox.plan(Fault(call="status", delay_s=1))
    assert in_time(bed) == 0


@pytest.mark.parametrize("options", [SandboxOptions(key=KEY, preparing_s=0.2, running_s=3.0, finalizing_s=0.2)])
def test_what_runs_at_bulkgpt_is_awaited_before_77(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", http_status=402, error="Payment required", contains="poor", times="always"))
    bed.drop("a.csv", b"a\nrich\n")
    daemon = bed.start("--once", is_ready=False)
    daemon.wait_for("task.submitted")
    bed.drop("b.csv", b"a\npoor\n")
    assert daemon.ended() == 77
    assert bed.files("outbox").keys() == {"a.csv"}


@pytest.mark.parametrize("options", [SandboxOptions(key=KEY, preparing_s=0.2, running_s=3.0, finalizing_s=0.2)])
def test_a_403_of_one_route_is_11_also_when_a_doubt_shuts_the_gate_afterwards(bed: Bed) -> None:
    bed.api["retry"] = {"min": "1m", "max": "1m"}
    bed.route()
    bed.route("more")
    bed.sandbox.plan(
        Fault(call="submit", http_status=403, error="Forbidden", workflow="workflow of more", times="always"),
        Fault(call="submit", http_status=502, contains="doubt", times="always"),
    )
    bed.drop("a.csv")
    daemon = bed.start("--once", is_ready=False)
    daemon.wait_for("task.submitted")
    bed.drop("b.csv", b"a\n1\n", "more")
    daemon.wait_for("gate.held")
    bed.drop("c.csv", b"a\ndoubt\n")
    assert daemon.ended() == 11
    assert daemon.told("gate.shut")
    assert in_time(bed) == 11, "at every start"


def test_an_account_without_credit_is_77(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", http_status=402, error="Payment required", times="always"))
    bed.drop("a.csv")
    assert bed.once() == 77
    assert bed.files("error") == {}


def test_an_api_that_nobody_answers_at_is_11_and_moves_nothing(bed: Bed) -> None:
    """Those that were tried several times are held, and so are the many that wait behind them."""
    bed.api["base_url"] = "http://127.0.0.1:9"
    for number in range(20):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    assert in_time(bed) == 11
    assert in_time(bed) == 11, "at every start"
    assert bed.files("error") == {}
    bed.api["base_url"] = bed.sandbox.base_url
    assert in_time(bed) == 0, "however often it failed before, each is tried in this run"


def test_what_is_empty_or_still_grows_is_left(bed: Bed) -> None:
    bed.route(settle="600ms", empty_grace="1h")
    inbox = bed.place("inbox")
    (inbox / "empty.csv").write_bytes(b"")
    bed.drop("whole.csv", b"a\n1\n")
    daemon = bed.start("--once", is_ready=False)
    with open(inbox / "grows.csv", "wb", buffering=0) as growing:

        def grow() -> bool:
            growing.write(b"row\n")
            return daemon.process.poll() is not None

        wait(grow, "it ends while the file grows")
    assert daemon.ended() == 0
    assert bed.files("outbox") == {"whole.csv": answer(b"a\n1\n")}
    assert bed.files("inbox").keys() == {"empty.csv", "grows.csv"}


def test_what_an_earlier_run_left_half_done_is_finished(bed: Bed) -> None:
    bed.drop("a.csv")
    daemon = bed.start()
    daemon.wait_for("job.claimed")
    daemon.kill()
    assert bed.once() in {0, 10}
    [job] = bed.jobs()
    assert job["state"] in {"done", "failed"}
    trace = set() if job["state"] == "done" else {f"{job['job']}.error.json"}  # of the doubt that the kill may leave
    assert bed.files("work").keys() == {"route.json", *trace}


@pytest.mark.skipif(os.geteuid() == 0 and not AS_MORTAL, reason="as root without setpriv")
def test_a_file_that_may_not_be_read_is_11(bed: Bed) -> None:
    bed.drop("closed.csv", b"a\n1\n")
    bed.drop("open.csv", b"a\n2\n")
    (bed.place("inbox") / "closed.csv").chmod(0)
    assert bed.start("--once", is_ready=False, before=AS_MORTAL).ended() == 11
    assert bed.files("outbox").keys() == {"open.csv"}


@pytest.mark.skipif(not AS_MORTAL, reason="not as root: only root can give files to others")
def test_a_file_that_may_be_read_but_not_moved_is_11(bed: Bed) -> None:
    bed.route()
    bed.drop("theirs.csv", b"a\n1\n")
    bed.drop("ours.csv", b"a\n2\n")
    for path in (bed.place("inbox"), bed.place("inbox") / "theirs.csv"):
        os.chown(path, NOBODY, NOBODY)
    bed.place("inbox").chmod(0o1777)
    for _ in range(2):
        assert in_time(bed, before=AS_MORTAL) == 11
        assert bed.files("outbox").keys() == {"ours.csv"}
    os.chown(bed.place("inbox") / "theirs.csv", 0, 0)
    assert in_time(bed, before=AS_MORTAL) == 0


def test_a_backlog_at_the_first_start_is_11_until_a_person_takes_it(bed: Bed) -> None:
    bed.route(hold_backlog=2)
    for number in range(3):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    assert bed.once() == 11
    assert bed.once() == 11
    assert len(bed.files("inbox")) == 3


def test_doubts_that_shut_the_gate_for_good_are_11(bed: Bed) -> None:
    bed.api["retry"] = {"min": "50ms", "max": "200ms"}
    bed.sandbox.plan(Fault(call="submit", http_status=502, times="always"))
    for number in range(12):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    assert bed.once() == 11
    assert len(bed.files("error")) <= 2 * (4 + 2), "each with its reason"
    assert bed.json("status")["gate_needs_resume"]


def test_markers_that_are_missing_leave_the_files(bed: Bed) -> None:
    bed.route(ready={"done_file": "{name}.done"})
    bed.drop("a.csv", b"a\n1\n")
    assert bed.once() == 0
    assert bed.files("inbox").keys() == {"a.csv"}
