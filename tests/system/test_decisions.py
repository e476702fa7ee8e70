"""What a person decides by command: retry, resolve, redeliver, pause, resume; with the exit codes of each refusal."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, answer
from tests.system.bed import VENDOR_CSV, Bed, wait

LOST = Fault(call="submit", reset=True, accept=True)
NOT_TAKEN = Fault(call="submit", reset=True, accept=False)


def refused(bed: Bed, *arguments: str, code: int = 77) -> str:
    """Run a command that must be refused; give what it says."""
    done = bed.command(*arguments, "--json")
    assert done.returncode == code, (arguments, done)
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == code
    return str(error["message"])


def fail(bed: Bed, *faults: Fault) -> str:
    """Drop a file that fails by these faults; give its job."""
    bed.sandbox.plan(*faults)
    bed.start()
    bed.drop("a.csv")
    [job] = bed.wait_ended(1)
    assert job["state"] == "failed"
    bed.sandbox.clear()
    return str(job["job"])


# --- doubts -----------------------------------------------------------------------------------------------------------


def test_a_doubt_that_has_a_task_goes_on_with_it(bed: Bed) -> None:
    job = fail(bed, LOST)
    task_id = bed.sandbox.accepted[0].task_id or ""
    assert "resolve" in refused(bed, "retry", job)
    assert "resolve" in refused(bed, "retry", job, "--pay-again"), "never a doubt"
    assert "does not know" in refused(bed, "resolve", job, "--task-id", "of-another-account")
    bed.does("resolve", job, "--task-id", task_id)
    [shown] = bed.wait_ended(2)
    assert (shown["state"], shown["code"], shown["task_ids"]) == ("done", None, [task_id])
    assert bed.files("error") == {}
    assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    assert bed.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}
    assert len(bed.sandbox.accepted) == 1
    assert refused(bed, "resolve", job, "--abandon")


def test_a_task_that_belongs_to_another_job_is_not_taken(bed: Bed) -> None:
    bed.start()
    bed.drop("first.csv", b"a\n1\n")
    bed.wait_ended(1)
    bed.sandbox.plan(LOST)
    bed.drop("a.csv")
    bed.wait_ended(2)
    doubt = bed.job("a.csv")["job"]
    first = bed.job("first.csv")
    assert first["job"] in refused(bed, "resolve", doubt, "--task-id", first["task_ids"][0])


def test_a_doubt_that_was_not_submitted_is_sent(bed: Bed) -> None:
    job = fail(bed, NOT_TAKEN)
    bed.does("resolve", job, "--not-submitted")
    [shown] = bed.wait_ended(2)
    assert (shown["state"], shown["attempts"]) == ("done", 2)
    assert bed.files("error") == {}
    assert len(bed.sandbox.accepted) == 1


def test_a_doubt_that_is_abandoned_stays_in_error_and_is_no_problem_any_more(bed: Bed) -> None:
    job = fail(bed, NOT_TAKEN)
    status = bed.json("status")
    assert [doubt["job"] for doubt in status["doubts"]] == [job]
    assert job in bed.does("status")
    bed.does("resolve", job, "--abandon")
    assert bed.files("error").keys() == {"a.csv", "a.csv.error.json"}
    status = bed.json("status")
    assert (status["doubts"], status["problems"]) == ([], []) or "gate" in status["problems"][0]
    assert bed.json("jobs", "show", job)["is_closed"]
    # It may be dropped again: nobody claims any more that it may have been paid.
    bed.drop("again.csv")
    bed.daemons[-1].wait_for("job.done", file="again.csv")


def test_resolve_wants_exactly_one_answer_and_a_doubt(bed: Bed) -> None:
    bed.start()
    bed.drop("a.csv")
    [job] = bed.wait_ended(1)
    refused(bed, "resolve", job["job"], code=2)
    refused(bed, "resolve", job["job"], "--abandon", "--not-submitted", code=2)
    assert "not in doubt" in refused(bed, "resolve", job["job"], "--abandon")
    words = bed.command("resolve", job["job"], "--abandon")
    assert (words.returncode, words.stdout) == (77, "")
    assert words.stderr.startswith(f"bulkgpt-watchd: job {job['job']} is not in doubt")


def test_who_or_what_is_not_there_is_66_and_a_wrong_call_is_2(bed: Bed) -> None:
    bed.start()
    refused(bed, "resolve", "zzzzzzzz", "--abandon", code=66)
    refused(bed, "retry", "zzzzzzzz", code=66)
    refused(bed, "redeliver", "nothing.csv", code=66)
    refused(bed, "retry", code=2)
    refused(bed, "pause", "nowhere", code=66)
    refused(bed, "adopt", "nowhere", code=66)


def test_one_task_id_for_two_files_holds_both_and_asks(bed: Bed, sandbox: Sandbox) -> None:
    sandbox.plan(Fault(call="status", http_status=503, times="always"))
    sandbox.plan(Fault(call="submit", nth=2, task_id="previous"))
    bed.api["max_concurrent_submits"] = 1
    bed.start()
    bed.drop("a.csv", b"a\n1\n")
    wait(lambda: bed.sandbox.accepted, "the first is sent")
    bed.drop("b.csv", b"a\n2\n")
    jobs = bed.wait_ended(2)
    assert [job["code"] for job in jobs] == ["task_id_conflict", "task_id_conflict"]
    assert "retry" not in bed.error("a.csv")["what_to_do"]
    assert jobs[1]["job"] in bed.error("a.csv")["message"]
    for job in jobs:
        assert "resolve" in refused(bed, "retry", job["job"])
    sandbox.clear()
    # The dashboard says: the task is the second one's; the first was never submitted.
    task_id = bed.sandbox.accepted[0].task_id or ""
    bed.does("resolve", jobs[1]["job"], "--task-id", task_id)
    bed.does("resolve", jobs[0]["job"], "--not-submitted")
    bed.paid_twice.update(record.sha256 or "" for record in sandbox.accepted)
    jobs = bed.wait_ended(4)
    assert {job["state"] for job in jobs} == {"done"}
    assert jobs[0]["task_ids"][-1] != jobs[1]["task_ids"][-1]


# --- retry ------------------------------------------------------------------------------------------------------------


def test_retry_goes_on_from_the_last_free_step(bed: Bed) -> None:
    bed.route(task_timeout="500ms")
    job = fail(bed, Fault(call="download", http_status=403, times="always"))
    bed.does("retry", job)
    [shown] = bed.wait_ended(2)
    assert (shown["state"], shown["attempts"]) == ("done", 1)
    assert len(bed.sandbox.accepted) == 1
    assert bed.files("error") == {}


@pytest.mark.parametrize("end", ["error", "canceled"])
def test_what_ended_at_bulkgpt_is_sent_again_only_with_pay_again(bed: Bed, end: str) -> None:
    job = fail(bed, Fault(call="submit", task_end=end))
    assert "--pay-again" in refused(bed, "retry", job)
    assert len(bed.sandbox.accepted) == 1
    bed.paid_twice.add(bed.sandbox.accepted[0].sha256 or "")
    bed.does("retry", job, "--pay-again")
    [shown] = bed.wait_ended(2)
    assert shown["state"] == "done"
    assert shown["task_ids"] == [record.task_id for record in bed.sandbox.accepted]
    assert bed.receipt("a.csv")["task_ids"] == shown["task_ids"]


def test_a_rejected_file_is_retried_after_the_workflow_was_mended(bed: Bed) -> None:
    bed.route(workflow_id="wrong")
    job = fail(
        bed, Fault(call="submit", workflow="wrong", error="Invalid workflow ID.", http_status=400, times="always")
    )
    bed.routes[0]["workflow_id"] = "right"
    bed.write()
    bed.does("reload")
    bed.does("retry", job)
    [shown] = bed.wait_ended(2)
    assert shown["state"] == "done"
    assert bed.sandbox.accepted[0].workflow_id == "right"
    assert bed.receipt("a.csv")["workflow_id"] == "right"


def test_a_mended_file_in_error_is_retried_with_its_new_bytes(bed: Bed) -> None:
    bed.start()
    bad = bed.drop("a.csv", b"a,b\n1\n")
    [job] = bed.wait_ended(1)
    (bed.place("error") / "a.csv").write_bytes(b"a,b\n1,2\n")
    bed.gone[bad] += 1
    bed.does("retry", job["job"], job["job"][:6])  # named twice, meant once
    [shown] = bed.wait_ended(2)
    assert shown["state"] == "done"
    assert bed.files("outbox") == {"a.csv": answer(b"a,b\n1,2\n")}
    assert bed.receipt("a.csv")["bytes"] == 8


def test_retry_failed_takes_what_is_free_and_leaves_the_rest(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", contains="ended", task_end="error"))
    bed.sandbox.plan(Fault(call="submit", contains="lost", reset=True, accept=True))
    bed.sandbox.plan(Fault(call="submit", contains="refused", error="no", http_status=400))
    bed.route()
    bed.route("more")
    bed.start()
    for number, name in enumerate(("ended", "refused", "lost")):
        bed.drop(f"{name}.csv", f"a\n{name}\n".encode())
        bed.wait_ended(number + 1)
    bed.drop("bad.csv", b"a,b\n1\n", "more")
    bed.wait_ended(4)
    done = bed.command("retry", "--failed", "--route", "leads", "--json")
    assert done.returncode == 1, "done, but something is left"
    told = json.loads(done.stdout)
    assert [job["file"] for job in told["jobs"]] == ["refused.csv"]
    assert len(told["left"]) == 2
    bed.daemons[-1].wait_for("job.done", file="refused.csv")
    assert bed.job("bad.csv")["state"] == "failed"
    assert bed.error("ended.csv")
    assert bed.error("lost.csv")


def test_a_file_that_was_taken_out_of_error_is_missed(bed: Bed) -> None:
    bed.start()
    bad = bed.drop("a.csv", b"a,b\n1\n")
    [job] = bed.wait_ended(1)
    (bed.place("error") / "a.csv").unlink()
    bed.gone[bad] += 1
    assert "no longer" in refused(bed, "retry", job["job"])


# --- redeliver --------------------------------------------------------------------------------------------------------


def test_a_result_is_delivered_again_free(bed: Bed) -> None:
    bed.start()
    bed.drop("a.csv")
    [job] = bed.wait_ended(1)
    (bed.place("outbox") / "a.csv").unlink()
    bed.does("redeliver", job["job"])
    bed.wait_ended(2)
    assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    bed.does("redeliver", job["job"][:6])  # the beginning of an ID is enough
    [shown] = bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"a.csv", f"a-{job['job']}.csv"}
    assert shown["result"].endswith(f"a-{job['job']}.csv")
    assert bed.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}
    assert len(bed.sandbox.accepted) == 1


def test_a_partial_result_is_handed_over_on_demand(bed: Bed) -> None:
    bed.route(on_partial="error")
    job = fail(bed, Fault(call="submit", rows_failed=3))
    bed.does("redeliver", job)
    [shown] = bed.wait_ended(2)
    assert (shown["state"], shown["rows_failed"]) == ("done", 3)
    assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV, rows_failed=3)}
    assert bed.files("error") == {}


def test_a_job_without_a_task_has_nothing_to_deliver(bed: Bed) -> None:
    bed.start()
    bed.drop("a.csv", b"a,b\n1\n")
    [job] = bed.wait_ended(1)
    refused(bed, "redeliver", job["job"])


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_a_pause_takes_nothing_and_what_was_submitted_comes_back(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="status", http_status=503, times="always"))
    daemon = bed.start()
    bed.drop("running.csv", b"a\n1\n")
    daemon.wait_for("task.submitted")
    bed.does("pause", "--reason", "month end")
    bed.drop("waits.csv", b"a\n2\n")
    bed.sandbox.clear()
    bed.wait_ended(1)
    assert bed.files("outbox").keys() == {"running.csv"}
    status = bed.json("status")
    assert status["paused"]
    assert status["pause"]["reason"] == "month end"
    assert bed.files("inbox").keys() == {"waits.csv"}
    assert daemon.stop() == 0
    bed.start()
    time.sleep(0.6)
    assert bed.files("inbox").keys() == {"waits.csv"}, "a restart does not end it"
    bed.does("resume")
    bed.wait_ended(2)
    assert not bed.json("status")["paused"]


def test_a_pause_for_a_time_ends_by_itself(bed: Bed) -> None:
    bed.start()
    told = bed.json("pause", "leads", "--for", "2s")
    left = datetime.fromisoformat(told["until"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=2)
    bed.drop("a.csv")
    time.sleep(0.3)
    assert bed.files("inbox").keys() == {"a.csv"}
    bed.wait_ended(1)
    assert datetime.now(UTC) >= datetime.fromisoformat(told["until"])


def test_what_people_do_is_audited(bed: Bed) -> None:
    daemon = bed.start()
    bed.does("pause", "leads")
    bed.does("resume", "leads")
    bed.does("scan")
    told = daemon.told("audit.recorded")
    assert [(line["action"], line["target"]) for line in told] == [
        ("pause", "leads"),
        ("resume", "leads"),
        ("scan", "*"),
    ]
    assert all("uid" in line["by"] for line in told)


def test_a_scan_looks_at_once(bed: Bed) -> None:
    bed.route(scan_every="1h", watch="scan")
    bed.drop("at the start.csv", b"a\n1\n")
    daemon = bed.start()
    bed.wait_ended(1)
    bed.drop("a.csv")
    time.sleep(0.6)
    assert not daemon.told("job.discovered", file="a.csv")
    bed.does("scan", "leads")
    bed.wait_ended(2)


def test_a_job_is_found_by_its_file_and_by_the_beginning_of_its_id(bed: Bed) -> None:
    bed.start()
    bed.drop("a.csv")
    [job] = bed.wait_ended(1)
    assert bed.json("jobs", "show", "a.csv")["job"] == job["job"]
    assert bed.json("jobs", "show", job["job"][:5])["job"] == job["job"]
    shown = bed.json("jobs", "show", job["job"])
    assert [entry["event"] for entry in shown["journal"]][-1] == "archived"
    assert bed.json("jobs", "--state", "failed") == []
    assert len(bed.json("jobs", "--route", "leads", "--since", "1h")) == 1
    assert bed.json("jobs", "--route", "nowhere") == []
    assert "a.csv" in bed.does("jobs")
