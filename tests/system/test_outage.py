"""BulkGPT is away, says no to the key, or to one route: what waits, what is asked, and what it costs."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, answer
from tests.system.bed import KEY, Bed
from tests.system.bulk import front
from tests.system.process import wait

FILES = 20
CONCURRENT = 4
"""`api.max_concurrent_submits` by default."""


def content(number: int) -> bytes:
    return b"Input_1\n%d\n" % number


@pytest.mark.fault("F5", "F6")
@pytest.mark.parametrize("has_task", [True, False])
def test_an_outage_costs_a_few_doubts_and_not_the_inbox(bed: Bed, sandbox: Sandbox, has_task: bool) -> None:
    """Refused, then 502 by a proxy, then back: the doubts are those in flight and two more at most."""
    with front(sandbox) as network:
        bed.api |= {"base_url": network.url, "retry": {"min": "50ms", "max": "500ms"}}
        daemon = bed.start()
        if has_task:
            bed.drop("before.csv", b"a\n1\n")
            bed.wait_ended(1)
        network.switch("refuse")
        for number in range(FILES):
            bed.drop(f"{number}.csv", content(number))
        daemon.wait_for("job.deferred", at="ready")
        daemon.wait_for("job.deferred", level="warning")
        waiting = bed.json("status")
        assert (waiting["state"], waiting["gate"]) == ("degraded", "open")
        assert re.search(r"waits?: 127\.0\.0\.1: ", "".join(waiting["problems"]))
        assert not daemon.told("job.failed"), "refused connections are certainly not accepted"
        assert len(bed.files("inbox")) >= FILES - 2 * CONCURRENT - CONCURRENT, "few are claimed ahead"

        network.switch("bad_gateway")
        daemon.wait_for("gate.shut")
        time.sleep(2)
        status = bed.json("status")
        assert (status["state"], status["gate"]) == ("degraded", "shut")
        assert "502" in status["gate_reason"]
        assert "gate SHUT" in bed.does("status")
        asked = network.connections

        network.switch("through")
        if daemon.told("gate.shut", needs_resume=True):
            assert not has_task
            assert status["gate_needs_resume"]
            time.sleep(1)
            assert network.connections == asked, "locked: only a person may try again"
            bed.does("resume")
        jobs = bed.wait_ended(FILES + has_task)
        codes = Counter((job["state"], job["code"]) for job in jobs)
        doubts = codes["failed", "submission_unknown"]
        assert 1 <= doubts <= CONCURRENT + 2
        assert codes == {("failed", "submission_unknown"): doubts, ("done", None): len(jobs) - doubts}
        assert bed.json("status")["gate"] == "open"
        assert len(bed.sandbox.accepted) == len(jobs) - doubts
        for job in jobs:
            if job["state"] == "done" and job["file"] != "before.csv":
                assert bed.files("outbox")[job["file"]] == answer(content(int(job["file"][:-4])))
        daemon.stop()


@pytest.mark.fault("F48")
def test_a_wrong_key_moves_no_file_and_a_mended_one_needs_no_restart(bed: Bed) -> None:
    bed.set_key("sk-live-of-another-account")
    daemon = bed.start()
    for number in range(FILES):
        bed.drop(f"{number}.csv", content(number))
    shut = daemon.wait_for("gate.shut")
    assert "401" in shut["reason"]
    assert "key" in shut["reason"].lower()
    time.sleep(1.5)
    assert bed.files("error") == {}
    assert len(bed.files("inbox")) + len(bed.files("work")) - 1 == FILES
    assert not daemon.told("job.failed")
    status = bed.json("status")
    assert (status["state"], status["gate"], status["routes"][0]["gate"]) == ("degraded", "shut", "shut")
    assert len(bed.sandbox.ledger) < FILES, "it does not ask with every file"

    bed.set_key(KEY)
    jobs = bed.wait_ended(FILES)
    assert {job["state"] for job in jobs} == {"done"}
    assert daemon.told("gate.opened")
    assert bed.json("status")["state"] == "ok"


@pytest.mark.fault("F48")
def test_a_changed_key_is_tried_at_once_after_reload(bed: Bed) -> None:
    bed.api["retry"] = {"min": "10m", "max": "20m"}
    bed.set_key("sk-live-of-another-account")
    daemon = bed.start()
    bed.drop("a.csv")
    daemon.wait_for("gate.shut")
    bed.set_key(KEY)
    bed.does("reload")
    bed.wait_ended(1)
    assert bed.files("outbox").keys() == {"a.csv"}


ACCOUNT = {
    "402": Fault(call="submit", http_status=402, error="Payment required", times=2),
    "no credits": Fault(call="submit", http_status=400, error="Insufficient credits", times=2),
    "no credits with 200": Fault(call="submit", http_status=200, error="You have no credits left.", times=2),
    "quota": Fault(call="submit", http_status=403, error="Quota exceeded for your plan", times=2),
    "a redirect": Fault(call="submit", http_status=307, headers={"Location": "http://127.0.0.1:1/"}, times=2),
    "another server": Fault(call="submit", http_status=404, body="<html>no such page</html>", times=2),
}


@pytest.mark.parametrize("name", ACCOUNT)
def test_trouble_of_the_account_or_the_address_moves_no_file(bed: Bed, name: str) -> None:
    bed.sandbox.plan(ACCOUNT[name])
    daemon = bed.start()
    for number in range(5):
        bed.drop(f"{number}.csv", content(number))
    daemon.wait_for("gate.shut")
    jobs = bed.wait_ended(5)
    assert {job["state"] for job in jobs} == {"done"}
    assert len(bed.sandbox.accepted) == 5
    assert bed.files("error") == {}


def test_a_workflow_that_is_rejected_three_times_holds_only_its_route(bed: Bed) -> None:
    bed.api["retry"] = {"min": "100ms", "max": "10m"}
    bed.sandbox.plan(
        Fault(call="submit", workflow="gone", error="Invalid workflow ID.", http_status=400, times="always")
    )
    bed.route("bad", workflow_id="gone")
    bed.route("good")
    daemon = bed.start()
    for number in range(10):
        bed.drop(f"{number}.csv", content(number), "bad")
        bed.drop(f"{number}.csv", content(100 + number), "good")
    held = daemon.wait_for("gate.held")
    assert (held["scope"], held["key"]) == ("workflow", "gone")
    wait(lambda: len(daemon.told("job.done", route="good")) == 10, "good goes on", daemon=daemon)
    time.sleep(0.5)
    rejected = len(daemon.told("job.failed", route="bad", code="rejected"))
    assert 3 <= rejected <= 3 + CONCURRENT
    status = {route["name"]: route for route in bed.json("status")["routes"]}
    assert (status["bad"]["gate"], status["good"]["gate"]) == ("shut", "open")
    assert "Invalid workflow ID." in status["bad"]["gate_reason"]
    assert status["bad"]["problems"]
    assert not status["good"]["problems"]

    bed.routes[0]["workflow_id"] = "mended"
    bed.write()
    bed.does("reload")
    wait(lambda: len(daemon.told("job.done", route="bad")) == 10 - rejected, "the others go", daemon=daemon)
    assert {record.workflow_id for record in bed.sandbox.accepted} == {"mended", "workflow of good"}


def test_a_403_for_one_route_while_others_are_accepted_holds_that_route_alone(bed: Bed) -> None:
    forbidden = Fault(call="submit", workflow="theirs", error="Forbidden", http_status=403, times="always")
    bed.api["retry"] = {"min": "100ms", "max": "10m"}
    bed.sandbox.plan(forbidden)
    bed.route("theirs", workflow_id="theirs")
    bed.route("ours")
    daemon = bed.start()
    bed.drop("first.csv", content(0), "ours")
    bed.wait_ended(1)
    for number in range(1, 5):
        bed.drop(f"{number}.csv", content(number), "theirs")
    held = daemon.wait_for("gate.held")
    assert (held["scope"], held["key"]) == ("route", "theirs")
    bed.drop("second.csv", content(9), "ours")
    bed.wait_ended(2)
    assert bed.files("error", "theirs") == {}
    bed.sandbox.clear()
    bed.does("resume", "theirs")
    bed.wait_ended(6)
