"""Say which ended jobs may be forgotten, and what a store must do for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.outcomes import HOLDS_A_QUESTION

HISTORY_S = 180 * 86_400.0
"""How long the jobs of a route are remembered that is no longer configured: the default of `keep.history`."""


class Ended(Protocol):
    """Give and forget what has ended; a part of `Store`."""

    async def ended(self, route: str, before: float, *, after: Job | None, limit: int) -> list[Job]:
        """Give jobs of a route that ended before then, the first to end first; *after* is the last one given before."""

    async def archived(self, route: str, before: float, *, limit: int) -> list[Job]:
        """Give DONE jobs that ended before then and whose original, or its receipt, stands in the archive."""

    async def forget(self, jobs: Sequence[Job]) -> list[Job]:
        """Remove jobs with their journal; give those that still stood as they were told, and are gone now."""


def is_decided(job: Job) -> bool:
    """
    Tell whether nothing about an ended job is open.

    A doubt is open until it is answered or closed; so is a failed job that holds a task ID, since its file would be
    paid again if it were dropped again and nobody knew of it.
    """
    if job.state in {State.DONE, State.WITHDRAWN}:
        return True
    if job.state is not State.FAILED:
        return False
    is_open = job.code in HOLDS_A_QUESTION or job.task_id is not None
    return job.superseded_by is not None or job.is_closed or not is_open


def stands_in_error(job: Job) -> bool:
    """Tell whether a failed job's file has to be looked for in the error folder: while it stands there, it is kept."""
    return job.state is State.FAILED and job.superseded_by is None
