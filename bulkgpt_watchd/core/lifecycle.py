"""
Decide where a job goes: the one table, and the only function that makes a changed job.

Theory of operation
-------------------
A job's state names the one effect still owed to its file. The scheduler performs that effect, gets back one event, and
asks `advance` for the job's next value. So everything that affects a state lives in this file:

- TRANSITIONS is the whole machine. A pair that is not in it is a bug and raises.
- What an event tells is written into the job by `_with_facts`; when the next effect is due, by `_due_at`.
- A file leaves the line at one point only: GaveUp leads to FAILING, whatever went wrong.
- BOUNDED names every edge that could be walked round and round, with what ends the walk. A test finds the cycles.

No clock, no chance: *now* and *jitter* are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bulkgpt_watchd.core import job as j
from bulkgpt_watchd.core.job import Event, Job, State
from bulkgpt_watchd.core.policy import Policy, backoff, patience_left_s, poll_delay, waited_s
from bulkgpt_watchd.core.ports import Change

TRANSITIONS: dict[State, dict[type[Any], State]] = {
    State.DISCOVERED: {
        j.Claimed: State.CLAIMED,
        j.Vanished: State.WITHDRAWN,
        j.Deferred: State.DISCOVERED,
    },
    State.CLAIMED: {
        j.Prepared: State.READY,
        j.Disturbed: State.CLAIMED,
        j.Deferred: State.CLAIMED,
        j.GaveUp: State.FAILING,
    },
    State.READY: {
        j.Passed: State.SUBMITTING,
        j.Accepted: State.SUBMITTED,  # an answer that came before the last block, with a task ID all the same
        j.Disturbed: State.CLAIMED,
        j.Deferred: State.READY,
        j.GaveUp: State.FAILING,
    },
    State.SUBMITTING: {
        j.Accepted: State.SUBMITTED,
        j.Deferred: State.READY,
        j.GaveUp: State.FAILING,
    },
    State.SUBMITTED: {
        j.Progressed: State.SUBMITTED,
        j.TaskMissed: State.SUBMITTED,
        j.Deferred: State.SUBMITTED,
        j.Finished: State.FINISHED,
        j.GaveUp: State.FAILING,
    },
    State.FINISHED: {
        j.Fetched: State.FETCHED,
        j.Deferred: State.FINISHED,
        j.GaveUp: State.FAILING,
    },
    State.FETCHED: {
        j.Retargeted: State.FETCHED,
        j.Delivered: State.DELIVERED,
        j.Deferred: State.FETCHED,
        j.GaveUp: State.FAILING,
    },
    State.DELIVERED: {
        j.Retargeted: State.DELIVERED,
        j.Archived: State.DONE,
        j.Deferred: State.DELIVERED,
    },
    State.FAILING: {
        j.Retargeted: State.FAILING,
        j.Quarantined: State.FAILED,
        j.Deferred: State.FAILING,
        j.Recalled: State.RECALLED,
    },
    State.RECALLED: {
        j.Restored: State.CLAIMED,
        j.Resumed: State.SUBMITTED,
        j.Deferred: State.RECALLED,
        j.GaveUp: State.FAILING,
    },
    State.DONE: {
        j.Reopened: State.SUBMITTED,
    },
    State.FAILED: {
        j.Recalled: State.RECALLED,
        j.Abandoned: State.FAILED,
        j.Superseded: State.FAILED,
    },
    State.WITHDRAWN: {},
}

ENVIRONMENT = "waits on the environment, with backoff up to retry.max"
PERSON = "each round takes a person"

BOUNDED: dict[tuple[State, type[Any]], str] = {
    **{(state, j.Deferred): ENVIRONMENT for state, row in TRANSITIONS.items() if j.Deferred in row},
    (State.FINISHED, j.Deferred): "task_timeout, or BAD_RESULT_TRIES bodies that are no CSV; a full disk waits",
    (State.CLAIMED, j.Disturbed): "as long as somebody writes to the file; each round waits for `settle`",
    (State.READY, j.Disturbed): "as long as somebody writes to the file; each round waits for `settle`",
    (State.SUBMITTED, j.Progressed): "task_timeout",
    (State.SUBMITTED, j.TaskMissed): "UNKNOWN_TASK_PATIENCE_S",
    (State.FETCHED, j.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.DELIVERED, j.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.FAILING, j.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.FAILING, j.Recalled): PERSON,
    (State.FAILED, j.Recalled): PERSON,
    (State.FAILED, j.Abandoned): PERSON,
    (State.FAILED, j.Superseded): PERSON,
    (State.DONE, j.Reopened): PERSON,
}
"""What ends the walk on every edge that closes a cycle."""

KEEPS_FAILURES = (j.Deferred, j.Passed, j.Retargeted)
"""Events after which the backoff goes on: a refusal after the point of no return must not start it anew."""


class IllegalTransition(Exception):
    """Say that an event met a state in which it cannot happen."""


def advance(job: Job, event: Event, now: float, policy: Policy, jitter: float) -> Job:
    """
    Give the job as it is after *event*.

    Units: *now* Unix seconds; *jitter* in [0, 1).
    Errors: IllegalTransition for a pair that TRANSITIONS does not have.
    """
    target = TRANSITIONS[job.state].get(type(event))
    if target is None:
        raise IllegalTransition(f"{type(event).__name__} cannot happen to a job that is {job.state}")
    new = _with_facts(job, event, now, policy)
    if isinstance(event, j.Deferred):
        new = replace(
            new,
            failures=job.failures + event.is_failure,
            waits_for=event.reason,
        )
    elif not isinstance(event, KEEPS_FAILURES):
        new = replace(new, failures=0, waits_for=None)
    new = replace(new, state=target, revision=job.revision + 1)
    if target != job.state:
        new = replace(new, changed_at=now)
    return replace(new, due_at=_due_at(new, event, now, policy, jitter))


def conflict(change: Change, holders: Sequence[Job], now: float, policy: Policy) -> tuple[Change, ...]:
    """
    Hold two jobs that were given one task ID.

    Shape: the accepted job first; a holder that was delivered, or failed already, stays as it is.
    """
    accepted, first = change.new, holders[0]
    changes = [_in_conflict(change.old, accepted, first, now, policy)]
    changes += [
        _in_conflict(holder, holder, accepted, now, policy)
        for holder in holders
        if j.GaveUp in TRANSITIONS[holder.state]
    ]
    return tuple(changes)


def _in_conflict(old: Job, job: Job, other: Job, now: float, policy: Policy) -> Change:
    event = j.GaveUp(
        "task_id_conflict",
        f"BulkGPT gave the task ID {job.task_id or other.task_id} to this file and to {other.file} (job {other.id}).",
        related_job=other.id,
    )
    return Change(old, advance(job, event, now, policy, 0.0), event)


def _with_facts(job: Job, event: Event, now: float, policy: Policy) -> Job:  # noqa: C901, PLR0911, PLR0912 one case an event
    match event:
        case j.Claimed(stamp) | j.Disturbed(stamp):
            return replace(job, inode=stamp.inode, size_bytes=stamp.bytes, mtime_ns=stamp.mtime_ns)
        case j.Prepared(stamp, sha256, rows):
            return replace(
                job, inode=stamp.inode, size_bytes=stamp.bytes, mtime_ns=stamp.mtime_ns, sha256=sha256, rows=rows
            )
        case j.Passed(workflow_id):
            return replace(job, workflow_id=workflow_id, attempts=job.attempts + 1)
        case j.Accepted(task_id):
            return replace(job, task_id=task_id, submitted_at=now, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case j.Deferred(is_bad_result=is_bad):
            if job.state is State.READY and event.is_failure:
                return replace(job, attempts=job.attempts + 1)
            if job.state is State.FINISHED and event.is_failure:
                return replace(
                    job,
                    bad_results=job.bad_results + 1 if is_bad else 0,
                    patience_s=job.patience_s + waited_s(job, now, policy),
                    asked_at=now,
                )
            return job
        case j.Progressed() | j.Finished():
            rows = {
                key: value
                for key in ("rows_done", "rows_ok", "rows_total")
                if (value := getattr(event, key)) is not None
            }
            if isinstance(event, j.Finished):
                return replace(job, **rows, completed_at=now, asked_at=now, patience_s=0.0, bad_results=0)
            waited = job.patience_s + waited_s(job, now, policy)
            return replace(job, **rows, asked_at=now, patience_s=waited, unknown_s=0.0)
        case j.TaskMissed(api_message):
            more_s = waited_s(job, now, policy)
            return replace(
                job,
                asked_at=now,
                patience_s=job.patience_s + more_s,
                unknown_s=job.unknown_s + more_s,
                api_message=api_message,
            )
        case j.Fetched(path, sha256, size_bytes, rows_out):
            return replace(job, result_path=path, result_sha256=sha256, result_bytes=size_bytes, rows_out=rows_out)
        case j.Retargeted(path):
            key = {State.FETCHED: "result_path", State.DELIVERED: "archive_path"}.get(job.state, "error_path")
            return replace(job, **{key: path})
        case j.Delivered(archive_path):
            return replace(job, delivered_at=now, archive_path=archive_path)
        case j.GaveUp(code, message, line, http_status, api_message, related_job):
            return replace(
                job,
                code=code,
                message=message,
                line=line,
                http_status=http_status,
                api_message=api_message,
                related_job=related_job,
                error_path=None,
                ended_at=now,
            )
        case j.Archived():
            return replace(job, ended_at=now)
        case j.Recalled(task_id, error_path, may_pay_again, takes_partial):
            earlier = job.earlier_task_ids
            if job.task_id is not None and job.task_id != task_id:
                earlier = (*earlier, job.task_id)
            return replace(
                _without_verdict(job),
                task_id=task_id,
                error_path=error_path,
                earlier_task_ids=earlier,
                may_pay_again=may_pay_again,
                takes_partial=takes_partial,
            )
        case j.Resumed():
            return replace(job, submitted_at=job.submitted_at or now, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case j.Reopened():
            return replace(job, ended_at=None, takes_partial=True, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case j.Abandoned():
            return replace(job, is_closed=True)
        case j.Superseded(by):
            return replace(job, superseded_by=by)
        case _:
            return job


def _without_verdict(job: Job) -> Job:
    """Forget the verdict."""
    return replace(
        job,
        code=None,
        message=None,
        line=None,
        http_status=None,
        api_message=None,
        related_job=None,
        ended_at=None,
        is_closed=False,
        bad_results=0,
    )


def _due_at(job: Job, event: Event, now: float, policy: Policy, jitter: float) -> float | None:
    """Say when the effect that *job* is owed should start; None where none is owed."""
    if job.state in j.TERMINAL or job.state is State.SUBMITTING:
        return None
    match event:
        case j.Deferred(retry_after_s=float() | int() as seconds):
            return now + seconds
        case j.Deferred(is_failure=False):
            return now + policy.retry_min_s
        case j.Deferred():
            return now + backoff(job.failures, policy.retry_min_s, policy.retry_max_s, jitter)
        case j.Progressed() | j.TaskMissed():
            return now + min(poll_delay(job, now, policy, jitter), patience_left_s(job, policy))
        case j.Accepted():
            return now + policy.poll_min_s
        case j.Disturbed() | j.Claimed(is_settled=False):
            return now + policy.settle_s
        case _:
            return now
