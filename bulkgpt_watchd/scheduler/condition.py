"""Say how a route is: in the log when that changes, and as a fact for those who read the state."""

from __future__ import annotations

from typing import Any

from bulkgpt_watchd.core.ports import Look
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.telling import Log

UNREADABLE_AT_MOST = 100
"""Names of unreadable files that are kept: more would say nothing new, and the fact is written whole."""


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
        "unreadable": dict(sorted(inbox.unreadable.items())[:UNREADABLE_AT_MOST]),
        "is_draining": inbox.is_draining,
        "inbox": str(inbox.route.inbox),
    }
