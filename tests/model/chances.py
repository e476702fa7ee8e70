"""Say what may be drawn: routes, names, kinds of files, and what BulkGPT and its store may answer."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bulkgpt_watchd.core.errors import (
    Denied,
    LinkBroken,
    OutcomeUnknown,
    Refused,
    ReplyNotUnderstood,
    TaskNotKnown,
    Unavailable,
)
from bulkgpt_watchd.core.wire import Phase
from tests.model.world import KEYS

INDEX = st.integers(0, 5)
ROUTE = st.sampled_from(KEYS)
KINDS = st.sampled_from(["1", "12", "123", "again", "empty", "broken"])
"""What is dropped: that is bad, or was dropped before, or new, with so many rows."""

NAMES = st.sampled_from(["a.csv", "b.csv", "c.CSV", "d e.csv"])
BROKEN = b'Input_1\n"1\n'

LOST = OutcomeUnknown("connection reset after the file was sent")
FAULTS: tuple[dict[str, Any], ...] = (
    {"error": Unavailable("connection refused"), "at": "before"},
    {"error": Unavailable("reset before the last block"), "at": "passing"},
    {"error": Unavailable("HTTP 503: busy", retry_after_s=7.0, http_status=503)},
    {"error": Unavailable("HTTP 429: slow down", retry_after_s=90.0, http_status=429)},
    {"error": Refused("rejected", "HTTP 200: no such workflow", api_message="no such workflow")},
    {"error": Refused("too_large", "HTTP 413", http_status=413)},
    {"error": Denied("HTTP 402: no credit", http_status=402, api_message="no credit")},
    {"error": Denied("HTTP 403: not yours", http_status=403, api_message="not yours")},
    {"error": LOST, "is_accepted": True},
    {"error": LOST, "is_accepted": True},
    {"error": LOST},
)
FREE_FAULTS = (
    Unavailable("HTTP 502"),
    Unavailable("HTTP 429", retry_after_s=30.0, http_status=429),
    ReplyNotUnderstood("a page of a proxy"),
    TaskNotKnown("Invalid Task ID."),
    Denied("HTTP 401", http_status=401),
)
BODIES = (LinkBroken("HTTP 403: expired"), b"<html>an error page</html>", b"", b'Output_1\n"cut')
ENDS: tuple[Phase, ...] = ("completed", "completed", "completed", "error", "canceled")
