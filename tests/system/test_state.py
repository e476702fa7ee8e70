"""
The state: zeroed, cut, foreign, of a newer version, an older copy, deleted with work in flight, two on one inbox.

In all of them nothing is sent a second time, nobody starts empty without a word, and what is said names a way on, which
is then gone.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import Bed
from tests.system.process import Daemon, wait

SENT, WAITING = b"Input_1\nsent\n", b"Input_1\nwaiting\n"

NO_ANSWERS = Fault(call="status", http_status=503, times="always")
LOST = Fault(call="submit", reset=True, accept=True)


@pytest.fixture
def state(bed: Bed) -> Path:
    return bed.folder / "state" / "state.db"


def claimed(bed: Bed) -> list[str]:
    return sorted(name for name in bed.files("work") if name != "route.json")


def work_in_flight(bed: Bed, copy: Path) -> None:
    """Leave a file that BulkGPT works on, one that waits in the inbox, a copy of the state, and nobody who runs."""
    bed.sandbox.plan(NO_ANSWERS)
    daemon = bed.start()
    bed.drop("sent.csv", SENT)
    daemon.wait_for("task.submitted")
    wait(lambda: bed.job("sent.csv")["state"] == "running", "the task ID is written down", daemon=daemon)
    bed.does("state", "backup", str(copy))
    daemon.kill()
    bed.drop("waiting.csv", WAITING)


def restore(state: Path, copy: Path) -> None:
    """Put a copy in the place of the state, as docs/money.md says."""
    for path in (state, Path(f"{state}-wal"), Path(f"{state}-shm")):
        path.unlink(missing_ok=True)
    shutil.copyfile(copy, state)


def all_is_well(bed: Bed, daemon: Daemon) -> None:
    """Hold that what was sent came back, what waited went on, and each was paid once."""
    bed.sandbox.clear()
    wait(lambda: len(daemon.told("job.done")) == 2, "both files end", daemon=daemon)
    assert bed.files("outbox") == {"sent.csv": answer(SENT), "waiting.csv": answer(WAITING)}
    assert len(bed.sandbox.accepted) == 2


# --- what is no state -------------------------------------------------------------------------------------------------


def zeroed(state: Path) -> None:
    state.write_bytes(bytes(state.stat().st_size))


def emptied(state: Path) -> None:
    os.truncate(state, 0)


def cut(state: Path) -> None:
    """Leave less than the page that its log begins with; the log is as lost as the rest."""
    Path(f"{state}-wal").unlink()
    os.truncate(state, state.stat().st_size // 2)


def garbage(state: Path) -> None:
    state.write_bytes(b"no database " * 1000)


def of_another_program(state: Path) -> None:
    for path in state.parent.glob("state.db*"):
        path.unlink()
    with closing(sqlite3.connect(state)) as other:
        other.execute("CREATE TABLE jobs (id)")


def gone_but_for_its_log(state: Path) -> None:
    state.unlink()


def newer(state: Path) -> None:
    with closing(sqlite3.connect(state)) as newer:
        newer.execute("PRAGMA user_version = 9999")


@pytest.mark.fault("F41")
@pytest.mark.timeout(180)  # six processes after each other
@pytest.mark.parametrize(
    ("damage", "says", "way_on"),
    [
        (zeroed, "is damaged", "state backup"),
        (emptied, "is empty: it was truncated", "state backup"),
        (cut, "is damaged", "state backup"),
        (garbage, "is damaged", "state backup"),
        (of_another_program, "not the state of bulkgpt-watchd", "set `state.path`"),
        (gone_but_for_its_log, "is gone, but its log", "state backup"),
        (newer, "has schema 9999", "install the newer version again"),
    ],
)
def test_what_is_no_state_of_ours_is_refused_and_a_copy_goes_on(
    bed: Bed, state: Path, damage: Callable[[Path], None], says: str, way_on: str
) -> None:
    copy = bed.folder / "copy.db"
    work_in_flight(bed, copy)
    damage(state)
    before = state.read_bytes() if state.exists() else None

    refused = bed.start(is_ready=False)
    assert refused.ended() == 74
    reason = refused.told("daemon.failed", exit_code=74)[0]["reason"]
    assert str(state) in reason
    assert says in reason
    assert way_on in reason
    assert before is None or state.read_bytes() == before, "what may be rescued is left as it is"
    assert bed.files("inbox").keys() == {"waiting.csv"}
    for command in (("status",), ("state", "check")):
        done = bed.command(*command)
        assert (done.returncode, says in done.stderr or before is None) == (74, True), (command, done)
    assert len(bed.sandbox.ledger) == 1

    restore(state, copy)
    all_is_well(bed, bed.start())


@pytest.mark.fault("F41")
def test_a_state_that_was_deleted_with_work_in_flight_waits_for_a_person_and_pays_nothing_again(
    bed: Bed, state: Path
) -> None:
    bed.api["max_concurrent_submits"] = 1
    work_in_flight(bed, bed.folder / "copy.db")
    (bed.place("inbox") / ".bulkgpt-watchd" / "aaaaaaaa-checked.csv").write_bytes(b"Input_1\nchecked\n")
    for path in state.parent.iterdir():
        path.unlink()

    daemon = bed.start()
    told = daemon.wait_for("route.unavailable")
    assert "belongs to another daemon or another state" in told["reason"]
    assert "adopt leads" in told["reason"]
    time.sleep(0.5)
    assert bed.files("inbox").keys() == {"waiting.csv"}
    assert bed.jobs() == []
    assert len(bed.sandbox.ledger) == 1
    [problem] = bed.json("status")["problems"]
    assert "adopt leads" in problem

    bed.does("adopt", "leads")
    daemon.wait_for("job.quarantined", file="sent.csv")
    doubt = bed.job("sent.csv")
    assert doubt["code"] == "submission_unknown"
    assert f"resolve {doubt['job']}" in bed.error("sent.csv")["what_to_do"]
    bed.sandbox.clear()
    bed.does("resolve", doubt["job"], "--task-id", str(bed.sandbox.accepted[0].task_id))
    wait(lambda: len(daemon.told("job.done")) == 3, "all go on", daemon=daemon)
    assert bed.files("outbox").keys() == {"sent.csv", "waiting.csv", "checked.csv"}
    assert bed.files("error") == {}
    assert len(bed.sandbox.accepted) == 3


# --- an older copy ----------------------------------------------------------------------------------------------------


@pytest.mark.fault("F41")
@pytest.mark.parametrize("takes_reason_away", [False, True])
@pytest.mark.parametrize("is_restored", [True, False], ids=["older", "deleted"])
def test_a_doubt_that_went_to_error_since_the_copy_is_asked_again_and_its_file_is_not_sent_again(
    bed: Bed, state: Path, is_restored: bool, takes_reason_away: bool
) -> None:
    """Somebody moves it back into the inbox meanwhile, by hand, since the command that he should give is unknown."""
    copy = bed.folder / "copy.db"
    daemon = bed.start()
    bed.does("state", "backup", str(copy))
    bed.sandbox.plan(LOST)
    bed.drop("sent.csv", SENT)
    daemon.wait_for("job.quarantined")
    old = bed.job("sent.csv")["job"]
    daemon.kill()

    if is_restored:
        restore(state, copy)
    else:
        for path in state.parent.iterdir():
            path.unlink()
    (bed.place("error") / "sent.csv").rename(bed.place("inbox") / "sent.csv")
    if takes_reason_away:
        (bed.place("error") / "sent.csv.error.json").unlink()
    daemon = bed.start()
    if not is_restored:
        daemon.wait_for("route.unavailable")
        bed.does("adopt", "leads")
    wait(lambda: len(daemon.told("job.quarantined")) == 2, "both are told", daemon=daemon)

    jobs = bed.jobs()
    assert [(job["job"] == old, job["code"]) for job in jobs] == [(True, "submission_unknown"), (False, "duplicate")]
    assert "failed with submission_unknown before" in jobs[0]["message"]
    assert [doubt["job"] for doubt in bed.json("status")["doubts"]] == [old]
    assert len(bed.sandbox.accepted) == 1
    bed.does("resume")
    bed.does("resolve", old, "--task-id", str(bed.sandbox.accepted[0].task_id))
    daemon.wait_for("job.done")
    assert bed.files("outbox") == {"sent.csv": answer(SENT)}
    assert bed.files("archive")["sent.csv"] == SENT
    assert bed.files("error").keys() <= {"sent.csv.error.json"}
    assert claimed(bed) == []
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.fault("F41")
def test_what_was_delivered_since_the_copy_is_left_where_it_is(bed: Bed, state: Path) -> None:
    copy = bed.folder / "copy.db"
    daemon = bed.start()
    bed.does("state", "backup", str(copy))
    bed.drop("sent.csv", SENT)
    daemon.wait_for("job.done")
    daemon.kill()

    restore(state, copy)
    daemon = bed.start()
    bed.drop("waiting.csv", WAITING)
    daemon.wait_for("job.done", file="waiting.csv")
    assert bed.files("outbox") == {"sent.csv": answer(SENT), "waiting.csv": answer(WAITING)}
    assert len(bed.sandbox.accepted) == 2


# --- two states on one inbox ------------------------------------------------------------------------------------------


@pytest.mark.fault("F41")
def test_a_second_daemon_with_another_state_touches_nothing_until_it_is_told_to_adopt(bed: Bed) -> None:
    first = bed.start()
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert first.stop() == 0
    # What the first left in work: one file that was certainly not sent, one that may have been.
    work = bed.place("inbox") / ".bulkgpt-watchd"
    (work / "aaaaaaaa-plain.csv").write_bytes(b"a\n1\n")
    (work / "bbbbbbbb.sent-maybe.csv").write_bytes(b"a\n2\n")

    bed.more["state"] = {"path": "other/state.db"}
    second = bed.start()
    told = second.wait_for("route.unavailable")
    assert "adopt leads" in told["reason"]
    bed.drop("b.csv", b"a\n3\n")
    time.sleep(0.8)
    assert bed.files("inbox").keys() == {"b.csv"}
    assert claimed(bed) == ["aaaaaaaa-plain.csv", "bbbbbbbb.sent-maybe.csv"]
    assert len(bed.sandbox.ledger) == 1
    [route] = bed.json("status")["routes"]
    assert not route["available"]
    assert "another" in route["reason"]
    assert bed.once() == 12, "and it holds its own state"

    bed.does("adopt", "leads")
    wait(lambda: len(second.told("job.done")) == 2 and second.told("job.quarantined"), "all end", daemon=second)
    jobs = {job["file"]: job for job in bed.jobs()}
    assert {file: (job["state"], job["code"]) for file, job in jobs.items()} == {
        "plain.csv": ("done", None),
        "b.csv": ("done", None),
        "maybe.csv": ("failed", "submission_unknown"),
    }
    assert second.stop() == 0

    # The first state comes back: now it is the one that must not touch anything.
    bed.more["state"] = {"path": "state/state.db"}
    third = bed.start()
    third.wait_for("route.unavailable")
    bed.drop("c.csv", b"a\n4\n")
    time.sleep(0.5)
    assert "c.csv" in bed.files("inbox")


@pytest.mark.fault("F41")
def test_two_daemons_with_two_states_never_share_a_file(bed: Bed) -> None:
    first = bed.start()
    bed.more["state"] = {"path": "other/state.db"}
    bed.write()
    second = bed.start()
    second.wait_for("route.unavailable")
    for number in range(20):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    wait(lambda: len(first.told("job.done")) == 20, "the first takes all", daemon=first)
    assert not second.told("job.claimed")
