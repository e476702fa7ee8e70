"""What a person decides by command: retry, redeliver, pause, resume; with the exit codes of each refusal."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.deciding import fail, refused

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
    assert bed.jobs() == [job]


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
    assert bed.command("jobs", "--route", "nowhere").returncode == 66
    assert "a.csv" in bed.does("jobs")
