from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.config.quantities import (
    DURATION_FORMS,
    LARGEST_BYTES,
    LONGEST_S,
    SIZE_FORMS,
    format_duration,
    format_mode,
    format_size,
    parse_duration,
    parse_mode,
    parse_size,
)

ANYTHING = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers()))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("5s", 5.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1.5h", 5400.0),
        ("0.1h", 360.0),
        ("5 s", 5.0),
        (30, 30.0),
        (0.25, 0.25),
        (1.23456, 1.235),
        ("0.3ms", 0.0),
        (0, 0.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "fast",
        "30",
        "5M",
        "5 minutes",
        "1h30m",
        "-5s",
        "5s\n",
        "٣s",
        True,
        None,
        [5],
        -1,
        math.nan,
        math.inf,
        "36501d",
        1e300,
    ],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("20MB", 20_000_000),
        ("512KiB", 524_288),
        ("2GB", 2_000_000_000),
        ("1TiB", 2**40),
        ("20mb", 20_000_000),
        ("1.5 kB", 1500),
        ("0.3KiB", 307),
        ("17B", 17),
        (17, 17),
        (0, 0),
    ],
)
def test_a_size_is_read_as_bytes(text: object, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("value", ["", "17", "big", "3XB", "-1MB", 1.5, -1, True, None, [1], 2**63, "9000000TiB"])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_size(value)


@pytest.mark.parametrize("value", [640, 0o640, "640a", "888", "4755", "", None])
def test_a_mode_must_be_quoted_octal_digits(value: object) -> None:
    with pytest.raises(ValueError, match="in quotes"):
        parse_mode(value)


def outcome(parse: Callable[[object], float], value: object) -> float | str:
    try:
        return parse(value)
    except ValueError as error:
        return str(error)


@given(ANYTHING)
def test_any_value_is_a_duration_or_refused_in_words_that_do_not_repeat_it(value: object) -> None:
    told = outcome(parse_duration, value)

    assert (
        told
        in {
            f"must be a duration: {DURATION_FORMS}",
            f"must not be negative: {DURATION_FORMS}",
            "must be at most 36500d",
        }
        or 0 <= float(told) <= LONGEST_S
    )


@given(st.from_regex(r"[0-9]{1,22}(\.[0-9]{1,22})? ?[a-zA-Z]{1,4}", fullmatch=True) | ANYTHING)
def test_any_value_is_a_size_or_refused_in_words_that_do_not_repeat_it(value: object) -> None:
    told = outcome(parse_size, value)

    assert (
        told
        in {
            f"must be a size: {SIZE_FORMS}",
            f"must not be negative: {SIZE_FORMS}",
            "must be at most 8388607TiB",
        }
        or 0 <= int(told) <= LARGEST_BYTES
    )


@given(st.floats(min_value=0, max_value=LONGEST_S) | st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_a_written_duration_is_read_as_the_same(seconds: float) -> None:
    """Whatever was configured: a removed route is read from what the state has of it, or the daemon does not start."""
    read = parse_duration(seconds)

    assert parse_duration(format_duration(read)) == read
    assert read == pytest.approx(seconds, abs=0.0005001)


@given(st.integers(0, LARGEST_BYTES))
def test_a_written_size_is_read_as_the_same(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.integers(0, 0o777))
def test_a_written_mode_is_read_as_the_same(mode: int) -> None:
    assert parse_mode(format_mode(mode)) == mode


def test_quantities_are_written_as_people_would() -> None:
    assert [format_duration(seconds) for seconds in (0, 0.2, 90, 600, 7200, 604800)] == [
        "0s",
        "200ms",
        "90s",
        "10m",
        "2h",
        "7d",
    ]
    assert [format_size(size) for size in (0, 17, 100_000_000, 2 * 10**9, 2**20)] == [
        "0B",
        "17B",
        "100MB",
        "2GB",
        "1MiB",
    ]
