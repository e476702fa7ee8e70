"""Make jobs and changes of which a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bulkgpt_watchd.core.events import Deferred, Event
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change

WAITS = Deferred("not its turn")


def sample_job(job_id: str, **fields: Any) -> Job:
    """Give a job as the scheduler adds one."""
    defaults: dict[str, Any] = {
        "route": "leads",
        "file": f"{job_id}.csv",
        "state": State.DISCOVERED,
        "created_at": 1_700_000_000.0,
        "changed_at": 1_700_000_000.0,
        "due_at": 1_700_000_000.0,
        "inbox": "/srv/leads/inbox",
        "work": "/srv/leads/inbox/.bulkgpt-watchd",
        "inode": 4711,
        "size_bytes": 24,
        "mtime_ns": 1_700_000_000_000_000_000,
    }
    return Job(id=job_id, **(defaults | fields))


def step(job: Job, event: Event = WAITS, *, is_news: bool = True, **fields: Any) -> Change:
    """Give the change of a job by an event."""
    return Change(job, replace(job, revision=job.revision + 1, **fields), event, is_news)
