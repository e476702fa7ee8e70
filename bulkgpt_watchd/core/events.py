"""Say what may happen to a job. Events carry facts; `lifecycle.TRANSITIONS` says where they lead."""

from __future__ import annotations

from dataclasses import dataclass

from bulkgpt_watchd.core.job import Stamp


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file left the inbox, or was replaced, before it was claimed."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The file stands in work; *stamp* is what it was there. Not *is_settled*: somebody wrote to it meanwhile."""

    stamp: Stamp
    is_settled: bool


@dataclass(frozen=True, slots=True)
class Disturbed:
    """The claimed file was written to by somebody who still holds it open: check it again when it is quiet."""

    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Prepared:
    """The file passed its check; these are the bytes that may be sent."""

    stamp: Stamp
    sha256: str
    rows: int
    supersedes: tuple[str, ...] = ()  # failed jobs whose file this is, moved back from the error folder


@dataclass(frozen=True, slots=True)
class Passed:
    """The last block of the body is about to be released."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    BulkGPT gave a task ID.

    Shape: *workflow_id* is the one that the file was sent to; None: that which is known since the point of no return.
    """

    task_id: str
    workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """
    It did not work, and nothing was lost: try again later.

    Units: *retry_after_s* wins over our own backoff. Not *is_failure*: it was simply not our turn. *is_held*: the gate
        keeps it, so it has no wait of its own. *is_answer*: somebody did answer, so it counts against patience.
    """

    reason: str
    retry_after_s: float | None = None
    is_failure: bool = True
    is_bad_result: bool = False
    is_held: bool = False
    is_answer: bool = False


@dataclass(frozen=True, slots=True)
class Progressed:
    """BulkGPT answered that the task is not complete yet; *word* is its own status word."""

    word: str
    rows_done: int | None = None
    rows_ok: int | None = None
    rows_total: int | None = None


@dataclass(frozen=True, slots=True)
class TaskMissed:
    """BulkGPT answered that it does not know the task ID (it may say so for minutes after a submit)."""

    api_message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The task is complete and offered a link."""

    rows_done: int | None = None
    rows_ok: int | None = None
    rows_total: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """The whole result is on disk beside *path*, its target."""

    path: str
    sha256: str
    bytes: int
    rows_out: int


@dataclass(frozen=True, slots=True)
class Retargeted:
    """The target name of the move at hand was chosen, or had to be chosen again because it was taken."""

    path: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result was published; *archive_path* is where the original goes (None: it is deleted)."""

    archive_path: str | None


@dataclass(frozen=True, slots=True)
class Archived:
    """The original is in the archive with its receipt; *is_changed*: somebody wrote to it after it was sent."""

    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A verdict was reached, with a code of the contract."""

    code: str
    message: str
    line: int | None = None
    http_status: int | None = None
    api_message: str | None = None
    related_job: str | None = None
    supersedes: tuple[str, ...] = ()  # as in Prepared
    sha256: str | None = None  # of a file that was refused before it was prepared


@dataclass(frozen=True, slots=True)
class Quarantined:
    """File and reason stand in the error folder."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """
    A person decided to go on with a failed job.

    Shape: with a *task_id* it goes on asking about that task (free); without one the file is checked and sent again.
    """

    task_id: str | None
    error_path: str | None  # where the file stands now
    may_pay_again: bool = False
    takes_partial: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """The file is back in work and will be checked and sent again."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The file is back in work and its task will be asked about again."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """A person asked for the result of a delivered job once more."""


@dataclass(frozen=True, slots=True)
class NotRedelivered:
    """The result of a delivered job could not be had once more; the first delivery stands."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """Original and receipt of a delivered job were removed from the archive: `keep.archive` is over."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A person closed a failed job; its file stays in the error folder."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """The file was moved from error back into the inbox and is now the job *by*."""

    by: str


Event = (
    Vanished
    | Claimed
    | Disturbed
    | Prepared
    | Passed
    | Accepted
    | Deferred
    | Progressed
    | TaskMissed
    | Finished
    | Fetched
    | Retargeted
    | Delivered
    | Archived
    | GaveUp
    | Quarantined
    | Recalled
    | Restored
    | Resumed
    | Reopened
    | NotRedelivered
    | Cleared
    | Abandoned
    | Superseded
)
