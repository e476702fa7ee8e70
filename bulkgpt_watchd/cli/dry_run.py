"""`bulkgpt-watchd run --dry-run`: one look, in words or JSON; nothing is touched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bulkgpt_watchd.cli.screen import Block, Column, Table, Words, show
from bulkgpt_watchd.cli.words import count
from bulkgpt_watchd.core.exit_codes import FAILED
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.scheduler.preview import Preview, preview, totals

if TYPE_CHECKING:
    from bulkgpt_watchd.adapters.clock import SystemClock
    from bulkgpt_watchd.adapters.folders import LocalFolders
    from bulkgpt_watchd.adapters.sqlite_reader import StateReader
    from bulkgpt_watchd.config import Settings
    from bulkgpt_watchd.effects.outside import Runner

T = TypeVar("T")

STYLES = {"taken": "green", "refused": "red", "waits": "yellow", "ignored": "dim"}


@dataclass(frozen=True)
class Disk:
    """Be what a look needs: folders, clock and threads that a hung share cannot hold up."""

    folders: LocalFolders
    clock: SystemClock
    run: Runner


def dry_run(settings: Settings, *, as_json: bool) -> int:
    """Look at every route and tell what a start would do; give the exit code."""
    with ExitStack() as stack:
        known, is_readable = open_known(settings, stack)
        told = asyncio.run(_look(settings, known, is_readable=is_readable))
    if as_json:
        click.echo(json.dumps(_content(told)))
    else:
        show(_screen(told))
    return FAILED if any(one.is_wrong for one in told) else 0


def open_known(settings: Settings, stack: ExitStack) -> tuple[StateReader | None, bool]:
    """Open the state if there is one; say whether what it knows is known to us too."""
    from bulkgpt_watchd.adapters.sqlite_reader import StateReader
    from bulkgpt_watchd.core.errors import DiskTrouble

    try:
        os.lstat(settings.state.path)
    except FileNotFoundError:
        return None, True
    except OSError:
        return None, False
    with contextlib.suppress(DiskTrouble):
        return stack.enter_context(StateReader.open(settings.state.path)), True
    return None, False


async def _look(settings: Settings, known: StateReader | None, *, is_readable: bool) -> list[Preview]:
    from bulkgpt_watchd.adapters.clock import SystemClock
    from bulkgpt_watchd.adapters.folders import LocalFolders
    from bulkgpt_watchd.adapters.threads import RouteThreads

    threads = RouteThreads()

    def run(
        route: str, function: Callable[..., T], /, *args: Any, deadline_s: float | None = None, **named: Any
    ) -> Awaitable[T]:
        return threads.run(route, partial(function, *args, **named), deadline_s=deadline_s)

    try:
        disk = Disk(LocalFolders(), SystemClock(), run)
        return await preview(settings, disk, known, is_readable=is_readable)
    finally:
        threads.stop()


def _content(told: Sequence[Preview]) -> dict[str, Any]:
    return {
        "schema": 1,
        "ok": not any(one.is_wrong for one in told),
        "totals": totals(told),
        "routes": [
            {
                "name": one.route.name,
                "inbox": printable(str(one.route.inbox)),
                "available": one.reason is None,
                "reason": one.reason,
                "held": one.held,
                "notes": one.notes,
                "totals": totals([one]),
                "files": [
                    {
                        "file": printable(file.file),
                        "verdict": file.verdict,
                        "why": file.why or None,
                        "code": file.code,
                        "line": file.line,
                        "bytes": file.bytes,
                        "rows": file.rows,
                    }
                    for file in one.files
                ],
            }
            for one in told
        ],
    }


def _screen(told: Sequence[Preview]) -> Iterator[Block]:
    yield "One look at what is there; nothing is taken, sent, made or changed."
    for one in told:
        yield ""
        yield Words(f"{printable(one.route.name)}  {printable(str(one.route.inbox))}", "bold")
        if one.reason is not None:
            yield Words(f"  cannot be used: {printable(one.reason)}", "bold red")
        if one.held is not None:
            yield Words(f"  nothing would be taken now: {printable(one.held)}", "yellow")
        for note in one.notes:
            yield Words(f"  {printable(note)}", "yellow")
        if one.files:
            yield _table(one)
        elif one.reason is None:
            yield f"  no file matches {', '.join(one.route.match)}"
        if one.files and len(told) > 1:
            yield f"  {_sum(totals([one]))}"
    yield ""
    yield Words(f"In all: {_sum(totals(told))}", "bold")


def _table(one: Preview) -> Table:
    columns = (
        Column("WOULD BE"),
        Column("FILE", is_long=True),
        Column("ROWS", is_number=True),
        Column("WHY", is_long=True),
    )
    rows = [
        (
            Words(file.verdict, STYLES[file.verdict]),
            printable(file.file),
            "" if file.rows is None else f"{file.rows:,}",
            printable(f"{file.code}: {file.why}" if file.verdict == "refused" else file.why),
        )
        for file in one.files
    ]
    return Table(columns, rows, indent="  ")


def _sum(numbers: dict[str, dict[str, int]]) -> str:
    taken, waits, refused = numbers["taken"], numbers["waits"], numbers["refused"]
    parts = [f"{count(taken['files'], 'file')} with {count(taken['rows'], 'row')} to pay would be taken"]
    if waits["files"]:
        rows = f" with {count(waits['rows'], 'row')}" if waits["rows"] else ""
        parts.append(f"{count(waits['files'], 'file')}{rows} would wait")
    if refused["files"]:
        parts.append(f"{count(refused['files'], 'file')} would be refused")
    return ", ".join(parts)
