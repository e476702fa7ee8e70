from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.core.budget import Limits, Overrun, Spent, ends_at, overrun, reason
from bulkgpt_watchd.core.routes import EVERY_ROUTE

NONE = Limits(None, None)
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("limits", "spent", "scope"),
    [
        ({}, {}, None),
        ({"a": NONE, EVERY_ROUTE: NONE}, {"a": Spent(10**9, 10**9)}, None),
        ({"a": Limits(10, None)}, {}, None),
        ({"a": Limits(10, None)}, {"a": Spent(1, 1)}, "a"),
        ({"a": Limits(10, None)}, {"b": Spent(10, 1)}, None),
        ({"a": Limits(None, 1)}, {"a": Spent(0, 1)}, "a"),
        ({EVERY_ROUTE: Limits(10, None)}, {"b": Spent(1, 1)}, EVERY_ROUTE),
        ({EVERY_ROUTE: Limits(None, 2)}, {"b": Spent(1, 1), "c": Spent(1, 1)}, EVERY_ROUTE),
        ({"a": Limits(11, None), EVERY_ROUTE: Limits(9, None)}, {"a": Spent(2, 1)}, EVERY_ROUTE),
    ],
)
def test_ten_rows_pass_the_first_budget_that_has_no_room(
    limits: dict[str, Limits], spent: dict[str, Spent], scope: str | None
) -> None:
    over = overrun("a", Spent(10, 1), limits, spent)

    assert (over and over.scope) == scope


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 60), st.integers(1, 12))
def test_what_goes_is_never_more_than_the_budget(files: list[int], rows: int, number: int) -> None:
    spent = Spent()
    for needed in files:
        need = Spent(needed, 1)
        if overrun("a", need, {"a": Limits(rows, number)}, {"a": spent}) is None:
            spent += need

    assert spent.rows <= rows
    assert spent.files <= number


def test_the_reason_says_who_how_many_until_when_and_what_to_do() -> None:
    assert reason(Overrun("a", "rows", 1000, 990, 11), "leads", NOW) == (
        "over budget: route leads may send 1,000 rows a day and this file does not fit into the rest of it; goes on at"
        " 2027-01-16T00:00:00.000Z, or `bulkgpt-watchd resume leads --over-budget`"
    )
    assert reason(Overrun(EVERY_ROUTE, "files", 0, 0, 1), "leads", NOW) == (
        "over budget: all routes together may send 0 files a day and this file has 1: no day is enough for it; raise"
        " the budget, or let it go today with `bulkgpt-watchd resume --over-budget`"
    )


def test_a_day_ends_at_the_next_midnight() -> None:
    midnight = ends_at(NOW)

    assert 0 < midnight - NOW <= 86_400
    assert midnight % 86_400 == 0
    assert ends_at(midnight) == midnight + 86_400
