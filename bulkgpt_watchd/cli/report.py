"""`bulkgpt-watchd report`: what was sent and paid, day by day, to hold against the invoice."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from bulkgpt_watchd.cli.options import config_option, duration, examples, json_option, load_place
from bulkgpt_watchd.cli.screen import Block, Column, Table, Words, show
from bulkgpt_watchd.cli.state import no_route, open_state
from bulkgpt_watchd.cli.words import count
from bulkgpt_watchd.core.ledger import AMOUNTS, Line, day_of
from bulkgpt_watchd.core.names import printable

TITLES = ("FILES", "ROWS", "GOOD", "FAILED", "REFUSED", "IN DOUBT")


@click.command(
    epilog=examples(
        "bulkgpt-watchd report --since 7d",
        "bulkgpt-watchd report --since 90d --csv > report.csv",
        "bulkgpt-watchd report --json | jq .totals.accepted_rows",
    )
)
@config_option
@click.option("--since", type=duration, default="30d", show_default=True, metavar="30d", help="Days since so long ago.")
@click.option("--route", metavar="R", help="Only of this route.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: a line for each day, route and workflow.")
@json_option
def report(since: float, route: str | None, as_csv: bool, as_json: bool) -> None:
    """
    Show what was sent and paid per UTC day and route, to hold against BulkGPT's invoice.

    A file counts on the day on which it was sent. Works without a running daemon, and for jobs that are forgotten.
    """
    if as_csv and as_json:
        raise click.UsageError("choose one of --csv and --json")
    first = day_of(max(time.time() - since, 0.0))
    with open_state(load_place()) as opened:
        lines, names = opened.ledger(first), opened.names()
    named = [replace(line, route=names.get(line.route, line.route)) for line in lines]
    named.sort(key=lambda line: (line.day, line.route, line.workflow_id))
    if route is not None:
        known = {*names.values(), *(line.route for line in named)}
        if route not in known:
            raise no_route(route, known)
        named = [line for line in named if line.route == route]
    if as_csv:
        click.echo(_csv(named), nl=False)
    elif as_json:
        click.echo(json.dumps(_content(named, first)))
    else:
        show(_screen(named, first))


def _csv(lines: Sequence[Line]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["day", "route", "workflow_id", *AMOUNTS])
    writer.writerows([line.day, printable(line.route), line.workflow_id, *line.amounts] for line in lines)
    return text.getvalue()


def _content(lines: Sequence[Line], first: str) -> dict[str, Any]:
    total = _sum(lines)
    return {
        "schema": 1,
        "since": first,
        "rows": [asdict(line) for line in lines],
        "totals": {name: getattr(total, name) for name in AMOUNTS},
        "may_be_billed": {"files": total.doubt_files, "rows": total.doubt_rows},
    }


def _sum(lines: Sequence[Line], day: str = "", route: str = "") -> Line:
    return Line(day, route, "", *map(sum, zip(*(line.amounts for line in lines), strict=True)))


def _screen(lines: Sequence[Line], first: str) -> Iterator[Block]:
    if not lines:
        yield f"nothing was sent since {first} (UTC)"
        return
    places = dict.fromkeys((line.day, line.route) for line in lines)
    sums = [_sum([line for line in lines if (line.day, line.route) == place], *place) for place in places]
    columns = [Column("DAY (UTC)"), Column("ROUTE"), *(Column(title, is_number=True) for title in TITLES)]
    total = _sum(lines, "total")
    yield Table(columns, [_cells(line) for line in (*sums, total)])
    yield ""
    yield "FILES and ROWS were accepted, and so billed; GOOD and FAILED are rows of results that were delivered."
    if total.doubt_files:
        rows = f" with {count(total.doubt_rows, 'row')}" if total.doubt_rows else ", whose rows are not known,"
        told = f"{count(total.doubt_files, 'file')}{rows} may be billed too, nobody knows"
        yield Words(f"{told}. See: bulkgpt-watchd jobs --state submission_unknown", "yellow")
    under_way = total.submitted_files - total.accepted_files - total.refused_files - total.doubt_files
    if under_way:
        yield f"{count(under_way, 'file')} being sent just now."


def _cells(line: Line) -> list[str]:
    numbers = (line.accepted_files, line.accepted_rows, line.rows_ok, line.rows_failed)
    return [
        line.day,
        printable(line.route),
        *(f"{number:,}" for number in (*numbers, line.refused_files, line.doubt_files)),
    ]
