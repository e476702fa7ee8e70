"""Give Hypothesis any job, any event and the numbers of a route; a test names only what it is about."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, get_args

from hypothesis import strategies as st

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.policy import Policy

DAY_S = 86_400.0
NOW = 1_800_000_000.0
POLICY = Policy(
    retry_min_s=5.0, retry_max_s=600.0, poll_min_s=2.0, poll_max_s=60.0, settle_s=10.0, task_timeout_s=7 * DAY_S
)
"""The defaults of the contract."""

TASK_IDS = ("t1", "t2", "t3")
"""Few, so that they meet."""

TIMES = st.floats(0, 4e9)
NAMES = st.binary(max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"_")))
COUNTS = st.integers(0, 10**9)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(max_size=20),
    "State": st.sampled_from(State),
    "float": TIMES,
    "int": COUNTS,
    "bool": st.booleans(),
    "tuple[str, ...]": st.lists(st.sampled_from(TASK_IDS), max_size=2).map(tuple),
}
PATHS = ("file", "inbox", "work", "result_path", "archive_path", "error_path")


def _of_type(name: str) -> st.SearchStrategy[Any]:
    plain = BY_TYPE[name.removesuffix(" | None")]
    return st.none() | plain if name.endswith(" | None") else plain


FIELDS = {field.name: _of_type(str(field.type)) for field in fields(Job)}
ANY_JOB = st.builds(
    Job,
    **FIELDS
    | {name: NAMES if name in {"file", "inbox", "work"} else st.none() | NAMES for name in PATHS}
    | {"code": st.none() | st.sampled_from(sorted(OUTCOMES)), "task_id": st.none() | st.sampled_from(TASK_IDS)},
)
"""Any job: every field as free as its type, paths as free as a file system."""

STAMPS = st.builds(Stamp, COUNTS, COUNTS, st.integers(-(2**62), 2**62))
ROWS: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(("rows_done", "rows_ok", "rows_total"), st.none() | COUNTS)
TEXT = st.text(max_size=10)
EVENTS: dict[type[Any], st.SearchStrategy[Any]] = {
    e.Vanished: st.builds(e.Vanished),
    e.Claimed: st.builds(e.Claimed, STAMPS, st.booleans()),
    e.Disturbed: st.builds(e.Disturbed, STAMPS),
    e.Prepared: st.builds(e.Prepared, STAMPS, TEXT, COUNTS),
    e.Passed: st.builds(e.Passed, TEXT),
    e.Accepted: st.builds(e.Accepted, st.sampled_from(TASK_IDS)),
    e.Deferred: st.builds(
        e.Deferred,
        TEXT,
        st.none() | st.floats(0, 3e7),
        is_failure=st.booleans(),
        is_bad_result=st.booleans(),
        is_held=st.booleans(),
    ),
    e.Progressed: st.builds(e.Progressed, TEXT, **ROWS),
    e.TaskMissed: st.builds(e.TaskMissed, TEXT),
    e.Finished: st.builds(e.Finished, **ROWS),
    e.Fetched: st.builds(e.Fetched, NAMES, TEXT, COUNTS, COUNTS),
    e.Retargeted: st.builds(e.Retargeted, NAMES),
    e.Delivered: st.builds(e.Delivered, st.none() | NAMES),
    e.Archived: st.builds(e.Archived),
    e.GaveUp: st.builds(e.GaveUp, st.sampled_from(sorted(OUTCOMES)), TEXT),
    e.Quarantined: st.builds(e.Quarantined),
    e.Recalled: st.builds(
        e.Recalled,
        st.none() | st.sampled_from(TASK_IDS),
        st.none() | NAMES,
        may_pay_again=st.booleans(),
        takes_partial=st.booleans(),
    ),
    e.Restored: st.builds(e.Restored),
    e.Resumed: st.builds(e.Resumed),
    e.Reopened: st.builds(e.Reopened),
    e.NotRedelivered: st.builds(e.NotRedelivered, st.sampled_from(sorted(OUTCOMES)), TEXT),
    e.Cleared: st.builds(e.Cleared),
    e.Abandoned: st.builds(e.Abandoned),
    e.Superseded: st.builds(e.Superseded, TEXT),
}
"""Any event of each kind; a new kind has to be named here."""

if EVENTS.keys() != set(get_args(Event)):
    raise AssertionError(EVENTS.keys() ^ set(get_args(Event)))
