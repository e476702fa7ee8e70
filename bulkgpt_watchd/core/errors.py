"""
Exceptions, named by whose fault it is and so by what may be done next.

They live only at the edge: an effect turns each into exactly one event.

    WatchdError
    ├── Unavailable          certainly not taken; try again later
    │   └── InUse            the file is held by somebody else; later, without limit
    ├── NotOurTurn           nothing went wrong: paused, gate shut, stopping, or too many under way
    ├── Denied               key, account, or not BulkGPT at all: shut the gate, touch no file
    ├── Refused              this file or this workflow: give up, with a code of the contract
    ├── OutcomeUnknown       the whole request was out, no readable answer: a doubt
    ├── ReplyNotUnderstood   a free call was answered with something we cannot read; ask again
    ├── TaskNotKnown         BulkGPT says it does not know this task ID; it may for minutes after a submit
    ├── LinkBroken           a result link gave no result: ask for a fresh one
    ├── SourceVanished       the file is gone, by a hand that was not ours
    ├── SourceChanged        the file is not the one that was looked at before
    ├── NameTaken            a file of that name is there already
    └── DiskTrouble          full, read-only, failing or hung: wait
        └── StateUnusable    the state file cannot be used, and why; at the start that is the end
            ├── StateLocked  another instance holds it
            └── StateOld     the next start migrates it

This module imports nothing of ours.
"""

from __future__ import annotations


class WatchdError(Exception):
    """Anything that this program raises on purpose; the text is for a person."""


class Unavailable(WatchdError):
    """
    Say that the request was certainly not taken.

    Units: *retry_after_s* seconds, where the other side named them.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, http_status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.http_status = http_status


class InUse(Unavailable):
    """Say that somebody else holds the file (EBUSY, EACCES, ESTALE, EAGAIN)."""


class NotOurTurn(WatchdError):
    """Say why a submit was held back at its point of no return; nothing was sent whole."""


class Denied(WatchdError):
    """Say that the key, the account or the address is wrong; no file is to blame."""

    def __init__(self, message: str, *, http_status: int | None = None, api_message: str | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.api_message = api_message


class Refused(WatchdError):
    """Say that this file or workflow was refused, with the contract's *code*."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        line: int | None = None,
        http_status: int | None = None,
        api_message: str | None = None,
        related_job: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.line = line
        self.http_status = http_status
        self.api_message = api_message
        self.related_job = related_job


class OutcomeUnknown(WatchdError):
    """Say that a submit was sent whole and nobody knows whether it was accepted."""

    def __init__(self, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status


class ReplyNotUnderstood(WatchdError):
    """Say that a free call got an answer which is not BulkGPT's."""


class TaskNotKnown(WatchdError):
    """Say that BulkGPT does not know this task ID; it may say so for minutes after a submit. The text is BulkGPT's."""


class LinkBroken(WatchdError):
    """Say that the download link gave no whole result."""


class SourceVanished(WatchdError):
    """Say that the file is gone."""


class SourceChanged(WatchdError):
    """Say that the file is another than the one looked at."""


class NameTaken(WatchdError):
    """Say that the target name exists already; nothing was overwritten."""


class DiskTrouble(WatchdError):
    """Say that a folder or the state is full, read-only, failing or hung."""


class CommandRefused(WatchdError):
    """
    Say why a command is not carried out.

    Shape: *exit_code* as in the contract: 66 no such job, 77 refused; *facts* stand beside it in the answer.
    """

    def __init__(self, message: str, *, exit_code: int = 77, **facts: object) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.facts = facts


class StateUnusable(DiskTrouble):
    """Say why the state cannot be used and what to do."""


class StateLocked(StateUnusable):
    """Say which process holds the state already."""


class StateOld(StateUnusable):
    """Say that an older program wrote the state; a reader does not migrate."""
