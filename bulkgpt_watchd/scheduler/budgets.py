"""
Hold back what a day's budget does not allow.

The store decides, in the transaction of the point of no return (`Store.pass_point`). Here its numbers are followed, so
that nothing is claimed or uploaded in vain, and what waits is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bulkgpt_watchd.config import BudgetSettings
from bulkgpt_watchd.core import budget as rules
from bulkgpt_watchd.core.budget import Limits, Overrun, Spent
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.routes import EVERY_ROUTE
from bulkgpt_watchd.core.shown import rfc3339
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.inbox import Inbox

NO_BUDGET = BudgetSettings()

ONE_MORE = Spent(rows=1, files=1)
"""The least that any file needs."""


@dataclass(slots=True)
class Budgets:
    """
    Keep the budgets of all routes, and what waits for them.

    Shape: *lifted* maps scopes (keys of routes, or `*` for all and the total) to the day of which a person let them
        go. *held* are the ready jobs that wait, *reserved* those whose submit is on its way to its point of no
        return: what they need is not there for others, who would be uploaded in vain.
    """

    book: Book
    total: BudgetSettings = NO_BUDGET
    lifted: dict[str, str] = field(default_factory=dict)
    held: dict[str, tuple[str, Overrun]] = field(default_factory=dict)
    reserved: dict[str, tuple[str, Spent]] = field(default_factory=dict)
    _reached: dict[str, str] = field(default_factory=dict)  # scope → the day on which it was told

    async def load(self) -> None:
        """Take over what the state knows of today."""
        store, now = self.book.outside.store, self.book.outside.clock.now()
        self.lifted = dict(((await store.facts()).get("budget") or {}).get("lifted") or {})
        await self.follow(now)
        await self.set_total(self.total)

    async def follow(self, now: float) -> None:
        """Read today's numbers from the ledger."""
        day, spent = day_of(now), await self.book.outside.store.spent(now)
        self.book.spent = {(day, route): used for route, used in spent.items()}

    async def set_total(self, total: BudgetSettings) -> None:
        """Take over the budget of all routes together, and write it down for those who only read."""
        self.total = total
        await self._remember()

    async def lift(self, scope: str) -> float:
        """Let a route, or with `*` all, go beyond the budget until midnight UTC; give that time."""
        now = self.book.outside.clock.now()
        self.lifted[scope] = day_of(now)
        await self._remember()
        until = rules.ends_at(now)
        self.book.log("budget.lifted", "warning", scope=_kind(scope), key=scope, until=rfc3339(until))
        return until

    async def _remember(self) -> None:
        fact = {"budget": self.total.model_dump(mode="json"), "lifted": self.lifted}
        await self.book.outside.store.set_fact("budget", fact)

    # --- what is allowed ----------------------------------------------------------------------------------------------

    def limits(self, inbox: Inbox) -> dict[str, Limits]:
        """Give the limits that hold for a route now, by scope; most routes have none."""
        if NO_BUDGET == inbox.route.budget == self.total:
            return {}
        today = day_of(self.book.outside.clock.now())
        wanted = {inbox.key: inbox.route.budget, EVERY_ROUTE: self.total}
        return {
            scope: _limits(limit)
            for scope, limit in wanted.items()
            if limit != NO_BUDGET and not rules.is_lifted(scope, self.lifted, today)
        }

    def overrun(self, inbox: Inbox, need: Spent) -> Overrun | None:
        """Say which budget *need* would pass, by the numbers that we follow."""
        limits = self.limits(inbox)
        return rules.overrun(inbox.key, need, limits, self._spent(self.reserved.values())) if limits else None

    def standings(self) -> Iterator[tuple[str, Limits, Spent, bool]]:
        """Give each route's budget, what it sent today, and whether a person lets it go on; the same of `*`, all."""
        spent, today = self._spent(), day_of(self.book.outside.clock.now())
        wanted = {EVERY_ROUTE: self.total, **{key: inbox.route.budget for key, inbox in self.book.inboxes.items()}}
        for scope, budget in wanted.items():
            limits, is_lifted = _limits(budget), rules.is_lifted(scope, self.lifted, today)
            yield scope, limits, rules.used(scope, spent), is_lifted

    def _spent(self, reserved: Iterable[tuple[str, Spent]] = ()) -> dict[str, Spent]:
        today = day_of(self.book.outside.clock.now())
        spent = {route: used for (day, route), used in self.book.spent.items() if day == today}
        for route, need in reserved:
            spent[route] = spent.get(route, Spent()) + need
        return spent

    def used_up(self, inbox: Inbox) -> str | None:
        """Say why nothing more may be sent for a route today, so that nothing is claimed; None: something may."""
        over = self.overrun(inbox, ONE_MORE)
        if over is None:
            return None
        spent, now = (
            rules.overrun(inbox.key, ONE_MORE, self.limits(inbox), self._spent()),
            self.book.outside.clock.now(),
        )
        if spent is not None and self._reached.get(spent.scope) != day_of(now):
            self._reached[spent.scope] = day_of(now)
            facts = {"used": spent.used, "limit": spent.limit, "unit": spent.unit, "until": rfc3339(rules.ends_at(now))}
            self.book.log("budget.reached", "warning", scope=_kind(spent.scope), key=spent.scope, **facts)
        return rules.reason(over, inbox.name, self.book.outside.clock.now(), is_used_up=True)

    def files_left(self, inbox: Inbox) -> int | None:
        """Say how many more files may be claimed for a route today; None: any number."""
        if not (limits := self.limits(inbox)):
            return None
        counts, spent = self.book.counts, self._spent(self.reserved.values())
        on_the_way = [key for key, _ in (*self.held.values(), *self.reserved.values())].count(inbox.key)
        claimed = counts[inbox.key, State.CLAIMED] + counts[inbox.key, State.READY] - on_the_way
        left = [
            limit.files - rules.used(scope, spent).files - claimed
            for scope, limit in limits.items()
            if limit.files is not None
        ]
        return min(left, default=None)

    # --- what waits ---------------------------------------------------------------------------------------------------

    def hold(self, job: Job, inbox: Inbox) -> str | None:
        """Say why a ready job has to wait, and remember that it does; None: it may be sent, and has its place."""
        self.release(job.id)
        need = Spent(job.rows or 0, 1)
        over = self.overrun(inbox, need)
        if over is None:
            self.reserved[job.id] = inbox.key, need
            return None
        self.held[job.id] = inbox.key, over
        return self.reason(inbox, over)

    def waits(self, job: Job, inbox: Inbox) -> bool:
        """Tell whether a job waits for a budget and says so already; else it is started, if only to say so."""
        reason = self.hold(job, inbox) if job.state is State.READY else None
        return reason is not None and reason == job.waits_for

    def is_bounded(self, inbox: Inbox) -> bool:
        """Tell whether any budget holds for a route now."""
        return bool(self.limits(inbox))

    def release(self, job_id: str) -> None:
        """Forget a job: it passed its point of no return and is counted, or its submit ended."""
        self.held.pop(job_id, None)
        self.reserved.pop(job_id, None)

    def waiting_in(self, inbox: Inbox) -> list[Overrun]:
        """Say what the ready jobs of a route wait for by what holds now: perhaps none was tried since midnight."""
        limits, spent = self.limits(inbox), self._spent()
        return [over for key, over in self.held.values() if key == inbox.key and rules.holds(over, limits, spent)]

    def held_in(self, route: str) -> int:
        """Count the ready jobs of a route that wait for a budget."""
        return sum(1 for key, _ in self.held.values() if key == route)

    def too_large_in(self, route: str) -> int:
        """Count those for which no day is enough: they must not take the places of others."""
        return sum(1 for key, over in self.held.values() if key == route and over.is_too_large)

    def reason(self, inbox: Inbox, over: Overrun) -> str:
        """Say it in words."""
        return rules.reason(over, inbox.name, self.book.outside.clock.now())

    def wakes_at(self, now: float) -> float | None:
        """Say when what waits may go on: at midnight; None: nothing waits."""
        today = day_of(now)
        if self.held or today in self._reached.values():
            return rules.ends_at(now)
        return None


def _limits(budget: BudgetSettings) -> Limits:
    return Limits(budget.rows_per_day, budget.files_per_day)


def _kind(scope: str) -> str:
    """Say what a scope is: `route`, whose key is then told by name, or `all`."""
    return "all" if scope == EVERY_ROUTE else "route"
