"""Answers as proxies, stores and broken servers give them: what each submit and each download is taken for."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import Bed
from tests.system.process import wait

DOUBT = "submission_unknown"


def submit(**keys: Any) -> Fault:
    return Fault(call="submit", **keys)


ANSWERS_TO_SUBMIT: dict[str, tuple[Fault, str | None]] = {
    "a-task-ID-with-500": (submit(reply="ordinary", http_status=500), None),
    "a-task-ID-with-400": (submit(reply="ordinary", http_status=400), None),
    "a-task-ID-with-303": (submit(reply="ordinary", http_status=303), None),
    "303": (submit(http_status=303, headers={"Location": "/elsewhere"}), DOUBT),
    "408": (submit(http_status=408), DOUBT),
    "499": (submit(http_status=499), DOUBT),
    "502": (submit(http_status=502), DOUBT),
    "503-without-Retry-After": (submit(http_status=503), DOUBT),
    "504": (submit(http_status=504), DOUBT),
    "200-with-rubbish": (submit(reply="garbage"), DOUBT),
    "200-with-a-page": (submit(reply="html"), DOUBT),
    "200-with-nothing": (submit(reply="empty"), DOUBT),
    "200-cut-off": (submit(reply="truncated"), DOUBT),
    "200-with-an-empty-object": (submit(json={}), DOUBT),
    "200-with-a-list": (submit(json=["taskId"]), DOUBT),
    "200-with-a-task-ID-that-is-no-text": (submit(json={"taskId": 7}), DOUBT),
    "200-with-an-empty-task-ID": (submit(json={"taskId": ""}), DOUBT),
    "no-answer": (submit(hang=True), DOUBT),
    "413": (submit(http_status=413), "too_large"),
    "422-in-JSON": (submit(http_status=422, error="Bad column"), "rejected"),
}


@pytest.mark.fault("F5", "F8")
def test_an_answer_to_a_submit_is_taken_for_what_it_proves(bed: Bed) -> None:
    """All go out at once; where doubts shut the gate for good, a person opens it for the next."""
    bed.api |= {"max_concurrent_submits": len(ANSWERS_TO_SUBMIT), "answer_timeout": "2s"}
    for number, (name, (fault, _)) in enumerate(ANSWERS_TO_SUBMIT.items()):
        bed.sandbox.plan(replace(fault, workflow=f"workflow of {name}"))
        bed.route(name)
        bed.drop("a.csv", b"a\n%d\n" % number, name)
    daemon = bed.start()

    def go_on() -> bool:
        if len(daemon.told("gate.shut", needs_resume=True)) > len(daemon.told("audit.recorded")):
            bed.does("resume")
        return daemon.ends() == len(ANSWERS_TO_SUBMIT)

    wait(go_on, "all end", 40, daemon)
    ends = {job["route"]: job["code"] for job in bed.jobs()}
    assert ends == {name: code for name, (_, code) in ANSWERS_TO_SUBMIT.items()}
    time.sleep(1.5)
    assert Counter(record.workflow_id for record in bed.sandbox.ledger if record.whole) == Counter(
        f"workflow of {name}" for name in ANSWERS_TO_SUBMIT
    ), "none is sent again by itself"


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
    "gzipped-although-identity-was-asked-for": Fetch((Fault(call="download", transfer="gzipped"),)),
    "a-redirect": Fetch((Fault(call="download", reply="redirect"),)),
    "without-length": Fetch((download(transfer="close_delimited"),)),
    "always-cut-without-length": Fetch(
        (download(transfer="close_delimited", answer_bytes=12),), code="result_unavailable", word="length"
    ),
    "always-truncated": Fetch((download(transfer="truncated"),), code="result_unavailable"),
    "always-XML": Fetch((download(reply="xml"),), code="result_invalid"),
    "always-empty": Fetch((download(reply="empty"),), code="result_invalid"),
    "a-link-to-another-place": Fetch(
        (Fault(call="status", when="completed", replace={"downloadUrl": "file:///etc/passwd"}, times="always"),),
        code="result_unavailable",
    ),
}

FORBIDDEN = {
    "from a forbidden host": Fetch((), {"hosts": ["results.example.com"]}, "result_unavailable", "hosts"),
    "from a private address": Fetch((), {"allow_private": False}, "result_unavailable", "127.0.0.1"),
    "over http": Fetch((), {"allow_http": False}, "result_unavailable", "http"),
    "larger than allowed": Fetch((), {"max_bytes": 100}, "result_unavailable", "max_bytes"),
    "endless": Fetch((download(transfer="endless"),), {"max_bytes": "100KB"}, "result_unavailable", "max_bytes"),
}


@pytest.mark.fault("F15", "F16", "F17")
def test_a_result_is_taken_only_when_it_is_whole(bed: Bed) -> None:
    for number, (name, story) in enumerate(FETCHES.items()):
        bed.sandbox.plan(*(replace(fault, workflow=f"workflow of {name}") for fault in story.faults))
        bed.route(name, task_timeout="700ms" if story.code else "1m")
        bed.drop("a.csv", b"a\n%d\n" % number, name)
    bed.start()
    jobs = {job["route"]: job for job in bed.wait_ended(len(FETCHES), 40)}
    assert {name: job["code"] for name, job in jobs.items()} == {name: story.code for name, story in FETCHES.items()}
    for name, story in FETCHES.items():
        assert (bed.files("outbox", name) == {}) == (story.code is not None)
        assert story.word in (jobs[name]["message"] or "")
    bed.sandbox.clear()
    failed = [jobs[name]["job"] for name, story in FETCHES.items() if story.code]
    bed.does("retry", *failed)
    bed.wait_ended(len(FETCHES) + len(failed))
    for number, name in enumerate(FETCHES):
        assert bed.files("outbox", name) == {"a.csv": answer(b"a\n%d\n" % number)}, name
    assert len(bed.sandbox.accepted) == len(FETCHES)


@pytest.mark.fault("S16")
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_result_is_fetched_only_from_where_it_may_be(bed: Bed, name: str) -> None:
    story = FORBIDDEN[name]
    bed.api["download"] = story.download
    bed.route(task_timeout="700ms")
    bed.sandbox.plan(*story.faults)
    bed.drop("a.csv")
    bed.start()
    [job] = bed.wait_ended(1)
    assert job["code"] == story.code
    assert story.word in job["message"]
    assert "redeliver" in job["what_to_do"]
    assert bed.files("outbox") == {}
    assert bool(bed.sandbox.downloads) == ("max_bytes" in story.download)
    assert len(bed.sandbox.accepted) == 1


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
