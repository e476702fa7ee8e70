"""`bulkgpt-watchd submit`: copy files into a route's inbox, each whole at once, and wait for what becomes of them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.options import config_option, duration, examples, json_option, load_settings
from bulkgpt_watchd.cli.state import no_route
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken
from bulkgpt_watchd.core.exit_codes import NO_SUCH, REFUSED
from bulkgpt_watchd.core.names import OURS, TEMP_SUFFIX, insert_before_suffix, printable, render_marker_name

if TYPE_CHECKING:
    from bulkgpt_watchd.cli.following import Put
    from bulkgpt_watchd.config import Route, Settings

COPY_BYTES = 1 << 20
"""Copied in blocks of 1 MiB: large enough that calls cost nothing, small enough for memory."""


@click.command(
    epilog=examples(
        "bulkgpt-watchd submit orders.csv --route leads",
        "bulkgpt-watchd submit orders.csv --route leads --wait --timeout 2h     prints the path of the result",
    )
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@config_option
@click.option("--route", required=True, metavar="R", help="The route whose inbox they go to.")
@click.option("--wait", "waits", is_flag=True, help="Stay until each has ended, and print the path of each result.")
@click.option("--timeout", type=duration, metavar="2h", help="With --wait: the longest time to wait.")
@json_option
def submit(files: tuple[str, ...], route: str, waits: bool, timeout: float | None, as_json: bool) -> int:
    """
    Copy files into a route's inbox; the given ones stay as they are.

    Each appears there whole, at once. Where its name is taken it gets another one, and is told. --wait ends with 0 when
    all are done, 10 when some failed, 11 when time ran out.
    """
    if timeout is not None and not waits:
        raise click.UsageError("--timeout goes with --wait")
    from bulkgpt_watchd.cli.following import Following

    settings = load_settings()
    chosen = _route(settings, route)
    following = Following(settings, chosen, timeout, is_quiet=as_json)
    following.begin(must_see=waits)
    for file in files:
        _judge(file, chosen)
    puts = []
    for file in files:
        puts.append(_put(file, chosen, following.newest()))
        if not as_json:
            renamed = "" if puts[-1].name == os.path.basename(file) else " (its name was taken)"
            click.echo(f"{printable(file)} stands in {printable(str(puts[-1].path))}{renamed}", err=waits)
    notice = following.tell_hint()
    if waits:
        code, rows = following.until_ended(puts)
    else:
        code, rows = 0, [None] * len(puts)
    if as_json:
        click.echo(json.dumps(_content(puts, rows, notice)))
    return code


def _content(puts: list[Put], rows: list[dict[str, Any] | None], notice: str | None) -> dict[str, Any]:
    listed = [
        {"source": printable(put.source), "path": printable(str(put.path)), "job": row}
        for put, row in zip(puts, rows, strict=True)
    ]
    return {"files": listed, "notice": notice}


def _route(settings: Settings, name: str) -> Route:
    for route in settings.routes:
        if route.name == name:
            return route
    raise no_route(name, (route.name for route in settings.routes))


def _judge(file: str, route: Route) -> None:
    """
    Refuse what would lie in the inbox for nothing, before the first file is copied.

    Errors: Ended.
    """
    from bulkgpt_watchd.adapters.folders.look import is_meant

    name = os.path.basename(file)
    with _source(file):
        pass
    if not is_meant(name, route.match):
        patterns = " ".join(route.match)
        raise Ended(f"route {route.name} does not take the name {printable(name)}, only {patterns}", REFUSED)
    if os.path.realpath(os.path.dirname(file) or ".") == os.path.realpath(route.inbox):
        raise Ended(f"{printable(file)} stands in the inbox of route {route.name} already", REFUSED)


def _source(file: str) -> BinaryIO:
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Ended(f"{printable(file)} cannot be read: {(error.strerror or '').lower()}", NO_SUCH) from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise Ended(f"{printable(file)} is not a regular file", NO_SUCH)
    return open(opened, "rb")


def _put(file: str, route: Route, after: int) -> Put:
    """
    Copy one file into the inbox: under a dot-name, on disk, then renamed without replacing; its marker last.

    Errors: Ended: the inbox cannot be written to.
    """
    from bulkgpt_watchd.adapters.folders import LocalFolders
    from bulkgpt_watchd.cli.following import Put

    folders, hidden = LocalFolders(), f"{OURS}-submit-{secrets.token_hex(8)}{TEMP_SUFFIX}"
    try:
        has_inodes = not folders.mount_of(route.inbox).is_network
        with _source(file) as source:
            target = folders.create(route.inbox, hidden, None, None)
            try:
                shutil.copyfileobj(source, target, COPY_BYTES)
                inode = _open_to_group(target, route.inbox)
                folders.finish(target, route.inbox)
                name = _publish(folders, hidden, file, route)
            except BaseException:
                target.close()
                folders.remove(route.inbox / hidden)
                raise
    except (DiskTrouble, InUse) as error:
        raise Ended(f"{printable(file)} cannot be put there: {error}", REFUSED) from None
    except OSError as error:
        raise Ended(f"{printable(file)} cannot be copied: {error.strerror or error}", REFUSED) from None
    return Put(file, route.inbox, name, inode if has_inodes else None, after)


def _publish(folders: Any, hidden: str, file: str, route: Route) -> str:
    for name in _names(os.path.basename(file)):
        with suppress(NameTaken):
            folders.publish(route.inbox, hidden, name)
            if route.ready.done_file is not None:
                marker = render_marker_name(route.ready.done_file, name)
                with suppress(NameTaken):  # an older one tells the same
                    folders.write_whole(route.inbox, marker, b"", replace=False)
            return name
    raise AssertionError("names do not end")


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (insert_before_suffix(name, f"-{number}") for number in numbers(2))


def _open_to_group(target: BinaryIO, inbox: Path) -> int:
    """Let the daemon read it, where the inbox's group is how it reaches files; give the inode."""
    found = os.fstat(target.fileno())
    if found.st_gid == os.stat(inbox).st_gid:
        os.fchmod(target.fileno(), stat.S_IMODE(found.st_mode) | stat.S_IRGRP)
    return found.st_ino
