"""BulkGPT or its store answers with what is no answer: doubt or patience, in bounded memory, and the others go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.adapters.loopback import Exchange, until
from tests.system.bed import Bed
from tests.system.hostile import Act, Hostile
from tests.system.hostile_answers import UNREADABLE
from tests.system.process import Daemon, wait

Record = Callable[[str, object], None]

GROWTH_BYTES = 100_000_000
"""All these answers at once cost some 60 MB: up to 1 MB of each reply, buffers of 128 connections."""

NAMES = {f"r{number}": name for number, name in enumerate(UNREADABLE)}
"""Which answer each hostile route gets."""


@pytest.fixture
def bed(world: Hostile, bed: Bed) -> Bed:
    """Ask the hostile API; a route is there that nobody harms."""
    bed.api |= {"base_url": world.api.url, "timeout": "1s", "answer_timeout": "2s"}
    bed.api["retry"] = {"min": "50ms", "max": "200ms"}
    bed.api["download"] = {"max_bytes": "3MB"}
    bed.route("good")
    return bed


def start(bed: Bed) -> Daemon:
    """Start, and let one file through, so that all that is loaded once is loaded."""
    daemon = bed.start()
    bed.drop("first.csv", b"a\nfirst\n", "good")
    bed.wait_ended(1)
    return daemon


def drop_bad(bed: Bed) -> None:
    for route in NAMES:
        bed.drop("bad.csv", b"a\n%s\n" % route.encode(), route)


def goes_through(bed: Bed, daemon: Daemon, numbers: Iterable[int]) -> float:
    """Drop good files one after the other; give the longest time that one took."""
    longest = 0.0
    for number in numbers:
        started = time.monotonic()
        bed.drop(f"{number}.csv", b"a\n%d\n" % number, "good")
        daemon.wait_for("job.done", route="good", file=f"{number}.csv", within_s=120)
        longest = max(longest, time.monotonic() - started)
    return longest


def when_all_are_there(world: Hostile, act: Act) -> Act:
    """Wait until all submits are in flight, so that they are one outage: one doubt, for the gate."""

    async def act_then(exchange: Exchange) -> None:
        await until(lambda: len(world.whole) == len(NAMES) + 1)
        await act(exchange)

    return act_then


def grew(daemon: Daemon, idle_bytes: int, what: str) -> None:
    growth = daemon.memory_bytes("VmHWM") - idle_bytes
    sys.stdout.write(f"\n{len(NAMES)} hostile answers to {what}: memory grew by {growth / 1e6:.0f} MB at most\n")
    assert growth < GROWTH_BYTES


@pytest.mark.fault("F5", "S19", "S20", "S21", "S22")
@pytest.mark.timeout(150)  # 12 s, 8 of them for answers that never come; a machine that is busy takes three times that
def test_what_is_no_answer_to_a_submit_is_a_doubt_and_nothing_is_sent_again(
    bed: Bed, world: Hostile, record_property: Record
) -> None:
    bed.api |= {"max_concurrent_submits": len(NAMES), "answer_timeout": "8s"}
    for route, name in NAMES.items():
        world.submits[route] = when_all_are_there(world, UNREADABLE[name])
        bed.route(route)
    daemon = start(bed)
    idle = daemon.memory_bytes("VmRSS")
    drop_bad(bed)
    wait(lambda: daemon.ends() == len(NAMES) + 1, "all are in doubt", daemon=daemon)
    goes_through(bed, daemon, range(3))  # the gate opens by itself: they were in flight together
    grew(daemon, idle, "submits")

    jobs = {job["route"]: job for job in bed.jobs() if job["route"] in NAMES}
    assert {NAMES[route]: job["code"] for route, job in jobs.items()} == dict.fromkeys(UNREADABLE, "submission_unknown")
    assert world.paid == {**dict.fromkeys(NAMES, 1), "good": 4}
    for route in NAMES:
        told = bed.error("bad.csv", route)
        assert told["message"].isprintable()
        assert len(told["message"]) < 150
        assert "HTTP" in told["message"] or "127.0.0.1: the file was sent, but " in told["message"], told["message"]
        assert "dashboard" in told["what_to_do"]
        assert jobs[route]["message"] == told["message"]
    assert told["message"] in bed.does("jobs", "show", told["job"])
    record_property("counted: hostile answers to a submit", len(NAMES))


@pytest.mark.fault("F5", "S19", "S20", "S21", "S22")
@pytest.mark.system
@pytest.mark.timeout(300)  # each of 56 is asked about many times for as long as its answers hang: a minute
def test_what_is_no_answer_to_a_question_is_asked_again(bed: Bed, world: Hostile, record_property: Record) -> None:
    bed.api["retry"] = {"min": "200ms", "max": "2s"}  # else the bed's own server is what is slow
    for route, name in NAMES.items():
        world.statuses[route] = UNREADABLE[name]
        bed.route(route)
    daemon = start(bed)
    idle = daemon.memory_bytes("VmRSS")
    drop_bad(bed)
    longest = goes_through(bed, daemon, range(3))
    wait(lambda: all(world.asked[route] >= 3 for route in NAMES), "each is asked about again", 120, daemon)
    grew(daemon, idle, "status calls")
    assert longest < 90
    waiting = [job for job in bed.jobs() if job["route"] in NAMES]
    readable = "a word of nearly a megabyte"  # a status that is not documented: waited for
    assert {job["state"] for job in waiting} == {"running"}
    assert [NAMES[job["route"]] for job in waiting if not job["waits_for"]] in ([], [readable])

    world.statuses.clear()
    wait(lambda: daemon.ends() == len(NAMES) + 4, "all come back", 120, daemon)
    assert {job["state"] for job in bed.jobs()} == {"done"}
    assert world.paid == {**dict.fromkeys(NAMES, 1), "good": 4}
    record_property("counted: hostile answers to a status call", len(NAMES))


TABLES = {"true"}
"""One word is a table with a header and no rows: delivered, and its receipt tells of 0 rows for 1."""


@pytest.mark.fault("F15", "F17", "F18", "S19", "S20", "S21")
@pytest.mark.system
@pytest.mark.timeout(300)  # each of 56 is fetched for three seconds, 16 at once, and then once more
def test_what_is_no_result_is_fetched_again_for_free(bed: Bed, world: Hostile, record_property: Record) -> None:
    for route, name in NAMES.items():
        world.fetches[route] = UNREADABLE[name]
        bed.route(route, task_timeout="3s")
    daemon = start(bed)
    idle = daemon.memory_bytes("VmRSS")
    drop_bad(bed)
    longest = goes_through(bed, daemon, range(3))
    wait(lambda: daemon.ends() == len(NAMES) + 4, "all end", 120, daemon)
    grew(daemon, idle, "fetches")
    assert longest < 90

    jobs = {job["route"]: job for job in bed.jobs() if job["route"] in NAMES}
    assert {NAMES[route] for route, job in jobs.items() if job["state"] == "done"} == TABLES
    failed = {route: job for route, job in jobs.items() if job["state"] != "done"}
    assert {job["code"] for job in failed.values()} == {"result_unavailable", "result_invalid"}
    for route, job in failed.items():
        told = bed.error("bad.csv", route)
        assert told["message"].isprintable()
        assert "secret" not in told["message"], "the link's query"
        assert "redeliver" in told["what_to_do"]
        assert bed.files("outbox", route) == {}, NAMES[route]
        assert job["task_ids"]
    assert bed.receipt("bad.csv", "r" + str(list(UNREADABLE).index("true")))["rows_out"] == 0

    world.fetches.clear()
    bed.does("retry", *(job["job"] for job in failed.values()))
    wait(lambda: daemon.ends() == len(NAMES) + 4 + len(failed), "all come back", 120, daemon)
    assert {job["state"] for job in bed.jobs()} == {"done"}
    assert world.paid == {**dict.fromkeys(NAMES, 1), "good": 4}
    record_property("counted: hostile answers to a fetch", len(NAMES))


ODD_IDS = {
    "a path": "../../../../../tmp/x",
    "an absolute path": "/etc/passwd",
    "a percent sign": "%2e%2e%2f%00%s%n{0}{job}",
    "SQL": "x'); DROP TABLE jobs; --",
    "an option": "--abandon",
    "a formula": "=cmd|'/C calc'!A0",
    "markup": "<script>alert(1)</script>",
    "the longest": "x" * 512,
    "JSON": '{"taskId": "other"}',
    "a name in the work folder": "state.db",
    "any language": "задача-任务-🙂",
}


@pytest.mark.fault("S22")
def test_a_task_id_is_only_ever_a_value(bed: Bed, world: Hostile) -> None:
    """Asked for, shown and kept as it came; never part of a path, a query or a command."""
    routes = {f"odd-{number}": name for number, name in enumerate(ODD_IDS)}
    before = {path for path in (bed.folder, *bed.folder.parents) for path in path.iterdir()}
    for route, name in routes.items():
        world.task_ids[route] = ODD_IDS[name]
        bed.route(route)
        bed.drop("a.csv", b"a\n%s\n" % route.encode(), route)
    daemon = bed.start()
    jobs = {job["route"]: job for job in bed.wait_ended(len(routes))}
    assert {job["state"] for job in jobs.values()} == {"done"}
    for route, name in routes.items():
        task_id = ODD_IDS[name]
        assert jobs[route]["task_ids"] == [task_id] == bed.receipt("a.csv", route)["task_ids"]
        assert list(bed.files("outbox", route)) == ["a.csv"]
        assert daemon.told("task.submitted", route=route, task_id=task_id)
    assert {job["route"]: job["task_ids"] for job in bed.json("jobs")} == {
        route: [ODD_IDS[name]] for route, name in routes.items()
    }
    made = {path for path in (bed.folder, *bed.folder.parents) for path in path.iterdir()} - before
    ours = {bed.folder / name for name in ("config.yaml", "state", "log-0", "good", *routes)}
    assert {path for path in made if path.is_relative_to(bed.folder)} <= ours
    assert not (Path("/tmp/x")).exists()
