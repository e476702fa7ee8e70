"""`bulkgpt-watchd jobs`: list jobs, and tell all about one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches

import click

from bulkgpt_watchd.cli.options import config_option, duration, examples, json_option, load_place
from bulkgpt_watchd.cli.screen import Block, Column, Table, Words, show
from bulkgpt_watchd.cli.state import find_job_or_file, no_route, open_state
from bulkgpt_watchd.cli.timeline import words
from bulkgpt_watchd.cli.words import local, span
from bulkgpt_watchd.core.job import SHOWN_AS, Job, State
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.ports import JournalEntry, Query
from bulkgpt_watchd.core.routes import named
from bulkgpt_watchd.core.shown import history, is_partial, row, rows_failed

SHOWN = tuple(dict.fromkeys(SHOWN_AS.values()))

STYLES = {"done": "green", "failed": "red", "withdrawn": "dim"}

WIDEST_LABEL = len("archive")


def _state(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or value in SHOWN or value in OUTCOMES:
        return value
    near = get_close_matches(value.lower(), [*SHOWN, *OUTCOMES], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise click.BadParameter(f"{hint}choose one of {', '.join(SHOWN)}, or a code: {', '.join(OUTCOMES)}")


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "bulkgpt-watchd jobs --state failed --since 1d",
        "bulkgpt-watchd jobs --state submission_unknown",
        "bulkgpt-watchd jobs --json | jq -r '.[] | select(.rows_failed > 0) | .result'",
        "bulkgpt-watchd jobs show orders.csv",
    ),
)
@config_option
@click.option("--route", metavar="R", help="Only of this route.")
@click.option("--state", metavar="S", callback=_state, help=f"Only {', '.join(SHOWN)}, or failed with this code.")
@click.option("--since", type=duration, metavar="1d", help="Only those that changed since so long ago.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@json_option
@click.pass_context
def jobs(
    context: click.Context,
    route: str | None,
    state: str | None,
    since: float | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """
    List jobs in the order in which they came: the newest is the last.

    With --json an array of objects, in the same order.
    """
    if context.invoked_subcommand is not None:
        return
    now = time.time()
    query = Query(
        states=tuple(one for one, shown in SHOWN_AS.items() if shown == state) if state in SHOWN else None,
        codes=(state,) if state in OUTCOMES else None,
        since=None if since is None else now - since,
        limit=limit,
    )
    with open_state(load_place()) as opened:
        names = opened.names()
        keys = None if route is None else tuple(key for key in {*names, route} if names.get(key, key) == route)
        found = [named(job, names) for job in reversed(opened.query(replace(query, routes=keys)))]
        known = {names.get(key, key) for key, _ in opened.counts()} | set(names.values())
    if route is not None and route not in known:
        raise no_route(route, known)
    if as_json:
        for number, job in enumerate(found):  # written one by one: a hundred thousand are 100 MB of text
            sys.stdout.write((",\n " if number else "[") + json.dumps(row(job)))
        click.echo("]" if found else "[]")
    elif found:
        show([_table(found, now)])
    else:
        click.echo("no such jobs", err=True)


def _table(found: list[Job], now: float) -> Table:
    columns = (
        Column("JOB"),
        Column("ROUTE"),
        Column("FILE", is_long=True),
        Column("STATE"),
        Column("ROWS", is_number=True),
        Column("CHANGED", is_number=True),
        Column("NOTE", is_long=True),
    )
    rows = [
        (
            job.id,
            printable(job.route),
            printable(job.file),
            Words(SHOWN_AS[job.state], STYLES.get(SHOWN_AS[job.state], "")),
            _rows(job),
            f"{span(now - job.changed_at)} ago",
            printable(_note(job)),
        )
        for job in found
    ]
    return Table(columns, rows)


def _rows(job: Job) -> str:
    total = job.rows_total if job.rows_total is not None else job.rows
    if job.rows_done is not None and job.state is State.SUBMITTED:
        return f"{job.rows_done}/{total if total is not None else '?'}"
    return "" if total is None else str(total)


def _note(job: Job) -> str:
    if job.superseded_by is not None:
        return f"{job.code}; dropped again as {job.superseded_by}"
    if job.code is not None and job.state in {State.FAILED, State.FAILING}:
        return f"{job.code}, closed" if job.is_closed else job.code
    if is_partial(job):
        return f"partial: {rows_failed(job)} rows failed"
    return job.waits_for or ""


@jobs.command(
    name="show",
    short_help="Tell all about one job.",
    epilog=examples(
        "bulkgpt-watchd jobs show h3k9p2mv",
        "bulkgpt-watchd jobs show h3k             as many characters as tell it from others",
        "bulkgpt-watchd jobs show orders.csv      the latest job of that file",
    ),
)
@click.argument("job")
@config_option
@json_option
@click.pass_context
def show_job(context: click.Context, job: str, as_json: bool) -> None:
    """
    Tell all about one job: what it is, why, what to do, and what happened.

    JOB is an ID, the beginning of one, or the name of a file below the inbox.
    """
    with open_state(load_place()) as opened:
        found = named(find_job_or_file(opened, job), opened.names())
        journal = opened.journal(found.id)
    if as_json or (context.parent and context.parent.params["as_json"]):
        click.echo(json.dumps({**row(found), "journal": history(journal)}))
    else:
        show(_page(found, journal))


def _page(job: Job, journal: list[JournalEntry]) -> Iterator[Block]:
    shown = row(job)
    state = f"{shown['state']} {job.code}" if job.state is State.FAILED else shown["state"]
    yield Words(f"{job.id}  {printable(job.route)}/{shown['file']}  {state}", f"bold {STYLES.get(shown['state'], '')}")
    facts = {
        "why": job.message if job.code else None,
        "waits": job.waits_for,
        "do": shown["what_to_do"] if not (job.is_closed or job.superseded_by) else None,
        "closed": "by a person; nothing more is done" if job.is_closed else None,
        "now": job.superseded_by and f"job {job.superseded_by}: the file was dropped again",
        "other": job.related_job and f"job {job.related_job}",
        "task": ", ".join(job.task_ids),
        "rows": _row_words(job),
        "size": f"{job.size_bytes:,} bytes" + (f"  sha256 {job.sha256}" if job.sha256 else ""),
        "inbox": job.inbox,
        "result": shown["result"],
        "archive": shown["archive"],
        "error": shown["error"],
    }
    for label, text in facts.items():
        if text:
            yield f"{label:{WIDEST_LABEL}}  {printable(str(text))}"
    yield ""
    yield f"{local(job.created_at)}  found in the inbox"
    for entry in journal:
        yield f"{local(entry.at)}  {words(entry.event, entry.facts)}"


def _row_words(job: Job) -> str | None:
    numbers = {"in": job.rows, "done": job.rows_done, "good": job.rows_ok, "failed": rows_failed(job)}
    numbers["in the result"] = job.rows_out
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number is not None) or None
