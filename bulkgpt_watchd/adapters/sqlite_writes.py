"""Change the state, inside a transaction that the caller holds."""

# A function without a docstring has it at its namesake in `core.ports.Store`; SQL is built of our own names only.
# ruff: noqa: D103, S608

from __future__ import annotations

from collections.abc import Callable, Sequence
from sqlite3 import Connection, IntegrityError

from bulkgpt_watchd.adapters import sqlite_reads as reads
from bulkgpt_watchd.adapters.sqlite_rows import COLUMNS, difference, event_facts, event_name, row_of, text
from bulkgpt_watchd.core.errors import NameTaken, SourceChanged
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.ports import Change

INSERT = f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
IS_CURRENT = "SELECT 1 FROM jobs WHERE id = ? AND revision = ?"


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
    return True


def _is_current(connection: Connection, job: Job) -> bool:
    return connection.execute(IS_CURRENT, (text(job.id), job.revision)).fetchone() is not None


def pass_point(
    connection: Connection,
    change: Change,
    max_outstanding: int,
    obstacle: Callable[[Sequence[Job]], Job | None],
    at: float,
) -> Job | int | None:
    if not _is_current(connection, change.old):
        raise SourceChanged(f"job {change.old.id} was moved on meanwhile")
    if (stops := obstacle(reads.twins(connection, change.new))) is not None:
        return stops
    if (outstanding := reads.outstanding(connection)) >= max_outstanding:
        return outstanding
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


def set_fact(connection: Connection, key: str, content: str) -> None:
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (text(key), content))


def audit(connection: Connection, at: float, by: str, action: str, target: str, detail: str) -> None:
    connection.execute(
        "INSERT INTO audit (at, by, action, target, detail) VALUES (?, ?, ?, ?, ?)",
        (at, *map(text, (by, action, target, detail))),
    )
