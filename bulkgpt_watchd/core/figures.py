"""
Say which numbers the daemon tells of itself, and what a change of a job adds to them.

FIGURES is the one list of what is told by this program's own count; labels come from bounded sets only, never from a
job, a task or a file. Gauges say how it is now and are read from what is known, so a restart leaves no hole in them.
Counters begin at 0 with the process: made of the state they would fall when a job is tried again or history is pruned,
and Prometheus takes a fall for a restart and counts all of it once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.job import SHOWN_AS, TERMINAL, Job, State
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.core.shown import is_partial, rows_failed


@dataclass(frozen=True, slots=True)
class Figure:
    """Describe one number that may stand once for each set of labels."""

    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold one value of a figure; *labels* in the order of its names."""

    figure: str
    labels: tuple[str, ...]
    value: float


def _gauge(meaning: str, *labels: str) -> Figure:
    return Figure("gauge", labels, meaning)


def _counter(meaning: str, *labels: str) -> Figure:
    return Figure("counter", labels, meaning)


FIGURES: dict[str, Figure] = {
    # jobs
    "jobs": _gauge("Jobs that are in this state now", "route", "state"),
    "oldest_job_age_seconds": _gauge("Time since the oldest job in this state was found; 0: none", "route", "state"),
    "failed_files": _gauge(
        "Jobs that are failed now, without those that were closed or dropped again", "route", "code"
    ),
    "jobs_finished_total": _counter("Jobs that ended", "route", "outcome"),
    "job_duration_seconds_total": _counter(
        "Time from finding a file to its end; by jobs_finished_total it gives their mean", "route", "outcome"
    ),
    "jobs_failed_total": _counter("Jobs that failed, by why; one that is tried again may fail again", "route", "code"),
    # money
    "rows_total": _counter(
        "Rows that BulkGPT accepted (sent), did well (ok), failed, or may have accepted (doubtful)", "route", "kind"
    ),
    "submits_total": _counter("Submits by how they ended", "route", "outcome"),
    "input_bytes_total": _counter("Bytes of files that BulkGPT accepted", "route"),
    "result_bytes_total": _counter("Bytes of results that were delivered", "route"),
    "budget_used": _gauge(
        "What was sent this UTC day and not certainly refused; route * is all together", "route", "kind"
    ),
    "budget_limit": _gauge("What may be sent in a UTC day, where there is a budget", "route", "kind"),
    "budget_used_up": _gauge("1: nothing more goes today, since the budget is used up", "route"),
    "budget_lifted": _gauge("1: a person let files go beyond the budget until midnight UTC", "route"),
    "budget_waiting_files": _gauge("Files in work that do not fit into what a budget leaves of the day", "route"),
    "budget_too_large_files": _gauge("Of these, files for which no day's budget is enough", "route"),
    # the gate
    "gate_open": _gauge("1: submits go through; 0: the gate is shut, or half open"),
    "gate_needs_resume": _gauge("1: the gate stays shut until a person resumes"),
    "gate_denied": _gauge("1: the gate is not open because the key, the account or the address was refused"),
    "route_held": _gauge("1: this route, or its workflow, is held while others go on", "route"),
    # routes
    "route_available": _gauge("1: the folders of the route can be used", "route"),
    "route_paused": _gauge("1: a person paused the route, or all", "route"),
    "watch_up": _gauge("1: the kernel tells of changes in the inbox; 0: it is only scanned", "route"),
    "scan_last_success_timestamp_seconds": _gauge("When the last scan that worked ended; 0: none yet", "route"),
    "scan_duration_seconds": _gauge("How long the last scan that worked took", "route"),
    "inbox_files": _gauge("Files in the inbox at the last scan", "route", "kind"),
    "disk_free_bytes": _gauge("Free space at the last scan", "route", "folder"),
    "disk_low": _gauge("1: less than min_free is free, so the route takes and sends nothing", "route"),
    # the daemon
    "state_writable": _gauge("1: the last commit went to disk; 0: it did not"),
    "state_size_bytes": _gauge("Size of the state file and its log"),
    "loop_lag_seconds": _gauge("The longest that the event loop was late within the last minute"),
    "config_last_reload_successful": _gauge("1: the configuration in use is the one that was read last"),
    "config_last_reload_success_timestamp_seconds": _gauge("When the configuration in use was read"),
    "build_info": _gauge("1; which program this is", "version", "python", "schema"),
}
"""What is told, without the prefix; docs/metrics.md has the same."""

ACTIVE = tuple(dict.fromkeys(name for state, name in SHOWN_AS.items() if state not in TERMINAL))
"""States, as people see them, in which a job waits for something."""

VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("jobs", "state"): tuple(dict.fromkeys(SHOWN_AS.values())),
    ("oldest_job_age_seconds", "state"): ACTIVE,
    ("failed_files", "code"): tuple(OUTCOMES),
    ("jobs_finished_total", "outcome"): ("done", "partial", "failed", "withdrawn"),
    ("job_duration_seconds_total", "outcome"): ("done", "partial", "failed", "withdrawn"),
    ("jobs_failed_total", "code"): tuple(OUTCOMES),
    ("rows_total", "kind"): ("sent", "ok", "failed", "doubtful"),
    ("budget_used", "kind"): ("rows", "files"),
    ("budget_limit", "kind"): ("rows", "files"),
    ("submits_total", "outcome"): ("accepted", "deferred", "denied", "rejected", "unknown"),
    ("inbox_files", "kind"): ("waiting", "unsettled", "unreadable", "ignored"),
    ("disk_free_bytes", "folder"): ("outbox", "work", "state"),
}
"""What a label may be, beside `route`; each is told from the start, so that the first of its kind is seen to rise."""

SENDING = frozenset({State.READY, State.SUBMITTING})


def of_change(change: Change) -> Iterator[Sample]:
    """Give what one written change adds to the counters; *route* is the key here."""
    old, new, event = change.old, change.new, change.event
    yield from _of_submit(old, new, event)
    match event:
        case e.GaveUp(code=code):
            yield Sample("jobs_failed_total", (new.route, code), 1)
        case e.Finished() if old.completed_at is None and new.rows_ok is not None:  # once for each task
            yield Sample("rows_total", (new.route, "ok"), new.rows_ok)
            yield Sample("rows_total", (new.route, "failed"), rows_failed(new) or 0)
        case e.Delivered():
            yield Sample("result_bytes_total", (new.route,), new.result_bytes or 0)
    if new.state in TERMINAL and old.state not in TERMINAL:
        outcome = "partial" if is_partial(new) else new.state.value
        yield Sample("jobs_finished_total", (new.route, outcome), 1)
        lasted_s = max(new.changed_at - new.created_at, 0.0)  # a clock that was set back must not make a counter fall
        yield Sample("job_duration_seconds_total", (new.route, outcome), lasted_s)


def _of_submit(old: Job, new: Job, event: e.Event) -> Iterator[Sample]:
    if old.state not in SENDING:
        return
    outcome = None
    match event:
        case _ if old.task_id is None and new.task_id is not None:  # two jobs with one task ID were accepted as well
            outcome = "accepted"
            yield Sample("rows_total", (new.route, "sent"), new.rows or 0)
            yield Sample("input_bytes_total", (new.route,), new.size_bytes)
        case e.GaveUp(code="submission_unknown"):
            outcome = "unknown"
            yield Sample("rows_total", (new.route, "doubtful"), new.rows or 0)
        case e.GaveUp(http_status=int()):
            outcome = "rejected"
        case e.Deferred(is_held=True):
            outcome = "denied"
        case e.Deferred(is_failure=True):
            outcome = "deferred"
    if outcome is not None:
        yield Sample("submits_total", (new.route, outcome), 1)


def zeros(route: str) -> Iterator[Sample]:
    """Give every counter of a route at 0."""
    for name, figure in FIGURES.items():
        if figure.kind == "counter":
            kinds = VALUES[name, figure.labels[1]] if len(figure.labels) > 1 else ()
            yield from (Sample(name, (route, kind), 0) for kind in kinds)
            if not kinds:
                yield Sample(name, (route,), 0)
