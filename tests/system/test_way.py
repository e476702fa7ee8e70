"""One file goes its way: what BulkGPT gets, what comes back, and what is told and not told."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta

import pytest

from bulkgpt_watchd.sandbox import SandboxOptions, answer
from tests.system.bed import KEY, VENDOR_CSV, Bed

RECEIPT = {
    *("schema", "job", "route", "workflow_id", "task_ids", "file", "sha256", "bytes", "rows", "attempts", "first_seen"),
    *("submitted_at", "completed_at", "delivered_at", "rows_in", "rows_ok", "rows_failed", "rows_out"),
    *("result", "result_sha256"),
}


def test_the_vendors_example_goes_and_comes_back(bed: Bed) -> None:
    sha256 = bed.drop("example.csv", VENDOR_CSV)
    bed.start()
    [job] = bed.wait_ended(1)

    [record] = bed.sandbox.ledger
    assert (record.accepted, record.sha256, record.rows) == (True, sha256, 24)
    assert record.workflow_id == "workflow of leads"
    result = answer(VENDOR_CSV)
    assert bed.files("outbox") == {"example.csv": result}
    assert bed.files("archive").keys() == {"example.csv", "example.csv.receipt.json"}
    assert bed.files("archive")["example.csv"] == VENDOR_CSV
    assert bed.files("inbox") == bed.files("error") == {}
    assert bed.files("work").keys() == {"route.json"}

    assert bed.json("jobs") == [job]
    assert job["state"] == "done"
    assert job["task_ids"] == [record.task_id]
    assert (job["rows"], job["rows_done"], job["rows_ok"], job["rows_failed"]) == (24, 24, 24, 0)
    assert (job["route"], job["file"], job["code"], job["attempts"]) == ("leads", "example.csv", None, 1)
    assert job["result"] == str(bed.place("outbox") / "example.csv")

    receipt = bed.receipt("example.csv")
    assert receipt.keys() == RECEIPT
    times = [_time(receipt[key]) for key in ("first_seen", "submitted_at", "completed_at", "delivered_at")]
    assert times == sorted(times)
    assert times[-1] - times[0] < timedelta(seconds=60)
    del receipt["first_seen"], receipt["submitted_at"], receipt["completed_at"], receipt["delivered_at"]
    assert receipt == {
        "schema": 1,
        "job": job["job"],
        "route": "leads",
        "workflow_id": "workflow of leads",
        "task_ids": [record.task_id],
        "file": "example.csv",
        "sha256": sha256,
        "bytes": len(VENDOR_CSV),
        "rows": 24,
        "attempts": 1,
        "rows_in": 24,
        "rows_ok": 24,
        "rows_failed": 0,
        "rows_out": 24,
        "result": "example.csv",
        "result_sha256": hashlib.sha256(result).hexdigest(),
    }


def _time(text: str) -> datetime:
    assert text.endswith("Z"), text
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("options", [SandboxOptions(key=KEY, running_s=1.0, preparing_s=0.2, finalizing_s=0.2)])
def test_the_log_tells_each_step_with_its_job(bed: Bed) -> None:
    daemon = bed.start()
    bed.drop("orders.csv")
    [job] = bed.wait_ended(1)
    told = [line for line in daemon.lines() if line.get("job") == job["job"]]

    events = list(dict.fromkeys(line["event"] for line in told))
    wanted = ["job.claimed", "task.submitted", "task.progressed", "task.completed", "job.delivered"]
    assert [event for event in events if event in wanted] == wanted
    assert {(line["route"], line["file"]) for line in told} == {("leads", "orders.csv")}
    since_submit = told[events.index("task.submitted") :]
    assert {line["task_id"] for line in since_submit} == set(job["task_ids"])
    assert [line["event"] for line in daemon.lines()][:2] == ["daemon.started", "daemon.ready"]
    assert daemon.stop() == 0
    assert [line["event"] for line in daemon.lines()][-2:] == ["daemon.stopping", "daemon.stopped"]


@pytest.mark.fault("S25")
def test_no_secret_is_told_anywhere(bed: Bed) -> None:
    """The bed looks through every file and every command's output; this test makes them speak."""
    daemon = bed.start()
    bed.drop("a.csv")
    bed.drop("broken.csv", b"a,b\n1\n")
    [job, _] = bed.wait_ended(2)
    for command in (
        ("config", "check"),
        ("config", "check", "--json"),
        ("status", "--json"),
        ("status",),
        ("jobs", "--json"),
        ("jobs",),
        ("jobs", "show", job["job"]),
        ("jobs", "show", job["job"], "--json"),
    ):
        bed.does(*command)
    for what in ("cmdline", "environ"):
        with open(f"/proc/{daemon.pid}/{what}", "rb") as file:
            assert KEY.encode() not in file.read()
    assert (bed.folder / "state" / "state.db-wal").exists(), "the bed shall look into it while it is there"
    assert bed.leaks() == []


def test_a_key_from_the_environment_or_from_credentials_works_and_is_not_told(bed: Bed) -> None:
    bed.api["api_key_file"] = None
    credentials = bed.folder / "credentials"
    credentials.mkdir()
    (credentials / "bulkgpt-api-key").write_text(KEY)
    bed.key_file = credentials / "bulkgpt-api-key"
    (bed.folder / "key").unlink()
    os.environ.pop("BULKGPT_API_KEY", None)
    daemon = bed.start(before=("env", f"CREDENTIALS_DIRECTORY={credentials}"))
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert daemon.stop() == 0
    bed.start(before=("env", f"BULKGPT_API_KEY={KEY}"))
    bed.drop("b.csv", b"a\n1\n")
    bed.wait_ended(2)
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}
