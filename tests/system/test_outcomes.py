"""How a job may end: each documented status and refusal ends in the folder and with the code of the contract."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from bulkgpt_watchd.core.outcomes import ENDED_AT_BULKGPT, HOLDS_A_QUESTION
from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.process import Daemon

ERROR_KEYS = {
    *("schema", "code", "message", "what_to_do", "job", "route", "workflow_id", "task_ids", "file", "sha256", "bytes"),
    *("rows", "attempts", "first_seen", "failed_at"),
}
SOMETIMES = {"http_status", "api_message", "line", "other_job", "source_lost"}


@dataclass(frozen=True)
class Story:
    """One fault, what the route says, and what is seen."""

    code: str
    fault: Fault
    route: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    what_to_do: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    is_billed: bool = True


NEVER_ENDING = {"task_timeout": "1s"}
GONE = "Invalid Task ID."

STORIES = {
    "error": Story("task_error", Fault(call="submit", task_end="error"), {}, '"error"', "--pay-again"),
    "canceled": Story("task_canceled", Fault(call="submit", task_end="canceled"), {}, '"canceled"', "--pay-again"),
    "never": Story("task_timeout", Fault(call="submit", task_end="never"), NEVER_ENDING, "task_timeout", "redeliver"),
    "no-row-ok": Story(
        "task_error", Fault(call="submit", rows_failed="all"), {}, "without one good row", "--pay-again"
    ),
    "partial": Story(
        "task_partial", Fault(call="submit", rows_failed=3), {"on_partial": "error"}, "3 of the rows", "redeliver"
    ),
    "unknown-task": Story(
        "task_unknown",
        Fault(call="status", error=GONE, times="always"),
        NEVER_ENDING,
        "does not know",
        "redeliver",
        {"api_message": GONE},
    ),
    "refused-with-200": Story(
        "rejected",
        Fault(call="submit", error="Invalid workflow ID.", http_status=200),
        {},
        "Invalid workflow ID.",
        "workflow_id",
        {"http_status": 200, "api_message": "Invalid workflow ID."},
        is_billed=False,
    ),
    "refused-with-400": Story(
        "rejected",
        Fault(call="submit", error="Invalid workflow ID.", http_status=400),
        {},
        "Invalid workflow ID.",
        "workflow_id",
        {"http_status": 400, "api_message": "Invalid workflow ID."},
        is_billed=False,
    ),
    "413": Story(
        "too_large",
        Fault(call="submit", http_status=413),
        {},
        "413",
        "smaller parts",
        {"http_status": 413},
        is_billed=False,
    ),
    "no-link": Story(
        "result_unavailable",
        Fault(call="status", when="completed", omit=("downloadUrl",), times="always"),
        NEVER_ENDING,
        "no link",
        "redeliver",
    ),
    "broken-links": Story(
        "result_unavailable", Fault(call="download", http_status=403, times="always"), NEVER_ENDING, "403", "redeliver"
    ),
    "an-error-page-for-a-result": Story(
        "result_invalid", Fault(call="download", reply="html", times="always"), NEVER_ENDING, "", "redeliver"
    ),
}

DOUBTS = {
    "500": Story(
        "submission_unknown",
        Fault(call="submit", http_status=500),
        {},
        "500",
        "--not-submitted",
        {"http_status": 500},
        is_billed=False,
    ),
    "the-answer-is-lost": Story("submission_unknown", Fault(call="submit", reset=True, accept=True), {}, "", "resolve"),
}


def on(route: str, fault: Fault) -> Fault:
    """Let a fault hit one route alone."""
    return replace(fault, workflow=f"workflow of {route}")


def test_each_failure_ends_in_error_with_its_reason(bed: Bed) -> None:
    """All at once, each on a route of its own: none disturbs another, but a doubt, which shuts the gate."""
    bed.api["max_concurrent_submits"] = len(STORIES)
    for number, (name, story) in enumerate(STORIES.items()):
        bed.sandbox.plan(on(name, story.fault))
        bed.route(name, **story.route)
        bed.drop("orders.csv", b"Input_1\n" + b"%d\n" % number * 24, name)
    daemon = bed.start()
    jobs = {job["route"]: job for job in bed.wait_ended(len(STORIES))}
    for name, story in STORIES.items():
        ends_in_error(bed, daemon, jobs[name], story)


@pytest.mark.fault("F9")
@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_ends_in_error_with_its_reason(bed: Bed, name: str) -> None:
    bed.sandbox.plan(on(name, DOUBTS[name].fault))
    bed.route(name)
    bed.drop("orders.csv", b"Input_1\n" + b"0\n" * 24, name)
    daemon = bed.start()
    [job] = bed.wait_ended(1)
    ends_in_error(bed, daemon, job, DOUBTS[name])


def ends_in_error(bed: Bed, daemon: Daemon, job: dict[str, Any], story: Story) -> None:
    """Hold one failed job to the contract, field by field."""
    name = job["route"]
    assert (job["state"], job["code"]) == ("failed", story.code), name
    assert bed.files("error", name).keys() == {"orders.csv", "orders.csv.error.json"}
    content = bed.files("error", name)["orders.csv"]
    assert bed.files("outbox", name) == bed.files("archive", name) == bed.files("inbox", name) == {}
    is_open = job["code"] in HOLDS_A_QUESTION or (job["task_ids"] and job["code"] not in ENDED_AT_BULKGPT)
    trace = {f"{job['job']}.error.json"} if is_open else set()
    assert bed.files("work", name).keys() == {"route.json", *trace}

    why = bed.error("orders.csv", name)
    records = [record for record in bed.sandbox.ledger if record.sha256 == why["sha256"]]
    assert ERROR_KEYS <= why.keys() <= ERROR_KEYS | SOMETIMES, name
    assert (why["schema"], why["code"], why["job"], why["route"]) == (1, story.code, job["job"], name)
    assert why["workflow_id"] == f"workflow of {name}"
    assert why["sha256"] == hashlib.sha256(content).hexdigest()
    assert (why["file"], why["bytes"], why["rows"]) == ("orders.csv", len(content), 24)
    assert why["attempts"] == len(records) == 1
    assert datetime.fromisoformat(why["first_seen"]) <= datetime.fromisoformat(why["failed_at"])
    assert story.message in why["message"]
    assert story.what_to_do in why["what_to_do"]
    assert job["job"] in why["what_to_do"] or "bulkgpt-watchd" not in why["what_to_do"]
    assert not re.search(r"[{}]", why["what_to_do"])
    assert why.items() >= story.extra.items(), name
    known = [record.task_id for record in records if record.accepted and story.code != "submission_unknown"]
    assert why["task_ids"] == job["task_ids"] == known
    assert [record.accepted for record in records] == [story.is_billed]
    failed = daemon.told("job.failed", job=job["job"])[0]
    assert (failed["code"], failed["message"]) == (story.code, why["message"])


@pytest.mark.parametrize("rows", [{"rows_failed": 3}, {"rows_missing": 3}, {"rows_extra": 2}])
def test_a_partial_result_is_delivered_and_told(bed: Bed, rows: dict[str, Any]) -> None:
    bed.sandbox.plan(Fault(call="submit", **rows))
    bed.drop("orders.csv")
    bed.start()
    [job] = bed.wait_ended(1)
    assert job["state"] == "done"
    result = answer(VENDOR_CSV, **rows)
    assert bed.files("outbox") == {"orders.csv": result}
    receipt = bed.receipt("orders.csv")
    assert (receipt["rows_in"], receipt["rows_out"]) == (24, result.count(b"\n") - 1)
    failed = rows.get("rows_failed", 0)
    assert (job["rows_failed"], receipt["rows_failed"], receipt["rows_ok"]) == (failed, failed, 24 - failed)
    assert ("partial" in bed.does("jobs")) == bool(failed)


WAITED_OUT = {
    "429": Fault(call="submit", http_status=429, headers={"Retry-After": "1"}),
    "503-with-Retry-After": Fault(call="submit", http_status=503, headers={"Retry-After": "1"}),
    "an-unknown-status-word": Fault(call="status", replace={"status": "resting"}, times=2),
    "no-counters": Fault(
        call="status", omit=("numOfTasksCompleted", "numOfTaskSuccess", "totalNumOfTasks"), times="always"
    ),
    "a-late-link": Fault(call="status", when="completed", omit=("downloadUrl",), times=3),
    "a-task-that-is-not-known-yet": Fault(call="status", error=GONE, times=3),
    "status-calls-that-fail": Fault(call="status", http_status=503, times=3),
    "status-calls-that-say-rubbish": Fault(call="status", reply="garbage", times=3),
    "an-expired-link": Fault(call="status", when="completed", link="expired"),
    "a-truncated-result": Fault(call="download", transfer="truncated"),
    "a-result-that-breaks-off": Fault(call="download", transfer="reset"),
    "a-result-without-length-that-breaks-off": Fault(call="download", transfer="close_delimited", answer_bytes=40),
    "a-chunked-result": Fault(call="download", transfer="chunked"),
    "an-error-page-once": Fault(call="download", reply="xml"),
    "an-empty-result-once": Fault(call="download", reply="empty"),
}


@pytest.mark.fault("F12", "F13", "F14")
def test_what_passes_is_waited_out(bed: Bed) -> None:
    bed.api["max_concurrent_submits"] = len(WAITED_OUT)
    contents = {name: b"Input_1\n" + b"%d\n" % number * 24 for number, name in enumerate(WAITED_OUT)}
    for name, fault in WAITED_OUT.items():
        bed.sandbox.plan(on(name, fault))
        bed.route(name)
        bed.drop("orders.csv", contents[name], name)
    bed.start()
    jobs = bed.wait_ended(len(WAITED_OUT))
    assert {job["route"]: job["code"] for job in jobs} == dict.fromkeys(WAITED_OUT)
    for name, content in contents.items():
        assert bed.files("outbox", name) == {"orders.csv": answer(content)}, name
    assert len(bed.sandbox.accepted) == len(WAITED_OUT)


@pytest.mark.fault("F7")
def test_an_upload_that_breaks_off_is_sent_again(bed: Bed) -> None:
    """Larger than what sockets buffer, so that the break is seen before the last block goes."""
    bed.sandbox.plan(Fault(call="submit", at="start", reset=True))
    bed.sandbox.plan(Fault(call="submit", at="middle", body_bytes=1_000_000, reset=True))
    content = b"name,text\n" + b"".join(b"row %d,%s\n" % (row, b"x" * 1000) for row in range(50_000))
    bed.drop("orders.csv", content)
    bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["attempts"]) == ("done", 3)
    assert bed.files("outbox") == {"orders.csv": answer(content)}
    assert [record.accepted for record in bed.sandbox.ledger] == [False, False, True]
