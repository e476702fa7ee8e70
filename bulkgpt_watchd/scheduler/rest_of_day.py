"""Follow what today's budgets leave over the files of one look, in the order in which they would be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bulkgpt_watchd.config import BudgetSettings, Route, Settings
from bulkgpt_watchd.core import budget as rules
from bulkgpt_watchd.core.budget import Limits, Spent
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.routes import EVERY_ROUTE


@dataclass
class RestOfDay:
    """
    Hold today's limits and what is spent of them.

    Shape: *limits* by scope (keys of routes, or `*`), those that hold now; *spent* by the keys of the routes.
    """

    limits: Mapping[str, Limits]
    spent: dict[str, Spent]
    now: float

    def used_up(self, route: str, name: str) -> str | None:
        """Say why nothing more may be sent for a route today; None: something may."""
        over = rules.overrun(route, Spent(1, 1), self.limits, self.spent)
        return None if over is None else rules.reason(over, name, self.now, is_used_up=True)

    def spend(self, route: str, name: str, rows: int) -> str | None:
        """Say why a file would wait; None: it would be sent, and is counted."""
        need = Spent(rows, 1)
        over = rules.overrun(route, need, self.limits, self.spent)
        if over is not None:
            return rules.reason(over, name, self.now)
        self.spent[route] = self.spent.get(route, Spent()) + need
        return None


def rest_of_day(
    settings: Settings,
    routes: Iterable[tuple[str, Route]],
    lifted: Mapping[str, Any],
    spent: Mapping[str, Spent],
    now: float,
) -> RestOfDay:
    """
    Say what may still be sent today by this configuration.

    Shape: *routes* with their keys; *lifted* maps scopes to the day of which a person let them go.
    """
    today = day_of(now)
    wanted = {EVERY_ROUTE: settings.budget, **{key: route.budget for key, route in routes}}
    limits = {
        scope: Limits(budget.rows_per_day, budget.files_per_day)
        for scope, budget in wanted.items()
        if budget != BudgetSettings() and not rules.is_lifted(scope, lifted, today)
    }
    return RestOfDay(limits, dict(spent), now)
