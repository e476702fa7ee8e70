"""The command line: the root of all commands, and which module has each."""

from __future__ import annotations

import click

from bulkgpt_watchd import __version__
from bulkgpt_watchd.cli.lazy import LazyGroup
from bulkgpt_watchd.cli.options import config_option

_HERE = "bulkgpt_watchd.cli"

TABLE = {
    "run": (f"{_HERE}.run", "run", "Run the daemon in the foreground."),
    "sandbox": (f"{_HERE}.sandbox", "sandbox", "Run a local BulkGPT: no account, no network, no cost."),
    "config": (f"{_HERE}.config", "config", "Check the configuration, or show what can be in it."),
}


@click.command(
    cls=LazyGroup, table=TABLE, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="bulkgpt-watchd", message="%(prog)s %(version)s")
@config_option
def root() -> None:
    r"""
    Submit dropped CSV files to BulkGPT and bring their results back.

    \b
    bulkgpt-watchd demo                    see it work; no account, no network
    bulkgpt-watchd config example          a configuration with every key
    bulkgpt-watchd status                  how it is, and what needs a decision
    """


def main() -> None:
    """Run the command line."""
    root.main()
