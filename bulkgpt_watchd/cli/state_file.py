"""`bulkgpt-watchd state`: check the state file, copy it, and forget what ended long ago."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkgpt_watchd.cli.control import act, reach
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.options import config_option, duration, examples, json_option, load_place
from bulkgpt_watchd.cli.screen import Block, Words, show
from bulkgpt_watchd.cli.state import open_state, state_path
from bulkgpt_watchd.cli.words import count, local, span
from bulkgpt_watchd.core.errors import NameTaken
from bulkgpt_watchd.core.exit_codes import NOT_RUNNING, REFUSED, STATE_TROUBLE
from bulkgpt_watchd.core.job import SHOWN_AS
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.core.shown import rfc3339

if TYPE_CHECKING:
    from bulkgpt_watchd.adapters.sqlite_copy import Found
    from bulkgpt_watchd.config import Place, Route


@click.group(epilog=examples("bulkgpt-watchd state check", "bulkgpt-watchd state backup /var/backups/state.db"))
@config_option
def state() -> None:
    """Check the state file, copy it, and forget what ended long ago."""


@state.command(
    short_help="Read the whole state, and tell whether it is sound.", epilog=examples("bulkgpt-watchd state check")
)
@config_option
@json_option
def check(as_json: bool) -> int:
    """
    Read the whole state, and tell whether it is sound and what it holds.

    Ends with 74 when it is damaged. The daemon may run meanwhile.
    """
    from bulkgpt_watchd.adapters.sqlite_copy import look_through

    place = load_place()
    found = look_through(state_path(place))
    holds = _holds(place) if found.schema == found.newest and not found.faults else {}
    if as_json:
        click.echo(json.dumps(_as_json(place.state.path, found, holds)))
    else:
        show(_page(place.state.path, found, holds))
    return STATE_TROUBLE if found.faults else 0


def _holds(place: Place) -> dict[str, Any]:
    with open_state(place) as opened:
        jobs: dict[str, int] = {}
        for (_, step), number in opened.counts().items():
            jobs[SHOWN_AS[step]] = jobs.get(SHOWN_AS[step], 0) + number
        days = sorted({line.day for line in opened.ledger("")})
    return {"jobs": jobs, "ledger": {"days": len(days), "since": days[0] if days else None}}


def _as_json(path: Path, found: Found, holds: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": printable(str(path)),
        "ok": not found.faults,
        "faults": list(found.faults),
        "uuid": found.uuid,
        "created_at": rfc3339(found.created_at),
        "version": found.schema,
        "bytes": found.bytes,
        "log_bytes": found.log_bytes,
        "free_bytes": found.free_bytes,
        **holds,
    }


def _page(path: Path, found: Found, holds: dict[str, Any]) -> Iterator[Block]:
    if found.faults:
        from bulkgpt_watchd.adapters.sqlite_file import RESTORE

        yield Words(f"{printable(str(path))} is DAMAGED:", "bold red")
        yield from (f"  {fault}" for fault in found.faults)
        yield f"Stop the daemon. {RESTORE}."
    else:
        yield Words(f"{printable(str(path))} is sound", "green")
    log = f", its log {found.log_bytes:,}" if found.log_bytes else ""
    yield f"size     {found.bytes:,} bytes{log}; {found.free_bytes:,} are free inside it and used again"
    upgrade = "" if found.schema == found.newest else f"; this version writes {found.newest}, and upgrades at its start"
    yield f"schema   {found.schema}{upgrade}"
    yield f"identity {found.uuid}, since {local(found.created_at)}"
    if holds:
        jobs = ", ".join(f"{number:,} {state}" for state, number in sorted(holds["jobs"].items())) or "none"
        yield f"jobs     {jobs}"
        ledger = holds["ledger"]
        yield f"ledger   {count(ledger['days'], 'day')}" + (f" since {ledger['since']}" if ledger["since"] else "")


@state.command(
    short_help="Copy the state to FILE, beside a running daemon too.",
    epilog=examples('bulkgpt-watchd state backup "/var/backups/bulkgpt-watchd-$(date +%F).db"'),
)
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@json_option
def backup(file: Path, as_json: bool) -> None:
    """
    Copy the state to FILE, as it is at one instant; the daemon goes on meanwhile.

    FILE must not be there; it appears whole, and can be read by its owner and group.
    """
    from bulkgpt_watchd.adapters.sqlite_copy import back_up

    try:
        size = back_up(state_path(load_place()), file.absolute())
    except NameTaken as error:
        raise Ended(str(error), REFUSED) from None
    if as_json:
        click.echo(json.dumps({"file": printable(str(file.absolute())), "bytes": size}))
    else:
        click.echo(f"copied to {printable(str(file))}: {size:,} bytes")


@state.command(
    short_help="Forget jobs that ended long ago.",
    epilog=examples(
        "bulkgpt-watchd state prune --dry-run",
        "bulkgpt-watchd state prune --older-than 90d",
    ),
)
@config_option
@click.option("--older-than", type=duration, metavar="90d", help="In place of `keep.history` of each route.")
@click.option("--dry-run", is_flag=True, help="Only count what would be forgotten.")
@json_option
def prune(older_than: float | None, dry_run: bool, as_json: bool) -> None:
    """
    Forget jobs that ended long ago, as the daemon does by itself a few times a day.

    Kept are open questions, failed jobs whose file stands in the error folder, what is younger than `duplicate_window`
    or has an original that `keep.archive` is to remove, and the ledger that `report` shows.
    """
    place = load_place()
    with open_state(place) as opened:
        facts = opened.facts()
    try:
        reach(place, facts).close()
    except Ended as ended:
        if ended.exit_code != NOT_RUNNING:
            raise
        answer = asyncio.run(_prune(place, facts, older_than, is_trial=dry_run))
    else:
        answer = _prune_beside(place, older_than, is_trial=dry_run)
    if as_json:
        click.echo(json.dumps(answer))
        return
    total = sum(answer["forgotten"].values())
    of_what = ", ".join(f"{number:,} {state}" for state, number in sorted(answer["forgotten"].items()))
    age = "`keep.history`" if older_than is None else span(older_than)
    head = f"{'would forget' if dry_run else 'forgot'} {count(total, 'job')} older than {age}"
    click.echo(head + (f": {of_what}" if of_what else ""))
    for why, number in sorted(answer["kept"].items()):
        click.echo(f"kept: {count(number, 'job')} {why}")


def _prune_beside(place: Place, older_than: float | None, *, is_trial: bool) -> dict[str, Any]:
    """Ask the daemon, which answers after so many jobs, until nothing is left; what is kept it tells each time."""
    forgotten, more = Counter[str](), True
    while more:
        answer = act(place, "prune", older_than_s=older_than, dry_run=is_trial)
        forgotten.update(answer["forgotten"])
        if more := answer.get("more", False):  # one that was not restarted yet tells none
            click.echo(f"forgot {count(forgotten.total(), 'job')} so far", err=True)
    return {"forgotten": dict(forgotten), "kept": answer["kept"]}


async def _prune(place: Place, facts: dict[str, Any], older_than: float | None, *, is_trial: bool) -> dict[str, Any]:
    """Do what the daemon would do, while none can start: the lock is ours."""
    from bulkgpt_watchd.adapters.folders import LocalFolders
    from bulkgpt_watchd.adapters.sqlite import SqliteStore
    from bulkgpt_watchd.core.job import Job
    from bulkgpt_watchd.core.routes import EVERY_ROUTE
    from bulkgpt_watchd.scheduler.keeping import Pruned, Pruner, span_of
    from bulkgpt_watchd.service.wiring import parse_route

    routes = {key: parse_route({**data, "name": key}) for key, data in (facts.get("routes") or {}).items()}

    async def stands(job: Job) -> bool:
        return await asyncio.to_thread(_stands, job.error_path, routes.get(job.route))

    path = place.state.path
    fstype = LocalFolders().mount_of(path.parent).fstype
    store = await SqliteStore.open(path, fstype=fstype, now=time.time, new_uuid=lambda: "")
    try:
        pruner, pruned = Pruner(store, store.forget, stands, asyncio.sleep), Pruned()
        for key in sorted({key for key, _ in await store.counts()}):
            if (old := span_of(routes.get(key), older_than, time.time())) is not None:
                await pruner.prune(key, old, pruned, is_trial=is_trial)
        if not is_trial:
            who = f"{getpass.getuser()} (uid {os.getuid()})"
            detail = f"{pruned.forgotten.total()} jobs, without a daemon"
            await store.audit(time.time(), who, "state prune", EVERY_ROUTE, detail)
    finally:
        await store.close()
    return {"forgotten": dict(pruned.forgotten), "kept": dict(pruned.kept)}


def _stands(error_path: str | None, route: Route | None) -> bool:
    """Look for a failed job's file; where its folder is not there, as a share that is not mounted, it may be."""
    if error_path is None:
        return False
    return route is None or not os.path.isdir(route.error) or os.path.lexists(error_path)
