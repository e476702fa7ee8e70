"""The command line: the root of all commands, and which module has each."""

from __future__ import annotations

import os
import sys

import click

from bulkgpt_watchd import __version__
from bulkgpt_watchd.cli.lazy import LazyGroup
from bulkgpt_watchd.cli.options import config_option, examples

_HERE = "bulkgpt_watchd.cli"

TABLE = {
    "run": (f"{_HERE}.run", "run", "Run the daemon in the foreground."),
    "demo": (f"{_HERE}.demo", "demo", "Watch a file go to a local BulkGPT and come back."),
    "init": (f"{_HERE}.init", "init", "Make configuration, folders and key file for a first route."),
    "submit": (f"{_HERE}.submit", "submit", "Copy files into an inbox, and wait for the results."),
    "status": (f"{_HERE}.status", "status", "Show how it is, and what needs a decision."),
    "jobs": (f"{_HERE}.jobs", "jobs", "List jobs; `jobs show JOB` tells all about one."),
    "retry": (f"{_HERE}.decisions", "retry", "Go on with failed jobs, from the last step that is free."),
    "resolve": (f"{_HERE}.decisions", "resolve", "Say what became of a submit whose answer was lost."),
    "redeliver": (f"{_HERE}.decisions", "redeliver", "Fetch and deliver a result again, free."),
    "pause": (f"{_HERE}.routes", "pause", "Take and submit nothing more; what was submitted goes on."),
    "resume": (f"{_HERE}.routes", "resume", "End a pause, and try a shut gate."),
    "scan": (f"{_HERE}.routes", "scan", "Look at inboxes now."),
    "adopt": (f"{_HERE}.routes", "adopt", "Take over a route that belonged to another state."),
    "reload": (f"{_HERE}.routes", "reload", "Read the configuration again; a wrong one changes nothing."),
    "doctor": (f"{_HERE}.doctor", "doctor", "Look at all that the daemon needs; each finding has its fix."),
    "report": (f"{_HERE}.report", "report", "Show what was sent and paid, per day and route."),
    "state": (f"{_HERE}.state_file", "state", "Check or copy the state, or forget what ended long ago."),
    "config": (f"{_HERE}.config", "config", "Check or show the configuration, and what can be in it."),
    "sandbox": (f"{_HERE}.sandbox", "sandbox", "Run a local BulkGPT: no account, no network, no cost."),
}


@click.command(
    cls=LazyGroup,
    table=TABLE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "bulkgpt-watchd demo                          see it work; no account, no network",
        "bulkgpt-watchd init ~/bulkgpt                a configuration, and folders for a first route",
        "bulkgpt-watchd run -c ~/bulkgpt/config.yaml  take what is dropped",
        "bulkgpt-watchd COMMAND --help                more about one command",
    ),
)
@click.version_option(__version__, prog_name="bulkgpt-watchd", message="%(prog)s %(version)s")
@config_option
def root() -> None:
    """Submit dropped CSV files to BulkGPT and bring their results back."""


def main() -> None:
    """Run the command line."""
    _open_standard_streams()
    root.main()


def _open_standard_streams() -> None:
    """Open what a caller closed: the next file of ours would get its number, and a stray message would go there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 the same
