"""Commands about the configuration: check it, and show what can be in it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkgpt_watchd.cli.ending import CONFIG_WRONG
from bulkgpt_watchd.cli.options import config_option, config_path, examples, json_option
from bulkgpt_watchd.cli.words import count

if TYPE_CHECKING:  # not at run time: other commands must not pay for pydantic
    from bulkgpt_watchd.config import Mistake


@click.group(epilog=examples("bulkgpt-watchd config example > config.yaml", "bulkgpt-watchd config check config.yaml"))
@config_option
def config() -> None:
    """Check the configuration, or show what can be in it."""


@config.command(epilog=examples("bulkgpt-watchd config check", "bulkgpt-watchd config check config.yaml --json"))
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
@click.pass_context
def check(context: click.Context, file: Path | None, as_json: bool) -> None:
    """
    Tell every mistake of the configuration at once; 78 if there is one.

    The files in routes.d, the API key and the folders are looked at too. FILE is the same as --config FILE.
    """
    from bulkgpt_watchd.cli.mistakes import told
    from bulkgpt_watchd.config import ConfigInvalid, check_folders, check_groups, load, overlooked, read_api_key
    from bulkgpt_watchd.core.names import printable

    path = file or config_path()
    mistakes: list[Mistake] = []
    warnings: list[str] = []
    files = [path]
    routes = 0
    try:
        settings = load(path)
        files += settings.document.included
        routes = len(settings.routes)
        warnings += [f"{printable(str(it))} is not read: name it .yaml" for it in overlooked(settings.document)]
        mistakes += check_folders(settings) + check_groups(settings)
        warnings += read_api_key(settings, os.environ).warnings
    except ConfigInvalid as invalid:
        mistakes += invalid.mistakes
    if as_json:
        facts = [{**asdict(mistake), "file": printable(str(mistake.file))} for mistake in mistakes]
        names = [printable(str(file)) for file in files]
        told_all = {"ok": not mistakes, "files": names, "routes": routes, "mistakes": facts, "warnings": warnings}
        click.echo(json.dumps(told_all))
    else:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        if mistakes:
            click.echo(told(mistakes), err=True)
        else:
            beside = f", {count(len(files) - 1, 'file')} in routes.d" if len(files) > 1 else ""
            click.echo(f"{printable(str(path))}: ok, {count(routes, 'route')}{beside}")
    if mistakes:
        context.exit(CONFIG_WRONG)


@config.command(epilog=examples("bulkgpt-watchd config example > config.yaml"))
def example() -> None:
    """Print a configuration with every key, its default and what it is for."""
    from bulkgpt_watchd.config.example import example as write_example

    click.echo(write_example(), nl=False)
