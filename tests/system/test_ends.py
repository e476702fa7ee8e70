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


def test_a_second_daemon_with_another_state_touches_nothing_until_it_is_told_to_adopt(bed: Bed) -> None:
    first = bed.start()
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert first.stop() == 0
    # What the first left in work: one file that was certainly not sent, one that may have been.
    work = bed.place("inbox") / ".bulkgpt-watchd"
    (work / "aaaaaaaa-plain.csv").write_bytes(b"a\n1\n")
    (work / "bbbbbbbb.sent-maybe.csv").write_bytes(b"a\n2\n")

    bed.more["state"] = {"path": "other/state.db"}
    second = bed.start()
    told = second.wait_for("route.unavailable")
    assert "adopt leads" in told["reason"]
    bed.drop("b.csv", b"a\n3\n")
    time.sleep(0.8)
    assert bed.files("inbox").keys() == {"b.csv"}
    assert claimed(bed) == ["aaaaaaaa-plain.csv", "bbbbbbbb.sent-maybe.csv"]
    assert len(bed.sandbox.ledger) == 1
    [route] = bed.json("status")["routes"]
    assert not route["available"]
    assert "another" in route["reason"]
    assert bed.once() == 12, "and it holds its own state"

    bed.does("adopt", "leads")
    wait(lambda: len(second.told("job.done")) == 2 and second.told("job.quarantined"), "all end", daemon=second)
    jobs = {job["file"]: job for job in bed.jobs()}
    assert {file: (job["state"], job["code"]) for file, job in jobs.items()} == {
        "plain.csv": ("done", None),
        "b.csv": ("done", None),
        "maybe.csv": ("failed", "submission_unknown"),
    }
    assert second.stop() == 0

    # The first state comes back: now it is the one that must not touch anything.
    bed.more["state"] = {"path": "state/state.db"}
    third = bed.start()
    third.wait_for("route.unavailable")
    bed.drop("c.csv", b"a\n4\n")
    time.sleep(0.5)
    assert "c.csv" in bed.files("inbox")


def test_two_daemons_with_two_states_never_share_a_file(bed: Bed) -> None:
    first = bed.start()
    bed.more["state"] = {"path": "other/state.db"}
    bed.write()
    second = bed.start()
    second.wait_for("route.unavailable")
    for number in range(20):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    wait(lambda: len(first.told("job.done")) == 20, "the first takes all", daemon=first)
    assert not second.told("job.claimed")


@pytest.mark.fault("F41")
def test_a_state_that_is_no_state_ends_with_74_and_is_left_alone(bed: Bed) -> None:
    (bed.folder / "state").mkdir()
    (bed.folder / "state" / "state.db").write_bytes(b"no database" * 1000)
    bed.drop("a.csv")
    daemon = bed.start(is_ready=False)
    assert daemon.ended() == 74
    assert (bed.folder / "state" / "state.db").read_bytes() == b"no database" * 1000
    assert "state/state.db is damaged" in daemon.told("daemon.failed", exit_code=74)[0]["reason"]
    assert bed.files("inbox").keys() == {"a.csv"}
    assert bed.command("jobs").returncode == 74


@pytest.mark.fault("F41")
def test_a_lost_state_is_an_unavailable_route_and_no_second_payment(bed: Bed) -> None:
    first = bed.start()
    bed.drop("a.csv")
    bed.wait_ended(1)
    first.stop()
    for path in (bed.folder / "state").iterdir():
        path.unlink()
    again = bed.start()
    again.wait_for("route.unavailable")
    assert "adopt" in again.told("route.unavailable")[0]["reason"]


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
