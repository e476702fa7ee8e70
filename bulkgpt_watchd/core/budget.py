"""Say whether a submit still fits into what may be sent in one UTC day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bulkgpt_watchd.core.routes import EVERY_ROUTE
from bulkgpt_watchd.core.shown import rfc3339

DAY_S = 86_400.0

OVER_BUDGET = "over budget: "
"""Begins the reason for which a file waits, so that `status` knows it from others."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Hold the most that may be sent in a day; None: any number."""

    rows: int | None
    files: int | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Hold what was sent in a day, without what was certainly refused."""

    rows: int = 0
    files: int = 0

    def __add__(self, other: Spent) -> Spent:
        """Add up."""
        return Spent(self.rows + other.rows, self.files + other.files)


@dataclass(frozen=True, slots=True)
class Overrun:
    """
    Say which budget a submit would pass.

    Shape: *scope* is the key of a route, or `*`: all together; *unit* is `rows` or `files`.
    """

    scope: str
    unit: str
    limit: int
    used: int
    needed: int

    @property
    def is_too_large(self) -> bool:
        """Tell whether even a whole day's budget would not do."""
        return self.needed > self.limit


class Purse(Protocol):
    """Say what was spent; a part of `Store`."""

    async def spent(self, at: float) -> Mapping[str, Spent]:
        """Say what each route sent on the UTC day of *at*, by the ledger: what was refused does not count."""


def used(scope: str, spent: Mapping[str, Spent]) -> Spent:
    """Say what was spent of a scope's budget."""
    return sum(spent.values(), Spent()) if scope == EVERY_ROUTE else spent.get(scope, Spent())


def overrun(route: str, need: Spent, limits: Mapping[str, Limits], spent: Mapping[str, Spent]) -> Overrun | None:
    """
    Say which budget *need* would pass, one that is too small for it first; None: it fits.

    Shape: *limits* by scope, those that hold now; *spent* is today's, by the keys of the routes.
    """
    found = [
        Overrun(scope, unit, most, getattr(used(scope, spent), unit), getattr(need, unit))
        for scope in (route, EVERY_ROUTE)
        if (limit := limits.get(scope)) is not None
        for unit, most in (("rows", limit.rows), ("files", limit.files))
        if most is not None and getattr(used(scope, spent), unit) + getattr(need, unit) > most
    ]
    return max(found, key=lambda over: over.is_too_large, default=None)


def is_used_up(limits: Limits, sent: Spent) -> bool:
    """Tell whether not even the smallest file fits into the rest of the day."""
    return any(
        most is not None and number >= most for number, most in ((sent.rows, limits.rows), (sent.files, limits.files))
    )


def holds(over: Overrun, limits: Mapping[str, Limits], spent: Mapping[str, Spent]) -> bool:
    """Tell whether what did not fit once does not fit by these numbers either."""
    limit = limits.get(over.scope)
    most = None if limit is None else getattr(limit, over.unit)
    return most is not None and getattr(used(over.scope, spent), over.unit) + over.needed > most


def is_lifted(scope: str, lifted: Mapping[str, str], today: str) -> bool:
    """Tell whether a person let a scope, or all, go beyond the budget today; *lifted* maps scopes to such a day."""
    return today in {lifted.get(scope), lifted.get(EVERY_ROUTE)}


def ends_at(now: float) -> float:
    """Give the next midnight UTC."""
    return (now // DAY_S + 1) * DAY_S


def reason(over: Overrun, name: str, now: float, *, is_used_up: bool = False) -> str:
    """
    Say why a file waits and what ends it.

    Shape: *name* is the route's; the same all day long, so that it is written once. *is_used_up*: no file would do.
    """
    if over.scope == EVERY_ROUTE:
        who, command = "all routes together", "bulkgpt-watchd resume --over-budget"
    else:
        who, command = f"route {name}", f"bulkgpt-watchd resume {name} --over-budget"
    head = f"{OVER_BUDGET}{who} may send {over.limit:,} {over.unit} a day"
    if over.is_too_large:
        return (
            f"{head} and this file has {over.needed:,}: no day is enough for it; raise the budget, or let it go today"
            f" with `{command}`"
        )
    why = f", and {over.used:,} were sent" if is_used_up else " and this file does not fit into the rest of it"
    return f"{head}{why}; goes on at {rfc3339(ends_at(now))}, or `{command}`"
