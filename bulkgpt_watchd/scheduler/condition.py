"""Say how a route is: in the log when that changes, and as a fact for those who read the state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Look
from bulkgpt_watchd.scheduler.inbox import CHECK_DEADLINE_S, Inbox
from bulkgpt_watchd.scheduler.telling import Log, of_job

UNREADABLE_AT_MOST = 100
"""Names of unreadable files that are kept: more would say nothing new, and the fact is written whole."""

AT_BULKGPT = frozenset({State.READY, State.SUBMITTED, State.FINISHED})
"""States whose effects wait for BulkGPT, and for a folder with a deadline. What all others do is a move or a check of a
file, which is not cut: after a share that hangs for an hour it goes on."""

SLOW_S = CHECK_DEADLINE_S
"""After so long a move is told; most take milliseconds, and only a very large file may take longer."""


@contextmanager
def told_if_slow(log: Log, inbox: Inbox, job: Job) -> Iterator[None]:
    """Tell, while it lasts, that a move or a check of a file takes so long that its folder may hang."""

    def tell() -> None:
        inbox.slow.add(job.file)
        inbox.is_rung = True
        log("job.slow", "warning", **of_job(job), at=job.state.value, after_s=SLOW_S)

    handle = None if job.state in AT_BULKGPT else asyncio.get_running_loop().call_later(SLOW_S, tell)
    try:
        yield
    finally:
        if handle is not None:
            handle.cancel()
            inbox.slow.discard(job.file)


def set_reason(log: Log, inbox: Inbox, reason: str | None, now: float) -> None:
    """Note why a route cannot be used, None if it can, and tell it where that is new."""
    was, inbox.reason = inbox.reason, reason
    if reason is None and was is not None:
        if inbox.unavailable_since is not None:
            log("route.available", "info", route=inbox.key)
        inbox.unavailable_since = None
    elif reason is not None and reason != was:
        inbox.unavailable_since = inbox.unavailable_since or now
        log("route.unavailable", "error", route=inbox.key, reason=reason)


def set_disk(log: Log, inbox: Inbox, low: str | None) -> None:
    """Note which disk is low, and tell it where that is new."""
    was, inbox.disk_low = inbox.disk_low, low
    if low is not None and was is None:
        log("disk.low", "error", route=inbox.key, reason=low)
    elif low is None and was is not None:
        log("disk.recovered", "info", route=inbox.key)


def tell_passed_over(log: Log, inbox: Inbox, look: Look) -> None:
    """Tell each passed-over or unreadable name once, for as long as it is there."""
    over = {**look.ignored, **look.unreadable}
    for name in over.keys() - inbox.told:
        log(
            "file.ignored",
            "warning" if name in look.unreadable else "info",
            route=inbox.key,
            file=name,
            reason=over[name],
        )
    inbox.told = set(over)


def health_of(inbox: Inbox) -> dict[str, Any]:
    """Give how the route is, as data."""
    return {
        "reason": inbox.reason,
        "since": inbox.unavailable_since,
        "disk_low": inbox.disk_low,
        "unsettled": inbox.unsettled,
        "slow": sorted(inbox.slow),
        "unreadable": dict(sorted(inbox.unreadable.items())[:UNREADABLE_AT_MOST]),
        "is_draining": inbox.is_draining,
        "inbox": str(inbox.route.inbox),
    }
