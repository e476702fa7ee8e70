"""
Say what the scheduler and the effects need of the outside.

Each Protocol has one adapter; tests bring fakes that pass the same suites. Calls of `Folders` (in a file of its own)
block and are run in the route's own threads; calls of the others are awaited on the loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from bulkgpt_watchd.core.budget import Overrun, Purse, Spent
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.folders import Folders, Look, LookRules, Mount, Room
from bulkgpt_watchd.core.history import JournalEntry
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.keep import Ended
from bulkgpt_watchd.core.wire import TaskStatus

__all__ = [
    "Api",
    "Change",
    "Clock",
    "Download",
    "Folders",
    "JournalEntry",
    "Look",
    "LookRules",
    "Mount",
    "PassPoint",
    "Query",
    "ReadBlock",
    "Room",
    "Store",
    "Upload",
    "Want",
]


class Clock(Protocol):
    """Tell the time. Wall time jumps in `follow` only: it is what it was there plus monotonic time since."""

    def now(self) -> float:
        """Give Unix seconds UTC."""

    def follow(self) -> float:
        """Take over a machine's clock that was set; give by how many seconds (0: it was not)."""

    def monotonic(self) -> float:
        """Give monotonic seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait; a fake clock jumps."""

    def jitter(self) -> float:
        """Give a number in [0, 1)."""


# --- BulkGPT ---------------------------------------------------------------------------------------------------------

PassPoint = Callable[[], Awaitable[None]]
"""
Awaited at most once, in the task that called `submit`, when only the last block is held back.

Returns when the block may go; raises what stops it. The block may stay even so, where the server answers or hangs up
meanwhile: then `submit` raises what is certainly not accepted, and what was written here is to be taken back.
"""

ReadBlock = Callable[[int], Awaitable[bytes]]
"""Gives the next block of at most n bytes, b"" at the end; `submit` calls it again only when it has returned."""


@dataclass(frozen=True, slots=True)
class Upload:
    """
    Describe one CSV to send.

    Shape: *bytes* and *sha256* are what was checked; *read* reads the same file from its start, in the route's
        thread where the file is large.
    """

    workflow_id: str
    bytes: int
    sha256: str
    read: ReadBlock


@dataclass(slots=True)
class Download:
    """
    Describe the answer to a result link before its body is read.

    Shape: not *is_delimited*: with neither length nor chunking the end of the body cannot be told from a cut.
    Errors of *blocks*: LinkBroken.
    """

    is_delimited: bool
    blocks: AsyncIterator[bytes] = field(repr=False)


class Api(Protocol):
    """Speak with BulkGPT. The download side never sees the key; no message holds it, or the query of a link."""

    async def submit(self, upload: Upload, pass_point: PassPoint) -> str:
        """
        Send one CSV and give its task ID.

        Shape: *pass_point* is awaited between the last block but one and the last.
        Errors: Unavailable, Denied, Refused, SourceChanged (the bytes are not the checked ones) and whatever
            *pass_point* or *read* raise: certainly not accepted. OutcomeUnknown: a doubt.
        Repeat: NO, once *pass_point* has returned, but after an error that means "certainly not accepted". A caller
            may cancel before *pass_point* has returned: then nothing was accepted. Afterwards it must not.
        """

    async def status(self, task_id: str) -> TaskStatus:
        """
        Ask how far a task is.

        Errors: Unavailable, Denied, TaskNotKnown, ReplyNotUnderstood.
        Repeat: yes, it is free.
        """

    def download(self, url: str) -> AbstractAsyncContextManager[Download]:
        """
        Open a result link; the blocks raise LinkBroken when the body is cut, stalls or grows past the limit.

        Errors: LinkBroken.
        Repeat: yes, it is free.
        """

    async def reload_key(self) -> bool:
        """Read the key again; tell whether it is another one now. One that cannot be read leaves the old one."""


# --- Store -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """
    Hold one step of a job: the row as it was, as it will be, and the event that made the difference.

    Shape: *new* has the ID and the route of *old*, and its revision plus one. Not *is_news*: the row is written, but
        the journal gets no line (a question that was answered as before).
    """

    old: Job
    new: Job
    event: Event
    is_news: bool = True


@dataclass(frozen=True, slots=True)
class Want:
    """Ask for due jobs of one lane and route."""

    state: State
    route: str
    limit: int


@dataclass(frozen=True, slots=True)
class Query:
    """
    Select jobs for a person; None means any.

    Shape: *has_task* is whether it goes by a task now; one that it had earlier does not count. *before* is the ID of a
        job: only those that came before it, for the next page.
    Units: *since* is the Unix second from which on a job's state has changed; *failures* is how often in a row, at
        least, what is owed to it did not work.
    """

    routes: tuple[str, ...] | None = None
    states: tuple[State, ...] | None = None
    codes: tuple[str, ...] | None = None
    since: float | None = None
    failures: int | None = None
    has_task: bool | None = None
    before: str | None = None
    limit: int | None = None


class Store(Ended, Purse, Protocol):
    """
    Remember jobs.

    Every write is on disk (synchronous) when its call returns. Writes of one turn of the loop share a transaction.
    A call that is cancelled may be carried out all the same.
    Errors of every call: DiskTrouble (full, read-only, failing: nothing was written); StateUnusable (the same, but the
        state is damaged, and waiting will not help).
    """

    @property
    def uuid(self) -> str:
        """Tell this state from every other; an older copy of it has the same."""

    async def add(self, jobs: Sequence[Job]) -> None:
        """
        Write new jobs, all or none.

        Errors: NameTaken: an older job has one of the IDs; draw others.
        """

    async def save(self, change: Change) -> bool:
        """
        Write the new row and a journal line if the job still stands as the old row says (id, revision).

        Shape: False: somebody else moved it on; drop what you did.
        """

    async def pass_point(
        self,
        change: Change,
        *,
        max_outstanding: int,
        obstacle: Callable[[Sequence[Job]], Job | None],
        overrun: Callable[[Mapping[str, Spent]], Overrun | None],
    ) -> Job | Overrun | int | None:
        """
        Count a submit against its limits and write it, in one transaction.

        Shape: None: written and on disk. A Job: *obstacle*, given `twins`, named it. An Overrun: *overrun*, given
            what `spent` gives for the day of `passed_at`, named it. A number: so many tasks are outstanding
            (SUBMITTING or SUBMITTED) already. Otherwise nothing was written. *obstacle* and *overrun* run in the
            store's thread: pure functions.
        Errors: SourceChanged: the old row is stale.
        """

    async def accept(self, change: Change, settle: Callable[[Sequence[Job]], tuple[Change, ...]]) -> tuple[Change, ...]:
        """
        Write an accepted submit, in one transaction with whoever holds the same task ID already.

        Shape: without holders *change* is written; else all that `settle(holders)` gives. Holders are the other jobs,
            superseded ones aside, that have the task ID now or had it earlier, the newest first. Returns what was
            written: nothing, where the old row is stale. *settle* runs in the store's thread: a pure function.
        """

    async def holders(self, job: Job) -> list[Job]:
        """Give the other jobs that have, or had, the same task ID."""

    async def twins(self, job: Job) -> list[Job]:
        """
        Give the other jobs of the same route that have the same bytes, or failed under the same file name.

        Shape: without WITHDRAWN and superseded ones; by sha256, or by `file` where the state is FAILED. Newest first.
        """

    async def get(self, job_id: str) -> Job | None:
        """Give one job."""

    async def due(self, wants: Sequence[Want], now: float) -> list[Job]:
        """Give, for each want in turn, its first jobs whose `due_at` has come: by `due_at`, then by arrival."""

    async def next_due(self, states: Collection[State], routes: Collection[str], *, after: float) -> float | None:
        """
        Tell when the next job in any of the states and routes falls due, later than *after*; None: never.

        What is due already waits for a place, not for the clock.
        """

    async def rebase(self, at: float, by_s: float, longest_s: float) -> None:
        """
        Move every `due_at` by *by_s* (no change of a job): the clock was set and shows *at*.

        Shape: what would still wait for more than *longest_s*, or was changed in the future, is due at once.
        Repeat: with 0, yes.
        """

    async def query(self, query: Query) -> list[Job]:
        """Give the selected jobs, by arrival, the newest first."""

    async def counts(self) -> Mapping[tuple[str, State], int]:
        """Count the jobs by route and state; what has none is absent."""

    async def journal(self, job_id: str) -> list[JournalEntry]:
        """Give what happened to a job, in order."""

    async def facts(self) -> dict[str, Any]:
        """Give all facts."""

    async def set_fact(self, key: str, value: Any) -> None:
        """
        Keep a fact under a key, in place of the one before.

        Shape: JSON.
        """

    async def audit(self, at: float, by: str, action: str, target: str, detail: str) -> None:
        """Keep what a person did."""
