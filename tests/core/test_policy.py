"""The numbers: how long to wait, and when to stop waiting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.policy import (
    SILENCE_COUNTS_AT_MOST_S,
    UNKNOWN_TASK_PATIENCE_S,
    backoff,
    patience_left_s,
    poll_delay,
    unknown_patience_s,
    waited_s,
)
from tests.core.any_jobs import ANY_JOB, DAY_S, NOW, POLICY, TIMES
from tests.sample_jobs import sample_job

JITTERS = st.floats(0, 1, exclude_max=True)


def running(age_s: float, rows_done: int | None = None, rows_total: int | None = None) -> Job:
    return sample_job("a", state=State.SUBMITTED, submitted_at=NOW - age_s, rows_done=rows_done, rows_total=rows_total)


# --- backoff ----------------------------------------------------------------------------------------------------------


def test_the_backoff_doubles_up_to_its_maximum() -> None:
    assert [backoff(failures, 5, 600, 0.0) for failures in range(1, 10)] == [5, 10, 20, 40, 80, 160, 320, 600, 600]


@given(st.integers(0, 10**12), st.floats(0.001, 1e3), st.floats(1, 1e3), JITTERS)
def test_the_backoff_stays_between_its_bounds(failures: int, minimum_s: float, factor: float, jitter: float) -> None:
    assert minimum_s <= backoff(failures, minimum_s, minimum_s * factor, jitter) <= minimum_s * factor


@given(st.integers(1, 40), JITTERS)
def test_jitter_takes_at_most_a_quarter_off(failures: int, jitter: float) -> None:
    whole = backoff(failures, 5, 600, 0.0)
    assert 0.75 * whole <= backoff(failures, 5, 600, jitter) <= whole


def test_jitter_parts_what_failed_together() -> None:
    assert len({backoff(8, 5, 600, jitter / 10) for jitter in range(10)}) == 10


# --- polling ----------------------------------------------------------------------------------------------------------


@given(ANY_JOB, TIMES, JITTERS)
def test_polls_keep_to_their_bounds_whatever_is_told(job: Job, now: float, jitter: float) -> None:
    assert POLICY.poll_min_s <= poll_delay(job, now, POLICY, jitter) <= POLICY.poll_max_s


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        (running(100, 10, 20), 50),  # a hundred seconds to go
        (running(100, 5, 6), 10),  # twenty to go
        (running(1000, 10, 1000), 60),  # 99,000 to go
        (running(100, 99, 100), 2),  # one to go
    ],
)
def test_counters_tell_when_a_task_may_be_complete(job: Job, seconds: float) -> None:
    """Half of the rest, as the rate so far predicts it."""
    assert poll_delay(job, NOW, POLICY, 0.0) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("age_s", "seconds"), [(-50, 2), (0, 2), (10, 2), (100, 10), (300, 30), (600, 60), (DAY_S, 60)]
)
@pytest.mark.parametrize("counters", [(None, None), (None, 24), (0, 24), (12, None), (12, 0), (24, 24), (25, 24)])
def test_where_counters_predict_nothing_the_age_of_a_task_guides(
    age_s: float, seconds: float, counters: tuple[int | None, int | None]
) -> None:
    assert poll_delay(running(age_s, *counters), NOW, POLICY, 0.0) == pytest.approx(seconds)


def test_a_task_of_unknown_age_is_asked_about_soon() -> None:
    assert poll_delay(sample_job("a"), NOW, POLICY, 0.0) == 2


@given(st.integers(1, 999), st.integers(1, 999), st.floats(1, 1e6))
def test_the_more_is_done_the_sooner_it_is_asked_about(one: int, other: int, age_s: float) -> None:
    less, more = sorted((one, other))
    assert poll_delay(running(age_s, more, 1000), NOW, POLICY, 0.0) <= poll_delay(
        running(age_s, less, 1000), NOW, POLICY, 0.0
    )


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_older_a_task_without_counters_the_later_it_is_asked_about(one: float, other: float) -> None:
    younger, older = sorted((one, other))
    assert poll_delay(running(younger), NOW, POLICY, 0.0) <= poll_delay(running(older), NOW, POLICY, 0.0)


# --- patience ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since_s", "counted_s"), [(0, 0), (1, 1), (120, 120), (121, 120), (30 * DAY_S, 120), (-5, 0), (-DAY_S, 0)]
)
def test_silence_counts_little_and_a_clock_that_jumped_counts_nothing(since_s: float, counted_s: float) -> None:
    assert waited_s(sample_job("a", asked_at=NOW - since_s), NOW, POLICY) == counted_s


def test_a_task_that_was_never_asked_about_was_not_waited_for() -> None:
    assert waited_s(sample_job("a"), NOW, POLICY) == 0


def test_pauses_between_polls_that_the_route_asks_for_count_in_full() -> None:
    slow = replace(POLICY, poll_max_s=3600.0)
    assert waited_s(sample_job("a", asked_at=NOW - 3600), NOW, slow) == 3600
    assert waited_s(sample_job("a", asked_at=NOW - DAY_S), NOW, slow) == 7200


@given(ANY_JOB, TIMES)
def test_no_wait_is_negative_or_longer_than_silence_counts(job: Job, now: float) -> None:
    assert 0 <= waited_s(job, now, POLICY) <= SILENCE_COUNTS_AT_MOST_S


def test_patience_ends_with_task_timeout_and_a_last_question_is_always_asked() -> None:
    assert patience_left_s(sample_job("a"), POLICY) == 7 * DAY_S
    assert patience_left_s(sample_job("a", patience_s=7 * DAY_S - 20), POLICY) == 20
    assert patience_left_s(sample_job("a", patience_s=8 * DAY_S), POLICY) == POLICY.poll_min_s


def test_an_unknown_task_is_waited_out_for_some_minutes_and_never_beyond_task_timeout() -> None:
    assert 120 <= UNKNOWN_TASK_PATIENCE_S <= 3600
    assert unknown_patience_s(POLICY) == UNKNOWN_TASK_PATIENCE_S
    assert unknown_patience_s(replace(POLICY, task_timeout_s=60.0)) == 60
