"""Decide whether the same bytes were paid for already, or may have been."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.outcomes import ENDED_AT_BULKGPT

NOT_SENT = frozenset({State.CLAIMED, State.READY, State.RECALLED})
PAST_SENDING = frozenset(
    {State.SUBMITTING, State.SUBMITTED, State.FINISHED, State.FETCHED, State.DELIVERED},
)
GAVE_UP = frozenset({State.FAILING, State.FAILED})


@dataclass(frozen=True, slots=True)
class DuplicateRule:
    """
    Hold what a route says about duplicates.

    Units: *since* Unix seconds, the start of `duplicate_window`; *is_on* False: `duplicates: submit`.
    """

    is_on: bool
    workflow_id: str
    since: float


def obstacle(job: Job, twins: Sequence[Job], rule: DuplicateRule, moved_back: Collection[str] = ()) -> Job | None:
    """
    Give the job for whose sake *job* must not be submitted.

    Shape: *twins* as `Store.twins` gives them; *moved_back* are the IDs of failed ones whose file left the error
        folder: it came back as this one, so its doubt or task stands in the way however old it is.
    """
    if job.may_pay_again:
        return None
    for twin in twins:
        if twin.id in moved_back and _is_same_file(job, twin) and _is_undecided(twin):
            return twin
        if twin.sha256 != job.sha256 or (twin.workflow_id or rule.workflow_id) != rule.workflow_id:
            continue
        if rule.is_on and _stands_in_the_way(job, twin, rule):
            return twin
    return None


def superseded(twins: Sequence[Job], moved_back: Collection[str]) -> tuple[str, ...]:
    """Give the failed jobs whose file was moved back into the inbox and that leave no question: no doubt, no task."""
    ended = [twin for twin in twins if twin.state is State.FAILED]
    return tuple(twin.id for twin in ended if twin.id in moved_back and not _is_undecided(twin))


def _is_same_file(job: Job, twin: Job) -> bool:
    # Work may have been found without a state that knew it: then the hash is not known, and the size has to do.
    return twin.sha256 == job.sha256 if twin.sha256 is not None else twin.size_bytes == job.size_bytes


def _is_undecided(twin: Job) -> bool:
    return twin.is_doubt or (twin.task_id is not None and not twin.is_closed)


def _stands_in_the_way(job: Job, twin: Job, rule: DuplicateRule) -> bool:
    if twin.state in PAST_SENDING or twin.is_doubt or (twin.state is State.RECALLED and twin.task_id is not None):
        return True
    if twin.state in NOT_SENT:
        # Of two that wait, the older goes first, or each would refuse the other.
        return (twin.created_at, twin.id) < (job.created_at, job.id)
    if twin.ended_at is None or twin.ended_at < rule.since or twin.is_closed:
        return False
    if twin.state is State.DONE:
        return True
    return twin.state in GAVE_UP and twin.task_id is not None and twin.code not in ENDED_AT_BULKGPT
