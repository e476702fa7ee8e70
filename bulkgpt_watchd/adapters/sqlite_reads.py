"""Ask the state, through any connection. The writing store and the read-only one share this."""

# A function without a docstring has it at its namesake in `core.ports.Store`; SQL is built of our own names only.
# ruff: noqa: D103, S608

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from bulkgpt_watchd.adapters.sqlite_rows import COLUMNS, column_value, job_of, text, untext
from bulkgpt_watchd.core.budget import Spent
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.ledger import AMOUNTS, Line
from bulkgpt_watchd.core.ports import JournalEntry, Query, Want

SELECT = f"SELECT {', '.join(COLUMNS)} FROM jobs"

# All that a running daemon asks, each answered from an index: a test reads the query plans.
GET = f"{SELECT} WHERE id = ?"
# Named, since the planner would else hold the parameter against the condition of jobs_failed, each time: 9 µs, not 2.
DUE = """
SELECT number FROM jobs INDEXED BY jobs_due WHERE state = ? AND route = ? AND due_at <= ?
ORDER BY due_at, number LIMIT ?
"""
LISTED = f"""
WITH listed (place, number) AS (SELECT key, value FROM json_each(?))
SELECT {", ".join(COLUMNS)} FROM listed CROSS JOIN jobs USING (number) ORDER BY place
"""
NEXT_DUE = """
SELECT min((SELECT min(due_at) FROM jobs WHERE state = states.value AND route = routes.value AND due_at > :after))
FROM json_each(:states) AS states, json_each(:routes) AS routes
"""
TWINS = f"""
{SELECT} WHERE number IN (
    SELECT number FROM jobs WHERE sha256 = :sha256 AND route = :route
    UNION SELECT number FROM jobs WHERE route = :route AND file = :file AND state = 'failed'
) AND id <> :id AND state <> 'withdrawn' AND superseded_by IS NULL ORDER BY number DESC
"""
HOLDERS = f"""
{SELECT} WHERE number IN (
    SELECT number FROM jobs WHERE task_id = :task_id
    UNION SELECT number FROM jobs, json_each(earlier_task_ids) AS earlier
        WHERE earlier_task_ids IS NOT NULL AND earlier.value = :task_id
) AND id <> :id AND superseded_by IS NULL ORDER BY number DESC
"""
OUTSTANDING = "SELECT count(*) FROM jobs WHERE state IN ('submitting', 'submitted')"
COUNTS = "SELECT route, state, jobs FROM counts WHERE jobs > 0"
SPENT = """
SELECT route, sum(submitted_rows - refused_rows), sum(submitted_files - refused_files)
FROM ledger WHERE day = ? GROUP BY route
"""
LEDGER = (
    f"SELECT day, route, workflow_id, {', '.join(AMOUNTS)} FROM ledger WHERE day >= ? ORDER BY day, route, workflow_id"
)
# The states are written out as in the index: the planner compares the words.
ENDED = f"""
{SELECT} WHERE route = :route AND ended_at < :before AND (ended_at, id) > (:after, :id)
AND state IN ('done', 'failed', 'withdrawn') ORDER BY ended_at, id LIMIT :limit
"""
ARCHIVED = f"""
{SELECT} WHERE route = :route AND ended_at < :before AND (ended_at, id) > (:after, :id)
AND state = 'done' AND archive_path IS NOT NULL ORDER BY ended_at, id LIMIT :limit
"""
JOURNAL = """
SELECT at, event, facts FROM journal WHERE job = (SELECT number FROM jobs WHERE id = ?) ORDER BY revision
"""

OLDEST = f"""
SELECT route, state, min(created_at) FROM jobs
WHERE state IN ({", ".join(f"'{state}'" for state in State if state not in TERMINAL)}) GROUP BY route, state
"""
FAILED = """
SELECT route, code, count(*) FROM jobs
WHERE state = 'failed' AND code IS NOT NULL AND NOT is_closed AND superseded_by IS NULL GROUP BY route, code
"""


def _jobs(connection: Connection, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Job]:
    return [job_of(row) for row in connection.execute(statement, values)]


def _named(job: Job, *names: str) -> dict[str, Any]:
    return {name: column_value(name, getattr(job, name)) for name in names}


def uuid(connection: Connection) -> str:
    return str(connection.execute("SELECT uuid FROM meta").fetchone()[0])


def get(connection: Connection, job_id: str) -> Job | None:
    return next(iter(_jobs(connection, GET, (text(job_id),))), None)


def due(connection: Connection, wants: Sequence[Want], now: float) -> list[Job]:
    # Most wants find nothing, and sqlite3 describes every column of every answer: 40 µs for whole rows.
    numbers: list[int] = []
    for want in wants:
        limit = max(want.limit, 0)  # to SQLite, less than none is all
        numbers += (row[0] for row in connection.execute(DUE, (str(want.state), text(want.route), now, limit)))
    return _jobs(connection, LISTED, (json.dumps(numbers),)) if numbers else []


def next_due(connection: Connection, states: str, routes: str, after: float) -> float | None:
    """Shape: *states* and *routes* are lists in JSON."""
    row = connection.execute(NEXT_DUE, {"states": states, "routes": routes, "after": after}).fetchone()
    return None if row[0] is None else float(row[0])


def twins(connection: Connection, job: Job) -> list[Job]:
    return _jobs(connection, TWINS, _named(job, "sha256", "route", "file", "id"))


def holders(connection: Connection, job: Job) -> list[Job]:
    """Give the other jobs that have, or had, the same task ID."""
    return _jobs(connection, HOLDERS, _named(job, "task_id", "id"))


def outstanding(connection: Connection) -> int:
    return int(connection.execute(OUTSTANDING).fetchone()[0])


def query(connection: Connection, wanted: Query) -> list[Job]:
    conditions, values = ["TRUE"], list[Any]()
    for column, choice in (("route", wanted.routes), ("state", wanted.states), ("code", wanted.codes)):
        if choice is not None:
            # DONE rows are the many: a list with them is read backwards in order of arrival, others from the index.
            by_order = "+" if column == "state" and State.DONE in choice else ""
            conditions.append(f"{by_order}{column} IN ({', '.join('?' * len(choice))})")
            values += map(text, choice)
    if wanted.since is not None:
        conditions.append("changed_at >= ?")
        values.append(wanted.since)
    if wanted.before is not None:
        conditions.append("number < (SELECT number FROM jobs WHERE id = ?)")
        values.append(text(wanted.before))
    if wanted.failures is not None:
        conditions.append("failures >= ?")
        values.append(wanted.failures)
    if wanted.has_task is not None:
        conditions.append(f"task_id IS {'NOT ' if wanted.has_task else ''}NULL")
    statement = f"{SELECT} WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
    return _jobs(connection, statement, [*values, -1 if wanted.limit is None else wanted.limit])


def spent(connection: Connection, day: str) -> dict[str, Spent]:
    return {untext(route): Spent(rows, files) for route, rows, files in connection.execute(SPENT, (day,))}


def ledger(connection: Connection, since: str) -> list[Line]:
    rows = connection.execute(LEDGER, (since,))
    return [Line(day, untext(route), untext(workflow), *amounts) for day, route, workflow, *amounts in rows]


def ended(connection: Connection, route: str, before: float, after: Job | None, limit: int) -> list[Job]:
    return _jobs(connection, ENDED, _page(route, before, after, limit))


def archived(connection: Connection, route: str, before: float, after: Job | None, limit: int) -> list[Job]:
    return _jobs(connection, ARCHIVED, _page(route, before, after, limit))


def _page(route: str, before: float, after: Job | None, limit: int) -> dict[str, Any]:
    values: dict[str, Any] = {"route": text(route), "before": before, "limit": limit}
    return values | {"after": after.ended_at if after else -1.0, "id": text(after.id) if after else ""}


def counts(connection: Connection) -> dict[tuple[str, State], int]:
    return {(untext(route), State(state)): count for route, state, count in connection.execute(COUNTS)}


def journal(connection: Connection, job_id: str) -> list[JournalEntry]:
    rows = connection.execute(JOURNAL, (text(job_id),))
    return [JournalEntry(at, event, json.loads(facts)) for at, event, facts in rows]


def facts(connection: Connection) -> dict[str, Any]:
    return {untext(key): json.loads(value) for key, value in connection.execute("SELECT key, value FROM facts")}


def matching(connection: Connection, prefix: str) -> list[Job]:
    """Give the jobs whose ID starts so, newest first."""
    above = prefix + "\U0010ffff"  # sorts after every character that an ID may have
    return _jobs(connection, f"{SELECT} WHERE id >= ? AND id < ? ORDER BY number DESC", (text(prefix), text(above)))


def newest(connection: Connection) -> int:
    """Give the number of the job that came last; 0: there is none."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM jobs").fetchone()[0])


def arrived(connection: Connection, inbox: str, file: str, after: int) -> list[Job]:
    """Give the jobs of a file in an inbox that came later than the job of that number, by arrival."""
    statement = f"{SELECT} WHERE number > ? AND file = ? AND inbox = ? ORDER BY number"
    return _jobs(connection, statement, (after, os.fsencode(file), os.fsencode(inbox)))


def latest(connection: Connection, file: str) -> Job | None:
    """Give the newest job of a file name, in whatever route."""
    found = _jobs(connection, f"{SELECT} WHERE file = ? ORDER BY number DESC LIMIT 1", (os.fsencode(file),))
    return next(iter(found), None)


def oldest(connection: Connection) -> dict[tuple[str, State], float]:
    """Tell when the oldest job in each state was found, by route; those that ended are left out."""
    return {(untext(route), State(state)): at for route, state, at in connection.execute(OLDEST)}


def failed(connection: Connection) -> dict[tuple[str, str], int]:
    """Count the failed jobs by route and code; those that a person closed, or dropped again, are left out."""
    return {(untext(route), code): number for route, code, number in connection.execute(FAILED)}
