"""Doubts: what a person may answer by `resolve`, and what is refused meanwhile."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.deciding import fail, refused
from tests.system.process import wait

LOST = Fault(call="submit", reset=True, accept=True)
NOT_TAKEN = Fault(call="submit", reset=True, accept=False)


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
    assert bed.jobs() == []


@pytest.mark.fault("F10")
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
