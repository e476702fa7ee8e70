"""The process ends: asked to, asked twice, killed, or not let in; and what the next start makes of it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import KEY, Bed
from tests.system.process import wait

LARGE = b"name,text\n" + b"".join(b"row %d,%s\n" % (row, b"x" * 1000) for row in range(60_000))
"""60 MB: more than sockets buffer (32 MB by tcp_rmem), so that an upload stands still when nobody reads."""


def claimed(bed: Bed) -> list[str]:
    return sorted(name for name in bed.files("work") if name != "route.json")


@pytest.mark.fault("F45")
def test_term_within_an_upload_loses_nothing(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", at="middle", body_bytes=1_000_000, delay_s=30))
    bed.api |= {"timeout": "1m", "answer_timeout": "1m"}
    bed.drop("large.csv", LARGE)
    daemon = bed.start()
    daemon.wait_for("job.checked")
    time.sleep(1)
    assert not any(".sent-" in name for name in claimed(bed))
    started = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - started < 5, "an upload before its point of no return is cut"
    [name] = claimed(bed)
    assert ".sent-" not in name
    assert not bed.sandbox.accepted

    bed.sandbox.clear()
    bed.start()
    [job] = bed.wait_ended(1)
    assert job["state"] == "done"
    assert bed.files("outbox") == {"large.csv": answer(LARGE)}
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_a_good_end_from_the_first_line_on(bed: Bed, number: signal.Signals) -> None:
    daemon = bed.start(is_ready=False)
    daemon.wait_for("daemon.started")
    assert daemon.stop(number) == 0
    assert daemon.told("daemon.stopped", exit_code=0)


def test_a_hang_up_is_obeyed_from_the_first_line_on(bed: Bed) -> None:
    daemon = bed.start(is_ready=False)
    daemon.wait_for("daemon.started")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("config.reloaded")
    assert daemon.process.poll() is None


@pytest.mark.fault("F45")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_an_answer_and_keeps_it(bed: Bed, number: signal.Signals) -> None:
    bed.sandbox.plan(Fault(call="submit", delay_s=2))
    bed.drop("orders.csv")
    daemon = bed.start()
    wait(lambda: any(".sent-" in name for name in claimed(bed)), "the last block goes", daemon=daemon)
    assert daemon.stop(number) == 0
    [told] = daemon.told("task.submitted")
    assert [told["task_id"]] == [record.task_id for record in bed.sandbox.accepted]
    assert bed.jobs()[0]["state"] == "running"

    bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["task_ids"]) == ("done", [told["task_id"]])


def test_a_second_interrupt_ends_at_once_and_leaves_a_doubt(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", delay_s=30, accept=True))
    bed.api["answer_timeout"] = "1m"
    bed.drop("orders.csv")
    daemon = bed.start()
    wait(lambda: any(".sent-" in name for name in claimed(bed)), "the last block goes", daemon=daemon)
    daemon.process.send_signal(signal.SIGINT)
    daemon.wait_for("daemon.stopping")
    time.sleep(0.3)
    assert daemon.process.poll() is None, "it waits for the answer"
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.ended(3) != 0

    again = bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["code"]) == ("failed", "submission_unknown")
    assert bed.error("orders.csv")["code"] == "submission_unknown"
    assert not again.told("task.submitted")
    bed.drop("next.csv", b"a\n1\n")
    bed.wait_ended(2)
    assert bed.json("status")["gate"] == "open", "doubts of our own death do not shut the gate"


def test_kill_at_any_time_loses_nothing_and_pays_once(bed: Bed) -> None:
    contents = {f"{number}.csv": b"Input_1\n%d\n" % number for number in range(12)}
    for name, content in contents.items():
        bed.drop(name, content)
    for tenths in (1, 3, 2, 4):
        daemon = bed.start(is_ready=False)
        daemon.wait_for_lines(4 * tenths)
        daemon.kill()
    bed.start()
    wait(lambda: [job["state"] in {"done", "failed"} for job in bed.jobs()] == [True] * len(contents), "all have ended")
    jobs = bed.jobs()
    for job in jobs:
        assert (job["state"], job["code"]) in {("done", None), ("failed", "submission_unknown")}, job
        if job["state"] == "done":
            assert bed.files("outbox")[job["file"]] == answer(contents[job["file"]])
    assert sorted(job["file"] for job in jobs) == sorted(contents)


@pytest.mark.fault("F45")
def test_a_second_daemon_on_the_same_state_ends_with_12(bed: Bed) -> None:
    first = bed.start()
    second = bed.start(is_ready=False)
    assert second.ended() == 12
    [failed] = second.told("daemon.failed", level="error", exit_code=12)
    assert f"{bed.folder}/state/state.db is held by another instance (pid {first.pid})" in failed["reason"]
    assert bed.once() == 12
    bed.drop("a.csv")
    wait(lambda: first.told("job.done"), "the first goes on", daemon=first)
    bed.does("status")  # over the first one's socket


@pytest.mark.fault("S25", "S27")
def test_the_environment_of_the_process_holds_no_key_and_the_socket_is_ours_alone(bed: Bed) -> None:
    daemon = bed.start()
    socket = bed.folder / "state" / "control.sock"
    assert oct(socket.stat().st_mode & 0o777) == oct(0o660)
    assert os.stat(bed.folder / "state").st_mode & 0o007 == 0
    with open(f"/proc/{daemon.pid}/environ", "rb") as file:
        assert KEY.encode() not in file.read()
    daemon.stop()
    assert not socket.exists()
