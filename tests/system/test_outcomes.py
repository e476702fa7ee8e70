"""How a job may end: each documented status and refusal ends in the folder and with the code of the contract."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed

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
    "no row ok": Story(
        "task_error", Fault(call="submit", rows_failed="all"), {}, "without one good row", "--pay-again"
    ),
    "partial": Story(
        "task_partial", Fault(call="submit", rows_failed=3), {"on_partial": "error"}, "3 of the rows", "redeliver"
    ),
    "unknown task": Story(
        "task_unknown",
        Fault(call="status", error=GONE, times="always"),
        NEVER_ENDING,
        "does not know",
        "redeliver",
        {"api_message": GONE},
    ),
    "refused with 200": Story(
        "rejected",
        Fault(call="submit", error="Invalid workflow ID.", http_status=200),
        {},
        "Invalid workflow ID.",
        "workflow_id",
        {"http_status": 200, "api_message": "Invalid workflow ID."},
        is_billed=False,
    ),
    "refused with 400": Story(
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
    "no link": Story(
        "result_unavailable",
        Fault(call="status", when="completed", omit=("downloadUrl",), times="always"),
        NEVER_ENDING,
        "no link",
        "redeliver",
    ),
    "broken links": Story(
        "result_unavailable", Fault(call="download", http_status=403, times="always"), NEVER_ENDING, "403", "redeliver"
    ),
    "an error page for a result": Story(
        "result_invalid", Fault(call="download", reply="html", times="always"), NEVER_ENDING, "", "redeliver"
    ),
    "500": Story(
        "submission_unknown",
        Fault(call="submit", http_status=500),
        {},
        "500",
        "--not-submitted",
        {"http_status": 500},
        is_billed=False,
    ),
    "the answer is lost": Story("submission_unknown", Fault(call="submit", reset=True, accept=True), {}, "", "resolve"),
}


@pytest.mark.parametrize("name", STORIES)
def test_each_failure_ends_in_error_with_its_reason(bed: Bed, name: str) -> None:
    story = STORIES[name]
    bed.sandbox.plan(story.fault)
    bed.route(**story.route)
    sha256 = bed.drop("orders.csv")
    daemon = bed.start()
    [job] = bed.wait_ended(1)

    assert (job["state"], job["code"]) == ("failed", story.code)
    assert bed.files("error").keys() == {"orders.csv", "orders.csv.error.json"}
    assert bed.files("error")["orders.csv"] == VENDOR_CSV
    assert bed.files("outbox") == bed.files("archive") == bed.files("inbox") == {}
    assert bed.files("work").keys() == {"route.json"}

    why = bed.error("orders.csv")
    assert ERROR_KEYS <= why.keys() <= ERROR_KEYS | SOMETIMES
    assert (why["schema"], why["code"], why["job"], why["route"]) == (1, story.code, job["job"], "leads")
    assert (why["file"], why["sha256"], why["bytes"], why["rows"]) == ("orders.csv", sha256, len(VENDOR_CSV), 24)
    assert why["attempts"] == len(bed.sandbox.ledger) == 1
    assert datetime.fromisoformat(why["first_seen"]) <= datetime.fromisoformat(why["failed_at"])
    assert story.message in why["message"]
    assert story.what_to_do in why["what_to_do"]
    assert job["job"] in why["what_to_do"] or "bulkgpt-watchd" not in why["what_to_do"]
    assert not re.search(r"[{}]", why["what_to_do"])
    assert why.items() >= story.extra.items()
    known = [record.task_id for record in bed.sandbox.accepted] if story.code != "submission_unknown" else []
    assert why["task_ids"] == job["task_ids"] == known
    assert len(bed.sandbox.accepted) == story.is_billed
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
    "503 with Retry-After": Fault(call="submit", http_status=503, headers={"Retry-After": "1"}),
    "an unknown status word": Fault(call="status", replace={"status": "resting"}, times=2),
    "no counters": Fault(
        call="status", omit=("numOfTasksCompleted", "numOfTaskSuccess", "totalNumOfTasks"), times="always"
    ),
    "a late link": Fault(call="status", when="completed", omit=("downloadUrl",), times=3),
    "a task that is not known yet": Fault(call="status", error=GONE, times=3),
    "status calls that fail": Fault(call="status", http_status=503, times=3),
    "status calls that say rubbish": Fault(call="status", reply="garbage", times=3),
    "an expired link": Fault(call="status", when="completed", link="expired"),
    "a truncated result": Fault(call="download", transfer="truncated"),
    "a result that breaks off": Fault(call="download", transfer="reset"),
    "a result without length that breaks off": Fault(call="download", transfer="close_delimited", answer_bytes=40),
    "a chunked result": Fault(call="download", transfer="chunked"),
    "an error page once": Fault(call="download", reply="xml"),
    "an empty result once": Fault(call="download", reply="empty"),
}


@pytest.mark.parametrize("name", WAITED_OUT)
def test_what_passes_is_waited_out(bed: Bed, name: str) -> None:
    bed.sandbox.plan(WAITED_OUT[name])
    bed.drop("orders.csv")
    bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["code"]) == ("done", None)
    assert bed.files("outbox") == {"orders.csv": answer(VENDOR_CSV)}
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.parametrize("at", ["start", "middle"])
def test_an_upload_that_breaks_off_is_sent_again(bed: Bed, at: str) -> None:
    """Large enough that the break is seen before the last block goes."""
    bed.sandbox.plan(Fault(call="submit", at=at, reset=True, times=2))
    content = b"name,text\n" + b"".join(b"row %d,%s\n" % (row, b"x" * 80) for row in range(60_000))
    bed.drop("orders.csv", content)
    bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["attempts"]) == ("done", 3)
    assert bed.files("outbox") == {"orders.csv": answer(content)}
    assert [record.accepted for record in bed.sandbox.ledger] == [False, False, True]
