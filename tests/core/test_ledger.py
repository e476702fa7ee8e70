"""The ledger: whatever becomes of a job, its lines are what a recount of all submits gives."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.ledger import AMOUNTS, Line, addition, day_of
from bulkgpt_watchd.core.lifecycle import TRANSITIONS, advance, conflict
from bulkgpt_watchd.core.ports import Change
from tests.core.any_jobs import NOW, POLICY
from tests.sample_jobs import sample_job

STAMP = Stamp(inode=9, bytes=99, mtime_ns=999)
DOUBT = e.GaveUp("submission_unknown", "no answer")
EVENTS: tuple[Event, ...] = (
    e.Claimed(STAMP, is_settled=True),
    e.Prepared(STAMP, "5ha", 24),
    e.Prepared(STAMP, "5hb", 7),
    e.Passed("w1"),
    e.Passed("w2"),
    e.Accepted("t1"),
    e.Accepted("t2"),
    e.Deferred("HTTP 429", 0.0),
    e.Finished(),
    e.Finished(24, 20, 24),
    e.Fetched("/out/a.csv", "5ha", 24, 20),
    e.Delivered("/archive/a.csv"),
    e.Archived(),
    e.GaveUp("rejected", "no", http_status=400),
    e.GaveUp("task_error", "failed"),
    DOUBT,
    e.Quarantined(),
    e.Recalled(None, "/error/a.csv", may_pay_again=True),
    e.Recalled("t1", "/error/a.csv", takes_partial=True),
    e.Restored(),
    e.Resumed(),
    e.Reopened(),
    e.Abandoned(),
)
CAN_BE_A_DOUBT = {State.CLAIMED, State.READY, State.SUBMITTING, State.RECALLED}
"""Where an answer was lost, or where a sent name in work speaks of a submit that the state does not know."""


@dataclass
class Submit:
    """Record what really became of one submit."""

    day: str
    workflow_id: str
    rows: int
    became: str = "under way"
    delivered: tuple[int, int] | None = None


class Life:
    """One job, all its submits, and the ledger of its changes."""

    def __init__(self) -> None:
        self.now = NOW
        self.job = sample_job("a", state=State.READY, rows=24, changed_at=NOW)
        self.submits: list[Submit] = []
        self.ledger: Counter[tuple[str, str, str]] = Counter()

    def step(self, choice: int) -> None:
        possible = [event for event in EVENTS if self.is_possible(event)]
        if not possible:
            return
        event = possible[choice % len(possible)]
        self.now += 1 + choice % 40_000
        self.follow(event)
        old, self.job = self.job, advance(self.job, event, self.now, POLICY, 0.0)
        line = addition(Change(old, self.job, event))
        if line is not None:
            for name, amount in zip(AMOUNTS, line.amounts, strict=True):
                self.ledger[line.day, line.workflow_id, name] += amount

    def is_possible(self, event: Event) -> bool:
        if type(event) not in TRANSITIONS[self.job.state]:
            return False
        if isinstance(event, e.Resumed | e.Restored):  # with a task it is asked about, without one the file is sent
            return isinstance(event, e.Resumed) == (self.job.task_id is not None)
        if isinstance(event, e.Recalled) and event.task_id is not None:  # a person names a task only to end a doubt
            return self.job.code == DOUBT.code or event.task_id == self.job.task_id
        return event is not DOUBT or self.job.state in CAN_BE_A_DOUBT

    def follow(self, event: Event) -> None:
        state, rows = self.job.state, self.job.rows or 0
        match event:
            case e.Passed(workflow_id):
                self.submits.append(Submit(day_of(self.now), workflow_id, rows))
            case e.Accepted() if state is State.READY:
                self.submits.append(Submit(day_of(self.now), self.job.workflow_id or "", rows, "accepted"))
            case e.Accepted():
                self.submits[-1].became = "accepted"
            case e.GaveUp("submission_unknown") if state is not State.SUBMITTING:
                self.submits.append(Submit(day_of(self.now), self.job.workflow_id or "", rows, "doubt"))
            case e.GaveUp("submission_unknown"):
                self.submits[-1].became = "doubt"
            case e.GaveUp() | e.Deferred() if state is State.SUBMITTING:
                self.submits[-1].became = "refused"
            case e.Recalled(task_id) if self.job.code == DOUBT.code:
                self.submits[-1].became = "refused" if task_id is None else "accepted"
            case e.Delivered() if self.submits[-1].delivered is None:
                good = self.job.rows_out if self.job.rows_ok is None else self.job.rows_ok
                bad = 0 if self.job.rows_ok is None else (self.job.rows_total or 0) - self.job.rows_ok
                self.submits[-1].delivered = (good or 0, bad)

    def recount(self) -> Counter[tuple[str, str, str]]:
        counted: Counter[tuple[str, str, str]] = Counter()
        for submit in self.submits:
            for what in ("submitted", submit.became):
                if what != "under way":
                    counted[submit.day, submit.workflow_id, f"{what}_files"] += 1
                    counted[submit.day, submit.workflow_id, f"{what}_rows"] += submit.rows
            if submit.delivered is not None:
                counted[submit.day, submit.workflow_id, "delivered_files"] += 1
                counted[submit.day, submit.workflow_id, "rows_ok"] += submit.delivered[0]
                counted[submit.day, submit.workflow_id, "rows_failed"] += submit.delivered[1]
        return counted


@settings(max_examples=500)
@given(st.lists(st.integers(0, 10**6), max_size=80))
def test_the_ledger_is_what_a_recount_of_all_submits_gives(choices: list[int]) -> None:
    """A retry that is paid again counts twice, a redelivery once, and an answered doubt on the day of its submit."""
    life = Life()
    for choice in choices:
        life.step(choice)

    assert +life.ledger == +life.recount()
    assert all(amount >= 0 for amount in life.ledger.values())


def test_the_walks_reach_all_that_is_counted() -> None:
    seen: Counter[str] = Counter()
    chance = random.Random(7)
    for _ in range(300):
        life = Life()
        for _ in range(80):
            life.step(chance.randrange(10**6))
        seen.update({name for (_, _, name), amount in life.ledger.items() if amount})

    assert set(seen) == set(AMOUNTS)


def passed(job_id: str, **fields: object) -> Job:
    return sample_job(job_id, state=State.SUBMITTING, rows=5, passed_at=NOW, workflow_id="w", **fields)


def test_of_two_files_with_one_task_id_each_was_accepted_once() -> None:
    job = passed("aaaa1111")
    holder = replace(passed("bbbb2222"), state=State.SUBMITTED, task_id="t1")
    event = e.Accepted("t1")
    change = Change(job, advance(job, event, NOW, POLICY, 0.0), event)

    lines = [addition(each) for each in conflict(change, [holder], NOW, POLICY)]

    assert lines == [Line("2027-01-15", "leads", "w", accepted_files=1, accepted_rows=5), None]


def test_a_task_in_conflict_that_was_never_the_file_s_is_taken_back() -> None:
    job = replace(passed("aaaa1111"), state=State.FAILED, code="task_id_conflict")
    event = e.Recalled(None, "/error/a.csv")
    line = addition(Change(job, advance(job, event, NOW + 9e5, POLICY, 0.0), event))

    taken_back = {"accepted_files": -1, "accepted_rows": -5, "refused_files": 1, "refused_rows": 5}
    assert line == Line("2027-01-15", "leads", "w", **taken_back)


@pytest.mark.parametrize(
    ("at", "day"), [(0.0, "1970-01-01"), (1_800_057_599.999, "2027-01-15"), (1_800_057_600.0, "2027-01-16")]
)
def test_days_are_utc(at: float, day: str) -> None:
    assert day_of(at) == day


@pytest.mark.parametrize(("total", "ok", "rows"), [(24, 20, 24), (None, None, 19), (None, 15, 15)])
def test_rows_that_nobody_knew_are_counted_when_the_result_is_delivered(
    total: int | None, ok: int | None, rows: int
) -> None:
    job = sample_job("a", state=State.FETCHED, rows=None, rows_total=total, rows_ok=ok, rows_out=19, passed_at=NOW)
    line = addition(Change(job, job, e.Delivered(None)))

    assert line is not None
    assert (line.accepted_rows, line.submitted_rows, line.accepted_files) == (rows, rows, 0)
    known = addition(Change(replace(job, rows=24), job, e.Delivered(None)))
    assert known is not None
    assert (known.accepted_rows, known.submitted_rows) == (0, 0)
