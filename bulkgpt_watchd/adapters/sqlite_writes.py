"""Change the state, inside a transaction that the caller holds."""

# A function without a docstring has it at its namesake in `core.ports.Store`; SQL is built of our own names only.
# ruff: noqa: D103, S608

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Connection, IntegrityError

from bulkgpt_watchd.adapters import sqlite_reads as reads
from bulkgpt_watchd.adapters.sqlite_rows import COLUMNS, difference, event_facts, event_name, row_of, text
from bulkgpt_watchd.core.budget import Overrun, Spent
from bulkgpt_watchd.core.errors import NameTaken, SourceChanged
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ledger import AMOUNTS, addition, day_of
from bulkgpt_watchd.core.ports import Change

INSERT = f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
IS_CURRENT = "SELECT 1 FROM jobs WHERE id = ? AND revision = ?"
ADD_UP = f"""
INSERT INTO ledger (day, route, workflow_id, {", ".join(AMOUNTS)}) VALUES (?, ?, ?{", ?" * len(AMOUNTS)})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in AMOUNTS)}
"""
REBASE = """
UPDATE jobs SET due_at = CASE
    WHEN changed_at + :by > :at OR due_at + :by > :at + :longest THEN min(due_at + :by, :at) ELSE due_at + :by END
WHERE due_at > :after
"""
FORGET = "DELETE FROM jobs WHERE id = ? AND revision = ? RETURNING number"


def add(connection: Connection, jobs: Sequence[Job]) -> None:
    try:
        connection.executemany(INSERT, map(row_of, jobs))
    except IntegrityError as error:
        raise NameTaken(f"one of {len(jobs)} new jobs has the ID of an older one") from error


def save(connection: Connection, change: Change, at: float) -> bool:
    names, values = difference(change.old, change.new)
    row = connection.execute(
        f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ? AND revision = ? RETURNING number",
        [*values, text(change.old.id), change.old.revision],
    ).fetchone()
    if row is None:
        return False
    if change.is_news:
        connection.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
            (row[0], change.new.revision, at, event_name(change.event), event_facts(change.event)),
        )
    if (line := addition(change)) is not None:
        connection.execute(ADD_UP, (line.day, text(line.route), text(line.workflow_id), *line.amounts))
    return True


def _is_current(connection: Connection, job: Job) -> bool:
    return connection.execute(IS_CURRENT, (text(job.id), job.revision)).fetchone() is not None


def pass_point(
    connection: Connection,
    change: Change,
    max_outstanding: int,
    obstacle: Callable[[Sequence[Job]], Job | None],
    overrun: Callable[[Mapping[str, Spent]], Overrun | None],
    at: float,
) -> Job | Overrun | int | None:
    if not _is_current(connection, change.old):
        raise SourceChanged(f"job {change.old.id} was moved on meanwhile")
    if (stops := obstacle(reads.twins(connection, change.new))) is not None:
        return stops
    if (outstanding := reads.outstanding(connection)) >= max_outstanding:
        return outstanding
    if (over := overrun(reads.spent(connection, day_of(change.new.passed_at or at)))) is not None:
        return over
    save(connection, change, at)
    return None


def accept(
    connection: Connection, change: Change, settle: Callable[[Sequence[Job]], tuple[Change, ...]], at: float
) -> tuple[Change, ...]:
    if not _is_current(connection, change.old):
        return ()
    holders = reads.holders(connection, change.new)
    changes = settle(holders) if holders else (change,)
    return tuple(each for each in changes if save(connection, each, at))


def forget(connection: Connection, jobs: Sequence[Job]) -> list[Job]:
    """Remove rows with their journal; those that were moved on meanwhile stay."""
    return [job for job in jobs if connection.execute(FORGET, (text(job.id), job.revision)).fetchone() is not None]


def rebase(connection: Connection, at: float, by_s: float, longest_s: float) -> None:
    after = min(at, at - by_s)  # what was due before the clock was set is due
    connection.execute(REBASE, {"at": at, "by": by_s, "longest": longest_s, "after": after})


def set_fact(connection: Connection, key: str, content: str) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (text(key), content))


def audit(connection: Connection, at: float, by: str, action: str, target: str, detail: str) -> None:
    connection.execute(
        "INSERT INTO audit (at, by, action, target, detail) VALUES (?, ?, ?, ?, ?)",
        (at, *map(text, (by, action, target, detail))),
    )
