"""
Decide where a job goes: the one table, and the only function that makes a changed job.

Theory of operation
-------------------
A job's state names the one effect still owed to its file. The scheduler performs that effect, gets back one event, and
asks `advance` for the job's next value. So everything that affects a state lives in this file:

- TRANSITIONS is the whole machine. A pair that is not in it is a bug and raises.
- What an event tells is written into the job by facts.py; when the next effect is due, by `_due_at`.
- A file leaves the line at one point only: GaveUp leads to FAILING, whatever went wrong. A file that was delivered
  before is in the archive already: what goes wrong with its result the second time leads back to DONE.
- BOUNDED names every edge that could be walked round and round, with what ends the walk. A test finds the cycles.

No clock, no chance: *now* and *jitter* are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.facts import with_facts
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.policy import RETRY_AFTER_AT_MOST_S, Policy, backoff, patience_left_s, poll_delay
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
        e.NotRedelivered: State.DONE,
        e.GaveUp: State.FAILING,
    },
    State.FINISHED: {
        e.Fetched: State.FETCHED,
        e.TaskMissed: State.FINISHED,
        e.Deferred: State.FINISHED,
        e.NotRedelivered: State.DONE,
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
    },
    State.RECALLED: {
        e.Restored: State.CLAIMED,
        e.Resumed: State.SUBMITTED,
        e.Deferred: State.RECALLED,
        e.GaveUp: State.FAILING,
    },
    State.DONE: {
        e.Reopened: State.SUBMITTED,
        e.Cleared: State.DONE,
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
    (
        State.CLAIMED,
        e.Disturbed,
    ): "as long as somebody writes to it; each round waits for `settle` or `retry.min`",
    (State.READY, e.Disturbed): "as long as somebody writes to it; each round waits for `settle` or `retry.min`",
    (State.SUBMITTED, e.Progressed): "task_timeout",
    (State.SUBMITTED, e.TaskMissed): "UNKNOWN_TASK_PATIENCE_S",
    (State.FINISHED, e.TaskMissed): "UNKNOWN_TASK_PATIENCE_S",
    (State.FETCHED, e.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.DELIVERED, e.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.FAILING, e.Retargeted): "a name with the job's ID is taken by nobody else",
    (State.FAILED, e.Recalled): PERSON,
    (State.FAILED, e.Abandoned): PERSON,
    (State.FAILED, e.Superseded): PERSON,
    (State.DONE, e.Reopened): PERSON,
    (State.DONE, e.Cleared): "once: then there is nothing in the archive",
}
"""What ends the walk on every edge that closes a cycle."""

KEEPS_FAILURES = (e.Passed, e.Retargeted)
"""Events that are no progress: a refusal after the point of no return must not start the backoff anew."""


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
    new = with_facts(job, event, now, policy)
    if isinstance(event, e.Deferred):
        new = replace(new, failures=job.failures + (event.is_failure and not event.is_held), waits_for=event.reason)
    else:
        new = replace(new, failures=job.failures if isinstance(event, KEEPS_FAILURES) else 0, waits_for=None)
    new = replace(new, state=target, revision=job.revision + 1)
    if target != job.state:
        new = replace(new, changed_at=now)
    return replace(new, due_at=_due_at(new, event, now, policy, jitter))


def conflict(change: Change, holders: Sequence[Job], now: float, policy: Policy) -> tuple[Change, ...]:
    """
    Hold two jobs that were given one task ID.

    Shape: the accepted job first; a holder that was delivered, or failed already, stays as it is, and so does one that
        had the ID earlier and has another now.
    """
    accepted, first = change.new, holders[0]
    changes = [_in_conflict(change.old, accepted, first, now, policy)]
    changes += [
        _in_conflict(holder, holder, accepted, now, policy)
        for holder in holders
        if holder.task_id == accepted.task_id and e.GaveUp in TRANSITIONS[holder.state] and not holder.was_delivered
    ]
    return tuple(changes)


def _in_conflict(old: Job, job: Job, other: Job, now: float, policy: Policy) -> Change:
    event = e.GaveUp(
        "task_id_conflict",
        f"BulkGPT gave the task ID {job.task_id} to this file and to {other.file} (job {other.id}).",
        related_job=other.id,
    )
    # Both steps, accepted and held, are written as one.
    return Change(old, replace(advance(job, event, now, policy, 0.0), revision=old.revision + 1), event)


def _due_at(job: Job, event: Event, now: float, policy: Policy, jitter: float) -> float | None:
    """Say when the effect that *job* is owed should start; None where none is owed."""
    if job.state in TERMINAL or job.state is State.SUBMITTING:
        return None
    match event:
        case e.Deferred(is_held=True):  # a mended key is tried at once, and not when each file's own backoff is over
            return now
        case e.Deferred(retry_after_s=float() | int() as seconds) if seconds > 0:  # zero says nothing: our own backoff
            return now + min(seconds, RETRY_AFTER_AT_MOST_S)
        case e.Deferred(is_failure=False):
            return now + policy.retry_min_s
        case e.Deferred():
            return now + backoff(job.failures, policy.retry_min_s, policy.retry_max_s, jitter)
        case e.Progressed() | e.TaskMissed():
            return now + min(poll_delay(job, now, policy, jitter), patience_left_s(job, policy))
        case e.Accepted():
            return now + policy.poll_min_s
        case e.Disturbed() | e.Claimed(is_settled=False):
            return now + max(policy.settle_s, policy.retry_min_s)  # with `settle: 0` a writer would have us spin
        case _:
            return now
