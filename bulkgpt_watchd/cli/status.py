"""`bulkgpt-watchd status`: one screen that says how the daemon is and what needs a decision."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bulkgpt_watchd.cli.control import is_running, troubles
from bulkgpt_watchd.cli.options import config_option, examples, json_option, load_place
from bulkgpt_watchd.cli.screen import Block, Column, Table, Words, is_terminal, new_console, plain, rendered, show
from bulkgpt_watchd.cli.state import open_state, start_it
from bulkgpt_watchd.cli.words import at_s, bar, count, local, span
from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.core.routes import named
from bulkgpt_watchd.core.status import NEEDS_DECISION, READY, STUCK
from bulkgpt_watchd.core.status import status as content_of

if TYPE_CHECKING:
    from bulkgpt_watchd.config import Place

SHOWN_AT_MOST = 10
"""Jobs of each list: with a few routes all fits on a screen of 40 lines; `jobs` has the others."""

EVERY_S = 1.0
"""How often --watch looks again."""

UNDER_WAY = (State.SUBMITTING, State.SUBMITTED, State.FINISHED, State.FETCHED, State.DELIVERED)


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold one look: the content of `status --json`, and the jobs that are under way."""

    content: dict[str, Any]
    under_way: list[Job]
    now: float


@click.command(
    epilog=examples(
        "bulkgpt-watchd status --watch",
        "bulkgpt-watchd status --json | jq -r .state     ok, or degraded",
    )
)
@config_option
@click.option("--watch", is_flag=True, help="Stay and look again each second, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """
    Show how the daemon is, its routes, and the jobs that need a decision.

    Works without a running daemon too: then it says what was known when it stopped.
    """
    if watch and (as_json or not is_terminal()):
        raise click.UsageError("--watch draws on a terminal; for programs there is `status --json`")
    place = load_place()
    if watch:
        _watch(place)
        return
    seen = _look(place)
    if as_json:
        click.echo(json.dumps(seen.content))
    else:
        show(screen(seen))


def _look(place: Place) -> Seen:
    now = time.time()
    with open_state(place) as state:
        facts, counts = state.facts(), state.counts()
        doubts, stuck, ready = state.query(NEEDS_DECISION), state.query(STUCK), state.query(READY)
        spent = state.spent(day_of(now))
        under_way = [named(job, state.names()) for job in state.query(Query(states=UNDER_WAY, limit=SHOWN_AT_MOST))]
    is_up = is_running(place, facts)
    told = troubles(place, facts) if is_up else ()
    content = content_of(
        facts, counts, doubts, stuck=stuck, ready=ready, spent=spent, troubles=told, now=now, is_running=is_up
    )
    return Seen(content, under_way[::-1], now)


def _watch(place: Place) -> None:
    from rich.live import Live

    with Live(console=new_console(), auto_refresh=False, screen=True) as live:
        while True:
            try:
                blocks = fitting(_look(place), live.console.height)
            except (WatchdError, click.ClickException) as error:  # the daemon may be starting, or stopping
                blocks = [Words(str(error), "red")]
            live.update(rendered(blocks), refresh=True)
            time.sleep(EVERY_S)


def fitting(seen: Seen, height: int) -> list[Block]:
    """Put the screen together so that problems and doubts, which stand below, are on it: idle routes are left out."""
    blocks = list(screen(seen))
    too_many = sum(len(plain(block)) for block in blocks) - height
    if too_many <= 0:
        return blocks
    return list(screen(seen, max(len(seen.content["routes"]) - too_many - 1, 0)))


def screen(seen: Seen, routes_at_most: int | None = None) -> Iterator[Block]:
    """Put the screen together."""
    content = seen.content
    yield from _daemon(content, seen.now)
    yield from _gate(content, seen.now)
    if content["web"] and content["web"]["reason"]:
        yield Words(f"no HTTP: {content['web']['address']} cannot be used: {content['web']['reason']}", "yellow")
    yield from _budget(content["budget"])
    if content["routes"]:
        yield ""
        shown = (
            sorted(content["routes"], key=_is_idle)[:routes_at_most]
            if routes_at_most is not None
            else content["routes"]
        )
        yield _routes(shown, content["gate_position"])
        if left := len(content["routes"]) - len(shown):
            yield f"and {count(left, 'more route')}"
    if seen.under_way:
        yield ""
        yield _under_way(seen)
    if content["doubts"]:
        yield ""
        yield from _doubts(content["doubts"])
    problems = [text for text in content["problems"] if text.startswith(("state: ", "route ", "all routes: "))]
    if problems:
        yield ""
        yield Words(f"{count(len(problems), 'problem')}:", "bold")
        yield from (Words(f"  {printable(text)}", "yellow") for text in problems)


def _daemon(content: Mapping[str, Any], now: float) -> Iterator[Block]:
    daemon = content["daemon"] or {"version": "", "pid": None, "config": "", "started_at": None}
    if content["running"]:
        for_s = span(now - at_s(daemon["started_at"])) if daemon["started_at"] else ""
        head = f"bulkgpt-watchd {daemon['version']}  running {for_s}  pid {daemon['pid']}"
        yield Words(f"{head}  config {printable(daemon['config'])}", "green" if content["state"] == "ok" else "")
    else:
        yield Words(f"bulkgpt-watchd is not running; {start_it()}", "bold red")
        yield "Below is what it knew when it ended."


def _gate(content: Mapping[str, Any], now: float) -> Iterator[Block]:
    position, reason = content["gate_position"], printable(content["gate_reason"] or "")
    if position == "open":
        yield "gate open"
    elif position == "half":
        yield Words(f"gate half open, one submit at a time: {reason}", "yellow")
    else:
        yield Words(f"gate SHUT, nothing is submitted: {reason}", "bold red")
        if content["gate_denied"]:
            yield "  key, account or address is refused; what to do about it: bulkgpt-watchd doctor --online"
        if content["gate_needs_resume"]:
            yield "  it stays shut until you run: bulkgpt-watchd resume"
        else:
            next_s = max(at_s(content["gate_next_try_at"]) - now, 0) if content["gate_next_try_at"] else 0
            yield f"  it is tried again by itself in {span(next_s)}; at once by: bulkgpt-watchd resume"
    if content["pause"]:
        yield Words(f"all routes are PAUSED{_pause(content['pause'])}; to go on: bulkgpt-watchd resume", "yellow")


def _budget(budget: Mapping[str, Any]) -> Iterator[Block]:
    """Say how much of the budget of all routes together is used."""
    if budget["rows_per_day"] is not None or budget["files_per_day"] is not None:
        yield Words(f"budget of all routes: {_used(budget)}", "yellow" if budget["used_up"] else "")


def _used(budget: Mapping[str, Any]) -> str:
    pairs = ((budget[f"{unit}_today"], budget[f"{unit}_per_day"], unit) for unit in ("rows", "files"))
    used = ", ".join(f"{used:,} of {limit:,} {unit}" for used, limit, unit in pairs if limit is not None)
    used = f"{used} sent today" if used else "that of all routes"
    return used + (f", let go until {local(at_s(budget['until']))}" if budget["lifted"] else "")


def _pause(pause: Mapping[str, Any]) -> str:
    until = f" until {local(at_s(pause['until']))}" if pause["until"] else ""
    return f"{until} ({printable(pause['reason'])})"


def _routes(routes: Sequence[Mapping[str, Any]], position: str) -> Table:
    titles = ("WAITING", "RUNNING", "DONE", "FAILED")
    columns = [Column("ROUTE"), *(Column(title, is_number=True) for title in titles), Column("NOW", is_long=True)]
    rows: list[list[Words | str]] = []
    for route in routes:
        running = route["submitting"] + route["running"] + route["delivering"]
        numbers = (route["waiting"], running, route["done"], route["failed"])
        rows.append([printable(route["name"]), *(f"{number:,}" for number in numbers), _now(route, position)])
    return Table(columns, rows)


def _is_idle(route: Mapping[str, Any]) -> bool:
    """Tell whether a route has nothing that a person would look for."""
    is_busy = route["waiting"] or route["submitting"] or route["running"] or route["delivering"] or route["unsettled"]
    return not (is_busy or route["problems"] or route["pause"] or route["gate"] == "shut" or not route["configured"])


def _now(route: Mapping[str, Any], position: str) -> Words:
    """Say in a few words what holds a route, the strongest first; its problems are told below in full."""
    if not route["configured"]:
        return Words("no longer configured")
    if not route["available"]:
        since = f" since {local(at_s(route['unavailable_since']))}" if route["unavailable_since"] else ""
        return Words(f"UNAVAILABLE{since}", "bold red")
    if route["pause"]:
        return Words(f"PAUSED{_pause(route['pause'])}", "yellow")
    if route["gate"] == "shut":
        shut = "gate half open" if position == "half" else "gate shut"
        return Words("held" if route["held_until"] else shut, "yellow")
    if route["budget"]["used_up"]:
        return Words(f"OVER BUDGET until {local(at_s(route['budget']['until']))}: {_used(route['budget'])}", "yellow")
    if route["budget"]["total_used_up"]:
        return Words("OVER BUDGET: that of all routes is used up", "yellow")
    if route["budget"]["waiting"]:
        return Words(f"{count(route['budget']['waiting'], 'file')} over budget: {_used(route['budget'])}", "yellow")
    if route["problems"]:
        return Words(f"{count(len(route['problems']), 'problem')}, see below", "yellow")
    if route["draining"]:
        return Words("removed from the configuration; ends what it has", "yellow")
    if route["unsettled"]:
        return Words(f"{count(route['unsettled'], 'file')} not whole yet")
    return Words("ok", "green")


def _under_way(seen: Seen) -> Table:
    columns = (Column("JOB"), Column("FILE", is_long=True), Column("PROGRESS"), Column("FOR", is_number=True))
    rows = []
    for job in seen.under_way:
        total = job.rows_total if job.rows_total is not None else job.rows
        known = job.rows_done is not None and total is not None
        progress = bar(job.rows_done or 0, total or 0) if known else job.state.value
        rows.append(
            [job.id, printable(f"{job.route}/{job.file}"), progress, span(seen.now - (job.submitted_at or seen.now))]
        )
    return Table(columns, rows)


def _doubts(doubts: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    yield Words(f"{count(len(doubts), 'job')} {'needs' if len(doubts) == 1 else 'need'} a decision:", "bold")
    for row in doubts[:SHOWN_AT_MOST]:
        yield Words(f"  {row['job']}  {printable(row['route'])}/{row['file']}  {row['code']}", "red")
    for code in sorted({row["code"] for row in doubts}):
        yield f"  {code}: {OUTCOMES[code].meaning}"
    if len(doubts) > SHOWN_AT_MOST:
        yield f"  and {len(doubts) - SHOWN_AT_MOST} more: bulkgpt-watchd jobs --state {doubts[0]['code']}"
    yield "  Look at the BulkGPT dashboard whether a task for the file exists, then:"
    job = doubts[0]["job"] if len(doubts) == 1 else "JOB"
    yield f"    bulkgpt-watchd resolve {job} --task-id ID | --not-submitted | --abandon"
