"""A state of the first version gets the ledger that it would have had."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.adapters.sqlite_file import MIGRATIONS, prepare
from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.ledger import Line
from bulkgpt_watchd.core.lifecycle import advance
from bulkgpt_watchd.core.ports import Change
from tests.adapters.open_state import NOW
from tests.core.any_jobs import POLICY
from tests.sample_jobs import sample_job

HOUR_S = 3_600.0
STAMP = Stamp(1, 2, 3)
DOUBT = e.GaveUp("submission_unknown", "lost")
AGAIN = (e.Restored(), e.Prepared(STAMP, "5ha", 24), e.Passed("w"), e.Accepted("t2"))
DELIVERED: tuple[Event, ...] = (
    e.Finished(24, 20, 24),
    e.Fetched("/out/a", "5ha", 9, 20),
    e.Delivered("/archive/a"),
    e.Archived(),
)
LIVES: tuple[tuple[Event, ...], ...] = (
    (e.Passed("w"), e.Accepted("t1"), *DELIVERED),
    (e.Passed("w"), e.Deferred("429"), e.Passed("v"), e.Accepted("t1"), *DELIVERED),
    (e.Passed("w"), e.GaveUp("rejected", "no"), e.Quarantined()),
    (e.Passed("w"), DOUBT, e.Quarantined()),
    (e.Passed("w"), DOUBT, e.Quarantined(), e.Abandoned()),
    (e.Passed("w"), DOUBT, e.Quarantined(), e.Recalled("t1", "/e"), e.Resumed(), *DELIVERED),
    (e.Passed("w"), DOUBT, e.Quarantined(), e.Recalled(None, "/e"), *AGAIN),
    (e.Passed("w"),),
    (e.Accepted("t1"),),
    (DOUBT, e.Quarantined()),
    (e.Passed("w"), e.Accepted("t1"), e.GaveUp("task_error", "x"), e.Quarantined(), e.Recalled(None, "/e"), *AGAIN),
    (e.Passed("w"), e.Accepted("t1"), *DELIVERED, e.Reopened(), *DELIVERED),
)


async def live(path: Path) -> None:
    """Let jobs live in a state of this version."""
    at = NOW
    store = await SqliteStore.open(path, fstype="ext4", now=lambda: at, new_uuid=lambda: "uuid")
    for number, events in enumerate(LIVES):
        job = sample_job(f"job{number:05}", state=State.READY, rows=24, route=f"r{number % 2}")
        await store.add([job])
        for event in events:
            at += 7 * HOUR_S
            change = Change(job, advance(job, event, at, POLICY, 0.0), event)
            assert await store.save(change)
            job = change.new
    await store.close()


def downgrade(new: Path, old: Path) -> None:
    """Write the same jobs and journals as the first version would have."""
    prepare(old, lambda: NOW, lambda: "uuid", MIGRATIONS[:1])
    with closing(sqlite3.connect(old)) as state:
        columns = ", ".join(row[1] for row in state.execute("PRAGMA table_info(jobs)"))
        state.execute("ATTACH ? AS new", (str(new),))
        state.execute(f"INSERT INTO jobs ({columns}) SELECT {columns} FROM new.jobs")
        state.execute("INSERT INTO journal SELECT * FROM new.journal")
        state.commit()


def content(path: Path) -> tuple[list[Line], dict[str, float | None]]:
    with StateReader.open(path) as state:
        jobs: list[Job] = [job for number in range(len(LIVES)) if (job := state.get(f"job{number:05}"))]
        return state.ledger(""), {job.id: job.passed_at for job in jobs}


async def test_an_upgrade_writes_the_ledger_that_the_jobs_tell_of(tmp_path: Path) -> None:
    await live(tmp_path / "new.db")
    downgrade(tmp_path / "new.db", tmp_path / "old.db")
    lines, passed = content(tmp_path / "new.db")
    assert len(lines) > 10
    assert sum(line.doubt_files for line in lines) == 3

    prepare(tmp_path / "old.db", lambda: NOW, lambda: "unused")

    assert content(tmp_path / "old.db") == (lines, passed)
    with closing(sqlite3.connect(tmp_path / "old.db.before-0002")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert copy.execute("SELECT count(*) FROM jobs").fetchone() == (len(LIVES),)


async def test_an_upgrade_of_a_state_that_was_never_used_leaves_it_empty(tmp_path: Path) -> None:
    prepare(tmp_path / "old.db", lambda: NOW, lambda: "uuid", MIGRATIONS[:1])
    prepare(tmp_path / "old.db", lambda: NOW, lambda: "unused")

    assert content(tmp_path / "old.db") == ([], {})
