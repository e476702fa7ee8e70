"""Options that several commands have, and what they give."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:  # not at run time: `--help` must not pay for pydantic
    from bulkgpt_watchd.config import Place, Settings

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")

_KEY = "bulkgpt_watchd.config"
"""Where the context keeps the path: commands below a group share it, and the one given last wins."""


def _keep(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta[_KEY] = value


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    callback=_keep,
    expose_value=False,
    help="The configuration; otherwise $BULKGPT_WATCHD_CONFIG, or /etc/bulkgpt-watchd/config.yaml.",
)
"""Say which configuration; before the command and after it."""


def examples(*lines: str) -> str:
    """Give the end of a command's help: lines to copy."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, errors too.")


def duration(text: str) -> float:
    """
    Read a duration as the configuration has them: `200ms`, `5s`, `10m`, `2h`, `7d`, or seconds.

    Units: gives seconds.
    """
    from bulkgpt_watchd.config.quantities import parse_duration

    try:
        return parse_duration(float(text) if text.isdecimal() else text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def config_path() -> Path:
    """Say which configuration this command goes by."""
    from bulkgpt_watchd.config import default_path

    path: Path = click.get_current_context().meta.get(_KEY) or default_path(os.environ)
    return path


def load_place() -> Place:
    """
    Read from the configuration where the daemon is to be found.

    Shape: mistakes elsewhere in it do not count: a running daemon goes on with what it read before.
    Errors: Misconfigured (exit code 78).
    """
    from bulkgpt_watchd.config import locate

    return _read(locate)


def load_settings(path: Path | None = None) -> Settings:
    """
    Load the configuration; *path* is one that was named as an argument.

    Errors: Misconfigured (exit code 78), with every mistake.
    """
    from bulkgpt_watchd.config import load

    return _read(load, path)


def _read(reader: Callable[[Path], T], path: Path | None = None) -> T:
    from bulkgpt_watchd.cli.mistakes import Misconfigured
    from bulkgpt_watchd.config import ConfigInvalid

    try:
        return reader(path or config_path())
    except ConfigInvalid as invalid:
        raise Misconfigured(invalid.mistakes) from None
