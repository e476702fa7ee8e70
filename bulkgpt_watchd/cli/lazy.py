"""Load a command only when it is the one that was asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from bulkgpt_watchd.cli.ending import INTERRUPTED, ended_by, tell
from bulkgpt_watchd.core.errors import WatchdError

NAME = "bulkgpt-watchd"
"""Whatever started it: the name that all help and all messages tell people to type."""

Table = Mapping[str, tuple[str, str, str]]
"""Name of a command → module, object in it, one line of help."""


class LazyGroup(click.Group):
    """
    Hold commands by name: `status` must not pay for what `run` imports.

    The help is made of the table alone.
    """

    def __init__(self, *, table: Table, **named: Any) -> None:
        super().__init__(commands={name: click.Command(name) for name in table}, **named)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """Name the commands, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        """Import a command."""
        if cmd_name not in self.table:
            return None
        module, name, _ = self.table[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 the same
        """Write the commands' part of the help, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.table.items()])

    # click's overloads tell modes apart that are one here
    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]  # see above
        """
        Run the command line and end the process.

        Shape: what a command returns is its exit code. With --json among the arguments errors are JSON too, those of
            usage included.
        """
        arguments = sys.argv[1:] if args is None else list(args)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name may hold what the terminal's encoding has not
        extra |= {"prog_name": NAME, "standalone_mode": False}
        try:
            code = super().main(arguments, **extra)
        except click.ClickException as error:
            tell(error, as_json="--json" in arguments)
            code = error.exit_code
        except WatchdError as error:
            ended = ended_by(error)
            tell(ended, as_json="--json" in arguments)
            code = ended.exit_code
        except (click.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        sys.exit(code)
