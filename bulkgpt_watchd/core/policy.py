"""The numbers: how long to wait, and when to stop waiting."""

from __future__ import annotations

from dataclasses import dataclass

from bulkgpt_watchd.core.job import Job

POLL_SHARE_OF_REST = 0.5
"""Ask again after this share of the predicted rest: the rate is a guess that gets better near the end."""

POLL_SHARE_OF_AGE = 0.1
"""Without counters, ask again after a tenth of the task's age: at most a tenth of its life is added as waiting."""

UNKNOWN_TASK_PATIENCE_S = 900.0
"""How long "I do not know this task" is waited out. The contract says "some minutes"; a paid task is worth fifteen."""

BAD_RESULT_TRIES = 5
"""Whole bodies that are no CSV before the result is called invalid; a store's error page is gone by then."""

SILENCE_COUNTS_AT_MOST_S = 120.0
"""Between two answers at most this much counts against patience, so that days without the API fail no paid task."""


@dataclass(frozen=True, slots=True)
class Policy:
    """
    Hold the numbers of one route.

    Units: seconds.
    """

    retry_min_s: float
    retry_max_s: float
    poll_min_s: float
    poll_max_s: float
    settle_s: float
    task_timeout_s: float


RETRY_AFTER_AT_MOST_S = 3600.0
"""How far a Retry-After is obeyed at most: asking once an hour is polite, and a wrong date must not stop a file."""


def waited_s(job: Job, now: float, policy: Policy) -> float:
    """
    Say how much of the time since the last answer counts against patience.

    Shape: only time that was asked about: silence of the API, our own stops and clock jumps between two runs count
        little, so a paid task is never failed by them.
    """
    if job.asked_at is None:
        return 0.0
    return min(max(now - job.asked_at, 0.0), max(SILENCE_COUNTS_AT_MOST_S, 2 * policy.poll_max_s))


def patience_left_s(job: Job, policy: Policy) -> float:
    """Say how long a task may go on before its time is over; never below the shortest pause between two polls."""
    return max(policy.task_timeout_s - job.patience_s, policy.poll_min_s)


def unknown_patience_s(policy: Policy) -> float:
    """Say how long "I do not know this task" is waited out on this route."""
    return min(UNKNOWN_TASK_PATIENCE_S, policy.task_timeout_s)


def backoff(failures: int, minimum_s: float, maximum_s: float, jitter: float) -> float:
    """
    Say how long to wait after so many failures in a row.

    Shape: doubles from *minimum_s* up to *maximum_s*; *jitter* in [0, 1) takes up to a quarter off, never below the
        minimum.
    """
    doubled = minimum_s * 2.0 ** min(max(failures - 1, 0), 30)
    return max(minimum_s, min(doubled, maximum_s) * (1.0 - 0.25 * jitter))


def poll_delay(job: Job, now: float, policy: Policy, jitter: float) -> float:
    """
    Say when to ask about a running task again, guided by its counters.

    Shape: while rows are being done, the rest is predicted from the rate so far; before and after, the age of the task
        guides: one that never says that it is complete must not be asked at the shortest pause for days.
    """
    age_s = max(0.0, now - (job.submitted_at if job.submitted_at is not None else now))
    if job.rows_done and job.rows_total and job.rows_done < job.rows_total and age_s > 0:
        rest_s = (job.rows_total - job.rows_done) * age_s / job.rows_done
        wanted_s = rest_s * POLL_SHARE_OF_REST
    else:
        wanted_s = age_s * POLL_SHARE_OF_AGE
    clamped_s = min(max(wanted_s, policy.poll_min_s), policy.poll_max_s)
    # Jitter only shortens, and never below the minimum: polls that started together must not stay together.
    return max(policy.poll_min_s, clamped_s * (1.0 - 0.1 * jitter))
