"""
Keep the account of what was sent and paid: what each change of a job adds to it.

Theory of operation
-------------------
One line for each UTC day, route and workflow, written in the same transaction as the change that it follows, so that
it cannot disagree with the jobs; and it stays when they are pruned. A submit belongs to the day on which it passed its
point of no return, and all that becomes of it later is written into that line: accepted, refused or a doubt, and what
was delivered. So in every line `submitted` is the sum of accepted, refused, doubts and what is under way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.core.shown import rows_failed

AMOUNTS = (
    "submitted_files",
    "submitted_rows",
    "accepted_files",
    "accepted_rows",
    "refused_files",
    "refused_rows",
    "doubt_files",
    "doubt_rows",
    "delivered_files",
    "rows_ok",
    "rows_failed",
)
"""What a line counts; each is a column of the ledger."""


@dataclass(frozen=True, slots=True)
class Line:
    """
    Hold one line of the ledger, or what is added to one.

    Shape: *day* as 2026-11-24, UTC; *route* is its key; *workflow_id* "" where it is not known.
    """

    day: str
    route: str
    workflow_id: str
    submitted_files: int = 0
    submitted_rows: int = 0
    accepted_files: int = 0
    accepted_rows: int = 0
    refused_files: int = 0
    refused_rows: int = 0
    doubt_files: int = 0
    doubt_rows: int = 0
    delivered_files: int = 0
    rows_ok: int = 0
    rows_failed: int = 0

    @property
    def amounts(self) -> tuple[int, ...]:
        """Give the numbers, in the order of AMOUNTS."""
        return tuple(getattr(self, name) for name in AMOUNTS)


def day_of(at: float) -> str:
    """Give the UTC day of Unix seconds."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def addition(change: Change) -> Line | None:
    """Say what a change adds to the ledger; None: nothing."""
    old, new, event = change.old, change.new, change.event
    match event:
        case e.Passed():
            return _line(new, submitted=1)
        case e.Accepted():
            return _line(new, submitted=int(old.state is State.READY), accepted=1)
        case e.GaveUp(code="task_id_conflict") if old.task_id is None:
            return _line(new, submitted=int(old.state is State.READY), accepted=1)  # accepted and held, in one step
        case e.GaveUp(code="submission_unknown"):
            return _line(new, submitted=int(old.state is not State.SUBMITTING), doubt=1)
        case e.GaveUp() | e.Deferred() if old.state is State.SUBMITTING:
            return _line(old, refused=1)
        case e.Recalled(task_id=None) if old.code == "submission_unknown":
            return _line(old, doubt=-1, refused=1)
        case e.Recalled() if old.code == "submission_unknown":
            return _line(old, doubt=-1, accepted=1)
        case e.Recalled(task_id=None) if old.code == "task_id_conflict":
            return _line(old, accepted=-1, refused=1)
        case e.Delivered() if not old.was_delivered:
            return _delivered(old)
    return None


def _line(job: Job, *, submitted: int = 0, accepted: int = 0, refused: int = 0, doubt: int = 0) -> Line:
    rows = job.rows or 0
    return Line(
        *_place(job),
        submitted_files=submitted,
        submitted_rows=submitted * rows,
        accepted_files=accepted,
        accepted_rows=accepted * rows,
        refused_files=refused,
        refused_rows=refused * rows,
        doubt_files=doubt,
        doubt_rows=doubt * rows,
    )


def _delivered(job: Job) -> Line:
    good = job.rows_ok if job.rows_ok is not None else job.rows_out or 0  # counters are optional
    bad = rows_failed(job) or 0
    # A file that an older state did not know was accepted with nobody knowing its rows; now they are known.
    late = 0 if job.rows is not None else good + bad if job.rows_total is None else job.rows_total
    line = Line(*_place(job), submitted_rows=late, accepted_rows=late)
    return replace(line, delivered_files=1, rows_ok=good, rows_failed=bad)


def _place(job: Job) -> tuple[str, str, str]:
    return day_of(job.changed_at if job.passed_at is None else job.passed_at), job.route, job.workflow_id or ""
