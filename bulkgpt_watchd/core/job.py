"""
Say what a job is: one dropped file, the state it is in, and what may happen to it.

A Job is a value. Nothing here changes one; `lifecycle.advance` makes the next value and the store keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """
    Name the one effect still owed to a file.

    Past participles are facts; -ING is used only where something may be half done.
    """

    DISCOVERED = "discovered"
    """A whole file stands in the inbox. `claim` moves it on; a crash leaves it where its owner put it."""
    CLAIMED = "claimed"
    """The file is in work and nothing was sent. `prepare` checks it; a crash leaves it to be checked again."""
    READY = "ready"
    """Checked, and certainly not accepted. `submit` moves it on; a crash before the last block leaves it here."""
    SUBMITTING = "submitting"
    """The point of no return was passed. Only an answer moves it on; a crash makes it a doubt."""
    SUBMITTED = "submitted"
    """BulkGPT gave a task ID. `poll` asks how far it is; a crash costs one more question."""
    FINISHED = "finished"
    """The task is complete. `download` asks for a fresh link and fetches the result; free to repeat."""
    FETCHED = "fetched"
    """The whole result lies beside its target under a dot-name. `deliver` renames it; a crash is seen by that name."""
    DELIVERED = "delivered"
    """The result was published. `archive` moves the original away; a crash is seen by the original still in work."""
    FAILING = "failing"
    """A verdict was reached and the file is still in work. `quarantine` moves it; a crash repeats that move."""
    RECALLED = "recalled"
    """A person decided to go on with a failed job. `recall` moves its file back to work; a crash repeats that move."""
    DONE = "done"
    """Delivered, and the original is in the archive (or deleted, where the route says so)."""
    FAILED = "failed"
    """The file stands in the error folder with its reason. Only a person moves it on."""
    WITHDRAWN = "withdrawn"
    """The file was taken back, or replaced, before it was claimed."""


TERMINAL = frozenset({State.DONE, State.FAILED, State.WITHDRAWN})

SHOWN_AS = {
    State.DISCOVERED: "waiting",
    State.CLAIMED: "waiting",
    State.READY: "waiting",
    State.RECALLED: "waiting",
    State.SUBMITTING: "submitting",
    State.SUBMITTED: "running",
    State.FINISHED: "delivering",
    State.FETCHED: "delivering",
    State.DELIVERED: "delivering",
    State.FAILING: "delivering",
    State.DONE: "done",
    State.FAILED: "failed",
    State.WITHDRAWN: "withdrawn",
}
"""What people see as a job's state (contract: outcomes)."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """
    Tell one look at a file from the next.

    Units: *bytes* is the size; *mtime_ns* is only ever compared for equality, never with a clock.
    """

    inode: int
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Job:
    """
    Hold everything that is remembered of one dropped file.

    Shape: file names and paths are `os.fsdecode`d, so any bytes the kernel allows survive.
    Units: `_at` are Unix seconds UTC, `_s` seconds, `_bytes` bytes; rows are CSV records without the header.
    """

    id: str
    route: str  # its key, see core/routes.py
    file: str  # path relative to the inbox
    state: State
    created_at: float
    changed_at: float
    due_at: float | None
    inbox: str  # folder in which it was found
    work: str  # folder to which it was or will be claimed; stays when the route's settings change
    inode: int
    size_bytes: int
    mtime_ns: int
    revision: int = 0  # counts the written changes; the store refuses a change of an older one
    # counters, each with its own meaning
    attempts: int = 0  # submits that were tried
    failures: int = 0  # deferrals in a row in this state; sets the backoff
    bad_results: int = 0  # whole bodies of this task that were no CSV
    # what the check found
    sha256: str | None = None
    rows: int | None = None
    # what BulkGPT said
    workflow_id: str | None = None  # fixed at the point of no return
    task_id: str | None = None
    earlier_task_ids: tuple[str, ...] = ()
    rows_done: int | None = None
    rows_ok: int | None = None
    rows_total: int | None = None
    passed_at: float | None = None  # the point of no return of the submit that counts; its day in the ledger
    submitted_at: float | None = None
    completed_at: float | None = None
    asked_at: float | None = None  # the last time BulkGPT or its store was asked about the task
    patience_s: float = 0.0  # how long answers have been unsatisfactory; silence counts little
    unknown_s: float = 0.0  # how long BulkGPT has said that it does not know the task
    # result
    result_path: str | None = None
    result_sha256: str | None = None
    result_bytes: int | None = None
    rows_out: int | None = None
    delivered_at: float | None = None
    archive_path: str | None = None
    # verdict
    code: str | None = None
    message: str | None = None
    line: int | None = None
    http_status: int | None = None
    api_message: str | None = None
    error_path: str | None = None
    ended_at: float | None = None
    # what a person or another job decided
    waits_for: str | None = None  # why it was deferred, for a person
    related_job: str | None = None  # the job that a duplicate or a conflict is about
    superseded_by: str | None = None
    is_closed: bool = False  # abandoned: no longer a doubt
    may_pay_again: bool = False  # a person allowed a duplicate
    takes_partial: bool = False  # a person asked for what there is

    @property
    def stamp(self) -> Stamp:
        """Give the file's identity as it was last settled."""
        return Stamp(self.inode, self.size_bytes, self.mtime_ns)

    @property
    def task_ids(self) -> tuple[str, ...]:
        """Give every task ID this file ever had, the present one last."""
        return self.earlier_task_ids if self.task_id is None else (*self.earlier_task_ids, self.task_id)

    @property
    def was_delivered(self) -> bool:
        """Tell whether this submit's result was delivered before; `redeliver` brings the same one again, free."""
        return self.delivered_at is not None and (self.passed_at is None or self.delivered_at >= self.passed_at)

    @property
    def is_doubt(self) -> bool:
        """Tell whether nobody knows if this file was accepted."""
        return self.code == "submission_unknown" and self.state in {State.FAILING, State.FAILED} and not self.is_closed
