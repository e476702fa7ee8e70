"""Answers as proxies, stores and broken servers give them: what each submit and each download is taken for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed

DOUBT = "submission_unknown"


def submit(**keys: Any) -> Fault:
    return Fault(call="submit", **keys)


ANSWERS_TO_SUBMIT: dict[str, tuple[Fault, str | None]] = {
    "a task ID with 500": (submit(reply="ordinary", http_status=500), None),
    "a task ID with 400": (submit(reply="ordinary", http_status=400), None),
    "a task ID with 303": (submit(reply="ordinary", http_status=303), None),
    "303": (submit(http_status=303, headers={"Location": "/elsewhere"}), DOUBT),
    "408": (submit(http_status=408), DOUBT),
    "499": (submit(http_status=499), DOUBT),
    "502": (submit(http_status=502), DOUBT),
    "503 without Retry-After": (submit(http_status=503), DOUBT),
    "504": (submit(http_status=504), DOUBT),
    "200 with rubbish": (submit(reply="garbage"), DOUBT),
    "200 with a page": (submit(reply="html"), DOUBT),
    "200 with nothing": (submit(reply="empty"), DOUBT),
    "200 cut off": (submit(reply="truncated"), DOUBT),
    "200 with an empty object": (submit(json={}), DOUBT),
    "200 with a list": (submit(json=["taskId"]), DOUBT),
    "200 with a task ID that is no text": (submit(json={"taskId": 7}), DOUBT),
    "200 with an empty task ID": (submit(json={"taskId": ""}), DOUBT),
    "no answer": (submit(hang=True), DOUBT),
    "413": (submit(http_status=413), "too_large"),
    "422 in JSON": (submit(http_status=422, error="Bad column"), "rejected"),
}


@pytest.mark.parametrize("name", ANSWERS_TO_SUBMIT)
def test_an_answer_to_a_submit_is_taken_for_what_it_proves(bed: Bed, name: str) -> None:
    fault, code = ANSWERS_TO_SUBMIT[name]
    bed.api["answer_timeout"] = "1s"
    bed.sandbox.plan(fault)
    bed.drop("a.csv")
    bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["code"]) == (("done", None) if code is None else ("failed", code))
    time.sleep(1.5 if code == DOUBT else 0)
    assert len(bed.sandbox.ledger) == 1, "it is never sent again by itself"


@dataclass(frozen=True)
class Fetch:
    """How results are served, what the configuration says, and the end; None: delivered."""

    faults: tuple[Fault, ...]
    download: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    word: str = ""


def download(**keys: Any) -> Fault:
    return Fault(call="download", times="always", **keys)


FETCHES = {
    "gzipped although identity was asked for": Fetch((Fault(call="download", transfer="gzipped"),)),
    "a redirect": Fetch((Fault(call="download", reply="redirect"),)),
    "without length": Fetch((download(transfer="close_delimited"),)),
    "always cut without length": Fetch(
        (download(transfer="close_delimited", answer_bytes=40),), code="result_unavailable", word="length"
    ),
    "always truncated": Fetch((download(transfer="truncated"),), code="result_unavailable"),
    "always XML": Fetch((download(reply="xml"),), code="result_invalid"),
    "always empty": Fetch((download(reply="empty"),), code="result_invalid"),
    "from a forbidden host": Fetch((), {"hosts": ["results.example.com"]}, "result_unavailable", "hosts"),
    "from a private address": Fetch((), {"allow_private": False}, "result_unavailable", "127.0.0.1"),
    "over http": Fetch((), {"allow_http": False}, "result_unavailable", "http"),
    "larger than allowed": Fetch((), {"max_bytes": 100}, "result_unavailable", "max_bytes"),
    "endless": Fetch((download(transfer="endless"),), {"max_bytes": "100KB"}, "result_unavailable", "max_bytes"),
    "a link to another place": Fetch(
        (Fault(call="status", when="completed", replace={"downloadUrl": "file:///etc/passwd"}, times="always"),),
        code="result_unavailable",
    ),
}


@pytest.mark.parametrize("name", FETCHES)
def test_a_result_is_taken_only_when_it_is_whole_and_from_where_it_may_be(bed: Bed, name: str) -> None:
    story = FETCHES[name]
    bed.api["download"] = story.download
    bed.route(task_timeout="700ms")
    bed.sandbox.plan(*story.faults)
    bed.drop("a.csv")
    daemon = bed.start()
    [job] = bed.wait_ended(1)
    assert (job["state"], job["code"]) == (("done", None) if story.code is None else ("failed", story.code))
    if story.code is None:
        assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
    else:
        assert bed.files("outbox") == {}
        assert story.word in job["message"]
        assert "redeliver" in job["what_to_do"]
    if "allow_private" in story.download or "allow_http" in story.download or "hosts" in story.download:
        assert bed.sandbox.downloads == 0
    assert len(bed.sandbox.accepted) == 1
    bed.sandbox.clear()
    if story.code is not None and not story.download:
        bed.does("redeliver", job["job"])
        bed.wait_ended(2)
        assert bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)}
        assert daemon.told("job.recalled")


def test_what_was_submitted_goes_on_while_the_gate_is_shut(bed: Bed) -> None:
    bed.api["retry"] = {"min": "1h", "max": "2h"}
    bed.sandbox.plan(Fault(call="status", http_status=503, times=5))
    bed.sandbox.plan(Fault(call="submit", nth=2, http_status=502))
    bed.api["max_concurrent_submits"] = 1
    bed.api["retry"] = {"min": "300ms", "max": "1h"}
    daemon = bed.start()
    bed.drop("a.csv", b"a\n1\n")
    daemon.wait_for("task.submitted")
    bed.drop("b.csv", b"a\n2\n")
    daemon.wait_for("gate.shut")
    daemon.wait_for("job.done", file="a.csv")
    assert bed.files("outbox").keys() == {"a.csv"}
