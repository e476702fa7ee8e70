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

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.policy import Policy, backoff, patience_left_s, poll_delay, waited_s
from bulkgpt_watchd.core.ports import Change

TRANSITIONS: dict[State, dict[type[Any], State]] = {
    State.DISCOVERED: {
        e.Claimed: State.CLAIMED,
        e.Vanished: State.WITHDRAWN,
        e.Deferred: State.DISCOVERED,
    },
    State.CLAIMED: {
        e.Prepared: State.READY,
        e.Disturbed: State.CLAIMED,
        e.Deferred: State.CLAIMED,
        e.GaveUp: State.FAILING,
    },
    State.READY: {
        e.Passed: State.SUBMITTING,
        e.Accepted: State.SUBMITTED,  # an answer that came before the last block, with a task ID all the same
        e.Disturbed: State.CLAIMED,
        e.Deferred: State.READY,
        e.GaveUp: State.FAILING,
    },
    State.SUBMITTING: {
        e.Accepted: State.SUBMITTED,
        e.Deferred: State.READY,
        e.GaveUp: State.FAILING,
    },
    State.SUBMITTED: {
        e.Progressed: State.SUBMITTED,
        e.TaskMissed: State.SUBMITTED,
        e.Deferred: State.SUBMITTED,
        e.Finished: State.FINISHED,
        e.GaveUp: State.FAILING,
    },
    State.FINISHED: {
        e.Fetched: State.FETCHED,
        e.Deferred: State.FINISHED,
        e.GaveUp: State.FAILING,
    },
    State.FETCHED: {
        e.Retargeted: State.FETCHED,
        e.Delivered: State.DELIVERED,
        e.Deferred: State.FETCHED,
        e.GaveUp: State.FAILING,
    },
    State.DELIVERED: {
        e.Retargeted: State.DELIVERED,
        e.Archived: State.DONE,
        e.Deferred: State.DELIVERED,
    },
    State.FAILING: {
        e.Retargeted: State.FAILING,
        e.Quarantined: State.FAILED,
        e.Deferred: State.FAILING,
        e.Recalled: State.RECALLED,
    },
    State.RECALLED: {
        e.Restored: State.CLAIMED,
        e.Resumed: State.SUBMITTED,
        e.Deferred: State.RECALLED,
        e.GaveUp: State.FAILING,
    },
    State.DONE: {
        e.Reopened: State.SUBMITTED,
    },
    State.FAILED: {
        e.Recalled: State.RECALLED,
        e.Abandoned: State.FAILED,
        e.Superseded: State.FAILED,
    },
    State.WITHDRAWN: {},
}

ENVIRONMENT = "waits on the environment, with backoff up to retry.max"
PERSON = "each round takes a person"

BOUNDED: dict[tuple[State, type[Any]], str] = {
    **{(state, e.Deferred): ENVIRONMENT for state, row in TRANSITIONS.items() if e.Deferred in row},
    (State.FINISHED, e.Deferred): "task_timeout, or BAD_RESULT_TRIES bodies that are no CSV; a full disk waits",
    (State.CLAIMED, e.Disturbed): "as long as somebody writes to the file; each round waits for `settle`",
    (State.READY, e.Disturbed): "as long as somebody writes to the file; each round waits for `settle`",
    (State.SUBMITTED, e.Progressed): "task_timeout",
    (State.SUBMITTED, e.TaskMissed): "UNKNOWN_TASK_PATIENCE_S",
    (State.FETCHED, e.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.DELIVERED, e.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.FAILING, e.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.FAILING, e.Recalled): PERSON,
    (State.FAILED, e.Recalled): PERSON,
    (State.FAILED, e.Abandoned): PERSON,
    (State.FAILED, e.Superseded): PERSON,
    (State.DONE, e.Reopened): PERSON,
}
"""What ends the walk on every edge that closes a cycle."""

KEEPS_FAILURES = (e.Deferred, e.Passed, e.Retargeted)
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
    if isinstance(event, e.Deferred):
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
        if e.GaveUp in TRANSITIONS[holder.state]
    ]
    return tuple(changes)


def _in_conflict(old: Job, job: Job, other: Job, now: float, policy: Policy) -> Change:
    event = e.GaveUp(
        "task_id_conflict",
        f"BulkGPT gave the task ID {job.task_id or other.task_id} to this file and to {other.file} (job {other.id}).",
        related_job=other.id,
    )
    # Both steps, accepted and held, are written as one.
    return Change(old, replace(advance(job, event, now, policy, 0.0), revision=old.revision + 1), event)


def _with_facts(job: Job, event: Event, now: float, policy: Policy) -> Job:  # noqa: C901, PLR0911, PLR0912 one case an event
    match event:
        case e.Claimed(stamp) | e.Disturbed(stamp):
            return replace(job, inode=stamp.inode, size_bytes=stamp.bytes, mtime_ns=stamp.mtime_ns)
        case e.Prepared(stamp, sha256, rows):
            return replace(
                job, inode=stamp.inode, size_bytes=stamp.bytes, mtime_ns=stamp.mtime_ns, sha256=sha256, rows=rows
            )
        case e.Passed(workflow_id):
            return replace(job, workflow_id=workflow_id, attempts=job.attempts + 1)
        case e.Accepted(task_id):
            return replace(job, task_id=task_id, submitted_at=now, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case e.Deferred(is_bad_result=is_bad):
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
        case e.Progressed() | e.Finished():
            job = replace(
                job,
                rows_done=job.rows_done if event.rows_done is None else event.rows_done,
                rows_ok=job.rows_ok if event.rows_ok is None else event.rows_ok,
                rows_total=job.rows_total if event.rows_total is None else event.rows_total,
            )
            if isinstance(event, e.Finished):
                return replace(job, completed_at=now, asked_at=now, patience_s=0.0, bad_results=0)
            waited = job.patience_s + waited_s(job, now, policy)
            return replace(job, asked_at=now, patience_s=waited, unknown_s=0.0)
        case e.TaskMissed(api_message):
            more_s = waited_s(job, now, policy)
            return replace(
                job,
                asked_at=now,
                patience_s=job.patience_s + more_s,
                unknown_s=job.unknown_s + more_s,
                api_message=api_message,
            )
        case e.Fetched(path, sha256, size_bytes, rows_out):
            return replace(job, result_path=path, result_sha256=sha256, result_bytes=size_bytes, rows_out=rows_out)
        case e.Retargeted(path):
            if job.state is State.FETCHED:
                return replace(job, result_path=path)
            return replace(job, archive_path=path) if job.state is State.DELIVERED else replace(job, error_path=path)
        case e.Delivered(archive_path):
            return replace(job, delivered_at=now, archive_path=archive_path)
        case e.GaveUp(code, message, line, http_status, api_message, related_job):
            return replace(
                job,
                code=code,
                message=message,
                line=line,
                http_status=http_status,
                api_message=api_message,
                related_job=related_job,
                sha256=event.sha256 or job.sha256,
                error_path=None,
                ended_at=now,
            )
        case e.Archived():
            return replace(job, ended_at=now)
        case e.Recalled(task_id, error_path, may_pay_again, takes_partial):
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
        case e.Resumed():
            return replace(job, submitted_at=job.submitted_at or now, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case e.Reopened():
            return replace(job, ended_at=None, takes_partial=True, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case e.Abandoned():
            return replace(job, is_closed=True)
        case e.Superseded(by):
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
    if job.state in TERMINAL or job.state is State.SUBMITTING:
        return None
    match event:
        case e.Deferred(retry_after_s=float() | int() as seconds):
            return now + seconds
        case e.Deferred(is_failure=False):
            return now + policy.retry_min_s
        case e.Deferred():
            return now + backoff(job.failures, policy.retry_min_s, policy.retry_max_s, jitter)
        case e.Progressed() | e.TaskMissed():
            return now + min(poll_delay(job, now, policy, jitter), patience_left_s(job, policy))
        case e.Accepted():
            return now + policy.poll_min_s
        case e.Disturbed() | e.Claimed(is_settled=False):
            return now + policy.settle_s
        case _:
            return now
