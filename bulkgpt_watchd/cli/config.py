"""Commands about the configuration: check it, and show what can be in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # not at run time: other commands must not pay for pydantic
    from bulkgpt_watchd.config import Mistake

CONFIG_WRONG = 78
"""Exit code (contract: commands; EX_CONFIG of sysexits.h)."""

EXCERPT_WIDTH = 100
"""Letters of a source line that are shown; a terminal of 120 columns holds them with the line number."""

SECRET_KEYS = ("api_key", "api_key_file", "key", "proxy", "token", "secret", "password")
"""Keys, misspelt ones included, whose value is not shown."""

_KEY = re.compile(r"""([\w-]+)["']?\s*:\s*""")
_LONG_RUN = re.compile(r"[\w+=.~-]{24,}")  # may be an API key on a wrong line; paths have a slash now and then


@click.group()
def config() -> None:
    """Check the configuration, or show what can be in it."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-c",
    "--config",
    "config_file",
    envvar="BULKGPT_WATCHD_CONFIG",
    type=click.Path(path_type=Path),
    help="The configuration file.  [default: /etc/bulkgpt-watchd/config.yaml]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the mistakes as JSON.")
@click.pass_context
def check(context: click.Context, file: Path | None, config_file: Path | None, as_json: bool) -> None:
    """
    Tell every mistake of the configuration at once; 78 if there is one.

    The API key and the folders are looked at too. FILE is the same as --config FILE.
    """
    from bulkgpt_watchd.config import ConfigInvalid, check_folders, default_path, load, read_api_key
    from bulkgpt_watchd.core.names import printable

    path = file or config_file or default_path(os.environ)
    mistakes: list[Mistake] = []
    warnings: tuple[str, ...] = ()
    routes = 0
    try:
        settings = load(path)
        routes = len(settings.routes)
        mistakes += check_folders(settings)
        warnings = read_api_key(settings, os.environ).warnings
    except ConfigInvalid as invalid:
        mistakes += invalid.mistakes
    if as_json:
        facts = [{**asdict(mistake), "file": printable(str(mistake.file))} for mistake in mistakes]
        click.echo(json.dumps({"ok": not mistakes, "mistakes": facts, "warnings": warnings}))
    else:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        lines_of = cache(_lines)
        for mistake in mistakes:
            click.echo("\n".join([str(mistake), *_excerpt(mistake, lines_of)]), err=True)
        if mistakes:
            click.echo(_count(len(mistakes), "mistake"), err=True)
        else:
            click.echo(f"{printable(str(path))}: ok, {_count(routes, 'route')}")
    if mistakes:
        context.exit(CONFIG_WRONG)


@config.command()
def example() -> None:
    """Print a configuration with every key, its default and what it is for."""
    from bulkgpt_watchd.config.example import example as write_example

    click.echo(write_example(), nl=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _excerpt(mistake: Mistake, lines_of: Callable[[Path], list[str]]) -> list[str]:
    """Show the line of a mistake, with a mark under its column."""
    lines = lines_of(mistake.file) if mistake.line else []
    if mistake.line is None or mistake.column is None or mistake.line > len(lines):
        return []
    line = "".join(letter if letter.isprintable() else " " for letter in lines[mistake.line - 1])
    caret = len(_without_secrets(line[: mistake.column - 1]))
    start = 0 if caret < EXCERPT_WIDTH else caret - EXCERPT_WIDTH // 2
    text = _without_secrets(line)[start : start + EXCERPT_WIDTH]
    return [f"  {mistake.line} | {text}", f"  {' ' * len(str(mistake.line))} | {' ' * (caret - start)}^"]


def _lines(file: Path) -> list[str]:
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as source:
        return re.split("\r\n|[\n\r\x85\u2028\u2029]", source.read())  # what ends a line for PyYAML


def _without_secrets(line: str) -> str:
    for found in _KEY.finditer(line):
        if get_close_matches(found[1].lower(), SECRET_KEYS, n=1, cutoff=0.65):
            line = line[: found.end()] + "…" * (found.end() < len(line))
            break
    return _LONG_RUN.sub("…", line)
