"""Say which ended jobs may be forgotten, and what a store must do for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.outcomes import ENDED_AT_BULKGPT, HOLDS_A_QUESTION

HISTORY_S = 180 * 86_400.0
"""How long the jobs of a route are remembered that is no longer configured: the default of `keep.history`."""


class Ended(Protocol):
    """Give and forget what has ended; a part of `Store`."""

    async def ended(self, route: str, before: float, *, after: Job | None, limit: int) -> list[Job]:
        """Give jobs of a route that ended before then, the first to end first; *after* is the last one given before."""

    async def archived(self, route: str, before: float, *, after: Job | None, limit: int) -> list[Job]:
        """Give those of them that are DONE and whose original, or its receipt, stands in the archive."""

    async def forget(self, jobs: Sequence[Job]) -> list[Job]:
        """Remove jobs with their journal; give those that still stood as they were told, and are gone now."""


IN_ERROR = "with a file in the error folder"
"""Why a failed job is kept whatever its age."""


@dataclass(frozen=True, slots=True)
class Span:
    """
    Say which jobs of a route may be forgotten.

    Units: *before* and *window_since* are Unix seconds: what ended later is too young, or still tells duplicates.
    Shape: *empties_archive*: the route has a `keep.archive`, which goes by its jobs.
    """

    before: float
    window_since: float
    empties_archive: bool

    def why_kept(self, job: Job) -> str | None:
        """Say why an ended job is not forgotten; None: it may be, unless its file stands in the error folder."""
        if not is_decided(job):
            return "with an open question"
        if job.ended_at is not None and job.ended_at >= self.window_since:
            return "younger than `duplicate_window`"
        if self.empties_archive and job.archive_path is not None:
            return "whose original stands in the archive until `keep.archive` is over"
        return None


def is_decided(job: Job) -> bool:
    """
    Tell whether nothing about an ended job is open.

    A doubt is open until it is answered or closed; so is a failed job whose task may still give its paid result.
    """
    return job.state is not State.FAILED or job.superseded_by is not None or job.is_closed or not is_open(job)


def is_open(job: Job) -> bool:
    """
    Tell of a job with a verdict whether it was or may have been paid, and there may be something to have for that.

    Where its task ended without a result there is not: its bytes may simply be dropped again.
    """
    return job.code in HOLDS_A_QUESTION or (job.task_id is not None and job.code not in ENDED_AT_BULKGPT)


def stands_in_error(job: Job) -> bool:
    """Tell whether a failed job's file has to be looked for in the error folder: while it stands there, it is kept."""
    return job.state is State.FAILED and job.superseded_by is None
