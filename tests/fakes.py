"""Stand for the clock and for BulkGPT: time is a number, and every call costs some of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from bulkgpt_watchd.core.errors import Denied, LinkBroken, SourceChanged, TaskNotKnown
from bulkgpt_watchd.core.ports import Download, PassPoint, Upload
from bulkgpt_watchd.core.wire import Phase, TaskStatus
from bulkgpt_watchd.sandbox import answer

STARTED_AT = 1_800_000_000.0
"""Unix seconds at which every story begins."""

READ_BYTES = 65_536
"""Block size of an upload: small, so that a file of a test may have several."""

RESULTS = "https://results.example/"


class FakeClock:
    """
    Be `core.ports.Clock` without time: sleeping jumps to the end of the sleep.

    Sleeps that overlap cost the longest of them, not their sum, and end in the right order.
    """

    def __init__(self, seed: int = 0) -> None:
        self.at = STARTED_AT
        self.zero_at = STARTED_AT - 1_000.0
        self.set_by_s = 0.0
        self._ends: list[float] = []
        self._random = random.Random(seed)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        """Give another number than `now`, so that whoever mixes the two is seen."""
        return self.at - self.zero_at

    def follow(self) -> float:
        step_s, self.set_by_s = self.set_by_s, 0.0
        self.at += step_s
        self.zero_at += step_s
        return step_s

    async def sleep(self, seconds: float) -> None:
        ends_at = self.monotonic() + max(seconds, 0.0)
        self._ends.append(ends_at)
        try:
            await asyncio.sleep(0)
            while min(self._ends) < ends_at:  # noqa: ASYNC110  # who ends earlier goes on in its next turn
                await asyncio.sleep(0)
            self.advance(max(ends_at - self.monotonic(), 0.0))
        finally:
            self._ends.remove(ends_at)

    def advance(self, seconds: float) -> None:
        self.at += seconds

    def jitter(self) -> float:
        return self._random.random()


@dataclass
class SubmitFault:
    """
    Plan what goes wrong with a submit.

    Shape: *error* is what the adapter would raise; None: it is answered as usual, with *task_id* where one is given.
        *at*: `before` the point of no return; `passing`: it was passed, but the last block never went; `after`: all
        was sent. *is_accepted* (after): BulkGPT took it, and the answer was lost. *contains*: only for a CSV with
        these bytes in it.
    """

    error: Exception | None = None
    at: Literal["before", "passing", "after"] = "after"
    is_accepted: bool = False
    task_id: str | None = None
    contains: bytes = b""
    costs_s: float = 0.0
    times: float = 1


@dataclass
class FakeTask:
    """
    Be a task at BulkGPT; a test may change how it will go.

    Shape: *end* `running`: it never ends. *result*: what a link gives.
    """

    task_id: str
    workflow_id: str
    csv: bytes
    accepted_at: float
    runs_s: float
    end: Phase = "completed"
    rows_failed: int = 0
    result: bytes = b""

    @property
    def rows(self) -> int:
        return max(len(self.csv.splitlines()) - 1, 0)


@dataclass
class Submission:
    """Record one POST; without *csv* its body was never read whole, with *task_id* it was accepted and is billed."""

    at: float
    workflow_id: str
    csv: bytes | None = None
    passed_at: float | None = None
    ended_at: float | None = None
    task_id: str | None = None


@dataclass
class FakeApi:
    """
    Be `core.ports.Api` and all of BulkGPT.

    Shape: *submissions* is the ledger: every POST, in order. Faults are taken in the order planned. *statuses* and
        *bodies* are given before what the task itself would answer. *outage* is raised by every call. *on_accept*
        sees each new task. *boundary* is told each step, so that a death can be planned there.
    Units: a submit costs *submit_s*, half of it before the point of no return.
    """

    clock: FakeClock
    submit_s: float = 1.0
    status_s: float = 0.1
    download_s: float = 0.5
    runs_s: float = 30.0
    key: str = "key-1"
    key_on_disk: str = "key-1"
    wrong_keys: set[str] = field(default_factory=set)
    outage: Exception | None = None
    faults: list[SubmitFault] = field(default_factory=list)
    statuses: deque[TaskStatus | Exception] = field(default_factory=deque)
    bodies: deque[bytes | Exception] = field(default_factory=deque)
    on_accept: Callable[[FakeTask], None] = lambda _task: None
    boundary: Callable[[str], None] = lambda _step: None
    submissions: list[Submission] = field(default_factory=list)
    tasks: dict[str, FakeTask] = field(default_factory=dict)
    status_calls: int = 0
    downloads: int = 0

    @property
    def accepted(self) -> list[Submission]:
        return [submission for submission in self.submissions if submission.task_id is not None]

    def plan(self, *faults: SubmitFault) -> None:
        self.faults.extend(faults)

    # --- the port -----------------------------------------------------------------------------------------------------

    async def submit(self, upload: Upload, pass_point: PassPoint) -> str:
        self.boundary("before the POST")
        submission = Submission(self.clock.now(), upload.workflow_id)
        self.submissions.append(submission)
        try:
            return await self._submit(submission, upload, pass_point)
        finally:
            submission.ended_at = self.clock.now()

    async def _submit(self, submission: Submission, upload: Upload, pass_point: PassPoint) -> str:
        blocks = []
        while block := await upload.read(READ_BYTES):
            blocks.append(block)
        csv = b"".join(blocks)
        if len(csv) != upload.bytes or hashlib.sha256(csv).hexdigest() != upload.sha256:
            raise SourceChanged("the file changed while it was being sent; nothing was submitted")
        fault = self._take_fault(csv)
        await self.clock.sleep(self.submit_s / 2 + (fault.costs_s if fault.at == "before" else 0.0))
        self._refuse_if_unwell()
        if fault.at == "before" and fault.error is not None:
            raise fault.error
        self.boundary("before the point of no return")
        await pass_point()
        submission.passed_at = self.clock.now()
        self.boundary("before the last block")
        if fault.at == "passing" and fault.error is not None:
            raise fault.error
        submission.csv = csv
        self.boundary("after the last block")
        if fault.error is None or fault.is_accepted:
            self._accept(submission, fault.task_id)
            self.boundary("after acceptance, before the answer")
        await self.clock.sleep(self.submit_s / 2 + fault.costs_s)
        if fault.error is not None:
            raise fault.error
        self.boundary("after the answer")
        return str(submission.task_id)

    async def status(self, task_id: str) -> TaskStatus:
        self.boundary("before asking for the status")
        self.status_calls += 1
        await self.clock.sleep(self.status_s)
        self._refuse_if_unwell()
        if self.statuses:
            scripted = self.statuses.popleft()
            if isinstance(scripted, Exception):
                raise scripted
            return scripted
        task = self.tasks.get(task_id)
        if task is None:
            raise TaskNotKnown("Invalid Task ID.")
        self.boundary("after the answer to the status")
        return self._status(task)

    def download(self, url: str) -> AbstractAsyncContextManager[Download]:
        return self._download(url)

    @asynccontextmanager
    async def _download(self, url: str) -> AsyncIterator[Download]:
        self.boundary("before the download")
        self.downloads += 1
        await self.clock.sleep(self.download_s)
        if self.outage is not None:
            raise LinkBroken(str(self.outage))
        body = self.bodies.popleft() if self.bodies else self.tasks[url.removeprefix(RESULTS)].result
        if isinstance(body, Exception):
            raise body
        yield Download(is_delimited=True, blocks=self._blocks(body))

    async def _blocks(self, body: bytes) -> AsyncIterator[bytes]:
        half = (len(body) + 1) // 2
        for block in (body[:half], body[half:]):
            self.boundary("before a block of the result")
            yield block

    async def reload_key(self) -> bool:
        old, self.key = self.key, self.key_on_disk
        return self.key != old

    # --- inside -------------------------------------------------------------------------------------------------------

    def _refuse_if_unwell(self) -> None:
        if self.outage is not None:
            raise self.outage
        if self.key in self.wrong_keys:
            raise Denied("HTTP 401: Invalid API key", http_status=401, api_message="Invalid API key")

    def _take_fault(self, csv: bytes) -> SubmitFault:
        for fault in self.faults:
            if fault.contains in csv and fault.times > 0:
                fault.times -= 1
                return fault
        return SubmitFault()

    def _accept(self, submission: Submission, task_id: str | None) -> None:
        csv = submission.csv or b""
        submission.task_id = task_id or f"task-{len(self.accepted) + 1:04}"
        task = FakeTask(submission.task_id, submission.workflow_id, csv, self.clock.monotonic(), self.runs_s)
        self.on_accept(task)
        task.result = task.result or answer(csv, rows_failed=task.rows_failed)
        self.tasks[task.task_id] = task

    def _status(self, task: FakeTask) -> TaskStatus:
        share = min((self.clock.monotonic() - task.accepted_at) / task.runs_s, 1.0) if task.runs_s > 0 else 1.0
        done = int(share * task.rows)
        if share < 1.0 or task.end == "running":
            return TaskStatus("inProgress", "running", done, max(done - task.rows_failed, 0), task.rows, None)
        link = RESULTS + task.task_id if task.end == "completed" else None
        return TaskStatus(task.end, task.end, task.rows, task.rows - task.rows_failed, task.rows, link)
