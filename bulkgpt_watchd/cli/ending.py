"""End a command that cannot do what it was asked: words on stderr or one JSON object on stdout, and an exit code."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import click

from bulkgpt_watchd.adapters.systemd import is_journal
from bulkgpt_watchd.core.errors import DiskTrouble, StateLocked, StateUnusable, WatchdError
from bulkgpt_watchd.core.exit_codes import FAILED, LOCKED, STATE_TROUBLE

ERROR = "<3>"
"""Begins a line of the journal that is an error. Source: sd-daemon(3)."""

INTERRUPTED = 130
TERMINATED = 143
"""Exit codes of what a signal ended, as shells have them: 128 and SIGINT or SIGTERM."""

EXIT_CODES: tuple[tuple[type[WatchdError], int], ...] = (
    (StateLocked, LOCKED),
    (StateUnusable, STATE_TROUBLE),
    (DiskTrouble, STATE_TROUBLE),
)
"""What may leave the lower layers, the special before the general."""


class Ended(click.ClickException):
    """
    Say why a command ends, and with which code.

    Shape: *facts* stand beside message and exit code in the JSON object.
    """

    def __init__(self, message: str, exit_code: int, **facts: Any) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click gives each class one; ours is of each end
        self.facts = facts

    def lines(self) -> str:
        """Give what a person reads."""
        return f"bulkgpt-watchd: {self.message}"


def ended_by(error: WatchdError) -> Ended:
    """Say what an error of the lower layers means for a command."""
    code = next((code for kind, code in EXIT_CODES if isinstance(error, kind)), FAILED)
    return Ended(str(error), code)


def tell(error: click.ClickException, *, as_json: bool) -> None:
    """Show why a command ended: as JSON on stdout, or in words on stderr."""
    if as_json:
        facts = error.facts if isinstance(error, Ended) else {}
        click.echo(json.dumps({"error": {"message": error.format_message(), "exit_code": error.exit_code, **facts}}))
    elif isinstance(error, Ended):
        click.echo(_for_journal(error.lines()), err=True)
    else:
        error.show()


def _for_journal(text: str) -> str:
    """Say to the journal, where stderr is one, that each line is an error: a service that ends has no log yet."""
    return re.sub("^", ERROR, text, flags=re.MULTILINE) if is_journal(2, os.environ) else text
