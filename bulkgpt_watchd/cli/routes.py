"""What a person says about routes and the daemon itself: pause, resume, scan, adopt, reload."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkgpt_watchd.cli.control import act, is_running
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.options import config_option, duration, examples, json_option, load_place
from bulkgpt_watchd.cli.words import at_s, local
from bulkgpt_watchd.core.exit_codes import NOT_RUNNING
from bulkgpt_watchd.core.names import printable

if TYPE_CHECKING:
    from bulkgpt_watchd.config import Place


def _show(answer: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(answer) if as_json else text)


def _named(route: str | None) -> str:
    return "all routes" if route is None else f"route {printable(route)}"


@click.command(
    epilog=examples(
        "bulkgpt-watchd pause",
        'bulkgpt-watchd pause leads --for 4h --reason "month end"',
    )
)
@click.argument("route", required=False)
@config_option
@click.option("--for", "for_s", type=duration, metavar="4h", help="Go on by itself after so long.")
@click.option("--reason", metavar="TEXT", help="Shown in `status`.")
@json_option
def pause(route: str | None, for_s: float | None, reason: str | None, as_json: bool) -> None:
    """
    Take and submit nothing more, in one route or in all; what was submitted goes on.

    It lasts until `resume`, also over a restart, or as long as --for says.
    """
    answer = act(load_place(), "pause", route=route, for_s=for_s, reason=reason)
    until = f"until {local(at_s(answer['until']))}" if answer["until"] else "until `bulkgpt-watchd resume`"
    _show(answer, f"paused: {_named(route)}, {until}", as_json=as_json)


@click.command(
    epilog=examples(
        "bulkgpt-watchd resume",
        "bulkgpt-watchd resume leads",
        "bulkgpt-watchd resume leads --over-budget     today's budget of this route does not count any more",
    )
)
@click.argument("route", required=False)
@config_option
@click.option(
    "--over-budget", is_flag=True, help="Let go today's budget, until midnight UTC; without a route all of them."
)
@json_option
def resume(route: str | None, over_budget: bool, as_json: bool) -> None:
    """
    End a pause; without a route that of all, and let one submit try a gate that is shut.

    A route that was paused for itself, as for a backlog at its first start, is resumed by its name. With --over-budget
    pauses and gate stay as they are.
    """
    answer = act(load_place(), "resume", route=route, over_budget=over_budget)
    until = f", over budget until {local(at_s(answer['over_budget_until']))}" if over_budget else ""
    is_all_paused = route is not None and not over_budget and route in (answer.get("still_paused") or {})
    told = "is paused with all others; to go on: bulkgpt-watchd resume"
    _show(answer, f"{_named(route)} {told}" if is_all_paused else f"going on: {_named(route)}{until}", as_json=as_json)
    if not as_json:
        for name, reason in (answer.get("still_paused") or {}).items():
            click.echo(f"still paused: {printable(name)}: {printable(reason)}", err=True)
        for name, reason in (answer.get("still_over_budget") or {}).items():
            click.echo(f"still waiting: {printable(name)}: {printable(reason)}", err=True)


@click.command(epilog=examples("bulkgpt-watchd scan", "bulkgpt-watchd scan leads"))
@click.argument("route", required=False)
@config_option
@json_option
def scan(route: str | None, as_json: bool) -> None:
    """Look at inboxes now, without waiting for `scan_every`."""
    answer = act(load_place(), "scan", route=route)
    _show(answer, f"looking at {', '.join(map(printable, answer['routes']))}", as_json=as_json)


@click.command(epilog=examples("bulkgpt-watchd adopt leads"))
@click.argument("route")
@config_option
@json_option
def adopt(route: str, as_json: bool) -> None:
    """
    Take over a route that belonged to another state, or whose folders moved to another mount.

    What stands in its work folder and may have been sent becomes a doubt; the rest goes on.
    """
    answer = act(load_place(), "adopt", route=route)
    _show(answer, f"adopted: {_named(route)}", as_json=as_json)


ELSEWHERE = (
    "no daemon has run with this `state.path` yet: one that was started with another listens beside that, and takes "
    "this one at a restart"
)
"""What may be true where nobody answers and there is no state: a path that was changed needs more than a reload."""


def _place_of_running() -> Place:
    """
    Say where the daemon is; systemd has told its unit's ExecReload, whatever became of the configuration.

    Errors: Misconfigured.
    """
    from bulkgpt_watchd.cli.mistakes import Misconfigured
    from bulkgpt_watchd.config import ControlSettings, Place, StateSettings

    try:
        return load_place()
    except Misconfigured:
        place = Place(StateSettings(), ControlSettings())
        if "RUNTIME_DIRECTORY" not in os.environ or not is_running(place, {}):
            raise
        return place


@click.command(epilog=examples("bulkgpt-watchd reload"))
@config_option
@json_option
def reload(as_json: bool) -> None:
    """Read the configuration again; a wrong one changes nothing and ends with 78."""
    place = _place_of_running()
    try:
        answer = act(place, "reload")
    except Ended as ended:
        if ended.exit_code == NOT_RUNNING and not os.path.lexists(place.state.path):
            raise Ended(f"{ended.message}; {ELSEWHERE}", NOT_RUNNING) from None
        if "mistakes" not in ended.facts:
            raise
        from bulkgpt_watchd.cli.mistakes import Misconfigured
        from bulkgpt_watchd.config import Mistake

        told = [Mistake(**{**mistake, "file": Path(mistake["file"])}) for mistake in ended.facts["mistakes"]]
        raise Misconfigured(told, stays="the old configuration stays:") from None
    _show(answer, f"reloaded; routes: {', '.join(map(printable, answer['routes']))}", as_json=as_json)
    if answer["needs_restart"] and not as_json:
        click.echo(f"takes effect only after a restart: {', '.join(answer['needs_restart'])}", err=True)
