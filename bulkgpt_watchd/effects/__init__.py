"""
Do one thing to one file, and return one event.

EFFECTS says which effect each state is owed, and in which lane it runs; `event_of` turns what went wrong into an event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bulkgpt_watchd.core.errors import (
    Denied,
    DiskTrouble,
    NameTaken,
    NotOurTurn,
    Refused,
    ReplyNotUnderstood,
    SourceChanged,
    SourceVanished,
    Unavailable,
)
from bulkgpt_watchd.core.events import Deferred, Event, GaveUp, NotRedelivered
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.lifecycle import TRANSITIONS
from bulkgpt_watchd.effects import handover, intake, remote, sending
from bulkgpt_watchd.effects.handover import in_thread
from bulkgpt_watchd.effects.outside import Outside, Task

BUG_TRIES = 10
"""How often an effect may end in a bug of ours before the job is given up as internal_error."""


SENDING = frozenset({State.READY, State.SUBMITTING})
"""States in which a denial shuts the gate for this job too; polls and downloads go on, each with its own backoff."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Hold one effect; *lane* bounds how many of its kind run at once."""

    run: Callable[[Outside, Task], Awaitable[Event]]
    lane: int


EFFECTS: dict[State, Effect] = {
    # Lane sizes: enough to hide the latency of a disk or a request, few enough that one kind cannot starve another.
    State.DISCOVERED: Effect(intake.claim, 8),
    State.CLAIMED: Effect(intake.prepare, 4),
    State.READY: Effect(sending.submit, 64),  # api.max_concurrent_submits bounds it further
    State.SUBMITTED: Effect(remote.poll, 32),
    State.FINISHED: Effect(remote.download, 16),
    State.FETCHED: Effect(in_thread(handover.deliver), 8),
    State.DELIVERED: Effect(in_thread(handover.archive), 8),
    State.FAILING: Effect(in_thread(handover.quarantine), 8),
    State.RECALLED: Effect(in_thread(handover.recall), 4),
}


def event_of(job: Job, error: Exception) -> Event:
    """
    Say what an exception of an effect means for the job.

    Shape: *job* as it stands now: past its point of no return only a certain refusal goes back.
    """
    match error:
        case Refused(code=code):
            return GaveUp(code, str(error), error.line, error.http_status, error.api_message, error.related_job)
        case NotOurTurn():
            return Deferred(str(error), is_failure=False)
        case Unavailable(retry_after_s=seconds):
            return Deferred(str(error), retry_after_s=seconds)
        case SourceVanished() if GaveUp in TRANSITIONS[job.state] and job.task_id is None:
            return GaveUp("source_lost", str(error))
        case Denied():
            return Deferred(str(error), is_held=job.state in SENDING)
        case DiskTrouble() | ReplyNotUnderstood() | SourceVanished() | SourceChanged() | NameTaken():
            return Deferred(str(error))
    return _event_of_bug(job, error)


def what_it_means(job: Job, event: Event) -> Event:
    """Say what an effect's event means for a job: a verdict on a result that was delivered before fails nothing."""
    if isinstance(event, GaveUp) and job.was_delivered and NotRedelivered in TRANSITIONS[job.state]:
        return NotRedelivered(event.code, event.message)
    return event


def _event_of_bug(job: Job, error: Exception) -> Event:
    reason = f"{type(error).__name__}: {error}"
    if job.state is State.SUBMITTING:
        return GaveUp("submission_unknown", f"This program failed while the answer was awaited: {reason}")
    # A bug is tried again as an outage is: one that hits every file must not empty the inbox into the error folder.
    if GaveUp in TRANSITIONS[job.state] and job.failures + 1 >= BUG_TRIES:
        return GaveUp("internal_error", reason)
    return Deferred(reason)


__all__ = ["EFFECTS", "Effect", "Outside", "Task", "event_of", "what_it_means"]
