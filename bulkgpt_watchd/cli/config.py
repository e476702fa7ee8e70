"""Commands about the configuration: check it, show it, and show what can be in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkgpt_watchd.cli.dropin import systemd
from bulkgpt_watchd.cli.options import config_option, config_path, examples, json_option, load_settings
from bulkgpt_watchd.cli.words import count
from bulkgpt_watchd.core.exit_codes import CONFIG_WRONG

if TYPE_CHECKING:  # not at run time: other commands must not pay for pydantic
    from bulkgpt_watchd.config import Mistake


@click.group(epilog=examples("bulkgpt-watchd config example > config.yaml", "bulkgpt-watchd config check config.yaml"))
@config_option
def config() -> None:
    """Check or show the configuration, and what can be in it."""


@config.command(
    short_help="Tell every mistake of the configuration.",
    epilog=examples("bulkgpt-watchd config check", "bulkgpt-watchd config check config.yaml --json"),
)
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
    from bulkgpt_watchd.config import (
        ConfigInvalid,
        check_folders,
        check_groups,
        load,
        overlooked,
        read_api_key,
        read_token,
    )
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
        token = read_token(settings.document, settings.web)
        warnings += () if token is None else token.warnings
        warnings += read_api_key(settings, os.environ).warnings
    except ConfigInvalid as invalid:
        mistakes += invalid.mistakes
    if as_json:
        facts = [mistake.as_data() for mistake in mistakes]
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


@config.command(
    short_help="Print it as the daemon takes it.",
    epilog=examples("bulkgpt-watchd config show", "bulkgpt-watchd config show config.yaml --json"),
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
def show(file: Path | None, as_json: bool) -> None:
    """
    Print the configuration as the daemon takes it: with every default, and the folders of each route.

    The key is not in it: a comment says where it comes from. FILE is the same as --config FILE.
    """
    from bulkgpt_watchd.config import ConfigInvalid, read_api_key
    from bulkgpt_watchd.config.effective import as_yaml, effective
    from bulkgpt_watchd.core.names import printable

    settings = load_settings(file)
    files = [printable(str(it)) for it in (settings.document.file, *settings.document.included)]
    source = fault = None
    try:
        source = read_api_key(settings, os.environ).source
    except ConfigInvalid as invalid:
        fault = invalid.mistakes[0].message
    values = effective(settings)
    if as_json:
        click.echo(json.dumps({"files": files, "api_key": {"source": source, "fault": fault}, **values}))
        return
    click.echo(f"# {', '.join(files)}, with every default; `folder` and `defaults` are resolved.")
    click.echo(f"# API key: from {source}" if source else f"# API key: {fault}")
    click.echo("\n".join(as_yaml(values)))


@config.command(epilog=examples("bulkgpt-watchd config schema > config.schema.json"))
@click.option("--routes", "of_included", is_flag=True, help="Of a file in routes.d instead.")
def schema(of_included: bool) -> None:
    """
    Print the JSON Schema of the configuration, for editors.

    In an editor with the YAML language server, this as first line of config.yaml gives completion and marks mistakes:
    `# yaml-language-server: $schema=config.schema.json`.
    """
    from bulkgpt_watchd.config import schema as written

    click.echo(json.dumps(written.schema_of_included() if of_included else written.schema(), indent=2))


@config.command(epilog=examples("bulkgpt-watchd config example > config.yaml"))
def example() -> None:
    """Print a configuration with every key, its default and what it is for."""
    from bulkgpt_watchd.config.example import example as write_example

    click.echo(write_example(), nl=False)


config.add_command(systemd)
