"""
Let system calls of the daemon fail as a sick disk makes them, and all other threads go on meanwhile.

One daemon lives through one trouble after the other, each with a file of its own: what it must do once a trouble has
ended, it must do without being started again.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from bulkgpt_watchd.core.job import State
from tests.crash.calls import CREATES, Calls
from tests.crash.endings import check_all_delivered, has_ended, jobs_of
from tests.crash.processes import ROUTES, STARTS_WITHIN_S, Bed, wait_until
from tests.crash.tracer import Call, Tracer

ENDS_WITHIN_S = 60.0
"""A file ends within a second of the end of a trouble; a busy machine may need many times that."""

PACE = "200ms"
"""How often it tries again at the least, so that a while need not be long."""

SLOW_S = 0.7
"""As a disk that is much too busy takes for an fsync."""

SYNCS = frozenset({"fsync", "fdatasync"})
NEEDS_SPACE = frozenset(
    {"write", "pwrite64", "ftruncate", "fallocate", "rename", "renameat", "renameat2", "link", "linkat", "mkdir",
     "mkdirat", "openat"}
)  # fmt: skip
TRANSFERS = frozenset({"read", "pread64", "write", "pwrite64"})


@dataclass(frozen=True)
class Kind:
    """
    Say which calls are hit, and what happens to them.

    Shape: *error*: the number they fail with; None: they are shortened to half, or *slow_s* late. *creates*: of opens
        only those that may make a file.
    """

    calls: frozenset[str]
    error: int | None = None
    slow_s: float = 0.0
    creates: bool = False


NO_SOCKET, NO_CALLER = Kind(frozenset({"socket"}), errno.EMFILE), Kind(frozenset({"accept4"}), errno.EMFILE)
"""Not among the others: few calls of a file's way are of this kind."""

KINDS = {
    "EIO at a sync": Kind(SYNCS, errno.EIO),
    "EIO at a write": Kind(frozenset({"write", "pwrite64"}), errno.EIO),
    "ENOSPC": Kind(NEEDS_SPACE, errno.ENOSPC, creates=True),
    "EDQUOT": Kind(NEEDS_SPACE, errno.EDQUOT, creates=True),
    "EMFILE": Kind(frozenset({"openat"}), errno.EMFILE),
    "ENFILE": Kind(frozenset({"openat"}), errno.ENFILE),
    "EINTR": Kind(TRANSFERS | SYNCS | {"openat"}, errno.EINTR),
    "a short transfer": Kind(TRANSFERS),
    "a slow sync": Kind(SYNCS, slow_s=SLOW_S),
}


@dataclass(frozen=True)
class Span:
    """Say for how many calls, and for how long after the first, a trouble goes on, whatever ends first."""

    calls: int
    seconds: float = 0.0


ONCE, A_WHILE = Span(1), Span(6, 1.0)
UNTIL_MENDED = Span(1_000_000, 2.0)
"""Long enough for ten tries, and for all that goes on without the disk to end."""


@dataclass
class Trouble:
    """
    Hit the *at*-th call of a kind, and those after it for a while.

    Shape: *met* counts the calls of the kind, *hit* names those that it happened to.
    """

    kind: Kind
    at: int
    span: Span = ONCE
    met: int = 0
    hit: list[str] = field(default_factory=list)
    _began_at: float = 0.0

    def hits(self, call: Call, name: str) -> bool:
        """Count a call of ours, and tell whether it is hit."""
        word = name.partition(" ")[0]
        if word not in self.kind.calls or (word == "openat" and self.kind.creates and not call.args[2] & CREATES):
            return False
        if self._is_transfer and call.args[2] < 2:  # has no half
            return False
        self.met += 1
        if self.met < self.at or (self.hit and not self._goes_on):
            return False
        self._began_at = self._began_at or time.monotonic()
        self.hit.append(name)
        return True

    @property
    def _is_transfer(self) -> bool:
        return self.kind.error is None and not self.kind.slow_s

    @property
    def _goes_on(self) -> bool:
        return len(self.hit) < self.span.calls and time.monotonic() < self._began_at + self.span.seconds


class Sick:
    """A daemon under a tracer, in a thread of its own, and the trouble that it has."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.trouble: Trouble | None = None
        self.intents: list[Future[None]] = []
        self.exit_code: int | None = None
        self.pid = 0

    @contextmanager
    def living(self, trouble: Trouble | None = None, *, may_end: bool = False) -> Iterator[None]:
        """
        Run it, from its very start with a trouble, until it is ready or, where it may, ends by itself.

        It is asked to stop in the end.
        """
        self.trouble, self.exit_code, self.intents = trouble, None, []
        seen_bytes = self.bed.log_file.stat().st_size if self.bed.log_file.exists() else 0
        begun = threading.Event()
        with self.bed.daemon() as process, ThreadPoolExecutor(1) as looking:

            def trace() -> None:
                self._looking = looking
                self._tracer = Tracer(process)
                self._calls = Calls(self._tracer, self.bed.folders, ("state", *ROUTES))
                begun.set()
                self.exit_code = self._tracer.run(self._meet)

            tracing = threading.Thread(target=trace)
            tracing.start()
            try:
                assert begun.wait(STARTS_WITHIN_S)
                wait_until(lambda: self.is_over or self._is_ready(seen_bytes), ENDS_WITHIN_S)
                yield
                assert may_end or not self.is_over, f"it ended by itself with {self.exit_code}"
                self.trouble = None
                if not self.is_over:
                    os.kill(process.pid, signal.SIGTERM)  # Popen would take its state from the tracer
                    tracing.join(STARTS_WITHIN_S)
                    assert self.exit_code == 0
                    assert self.bed.left_over() == []
            finally:
                if not self.is_over:
                    os.kill(process.pid, signal.SIGKILL)
                tracing.join()
        for intent in self.intents:
            intent.result()

    @property
    def is_over(self) -> bool:
        return self.exit_code is not None

    def _is_ready(self, seen_bytes: int) -> bool:
        with open(self.bed.log_file, "rb") as log:
            log.seek(seen_bytes)
            return b'"daemon.ready"' in log.read()

    def _meet(self, call: Call) -> None:
        if (name := self._calls.any_name(call)) is None:
            return
        if call.result is not None:
            if call.result == 0 and name.startswith("rename") and ".sent-" in name.partition("->")[2]:
                self._see_intent(call, name)
            return
        trouble = self.trouble
        if trouble is None or not trouble.hits(call, name):
            return
        if trouble.kind.error is not None:
            self._tracer.answer(call, -trouble.kind.error)
        elif trouble.kind.slow_s:
            ends_at = time.monotonic() + trouble.kind.slow_s
            self._tracer.hold(call, lambda: time.monotonic() >= ends_at)
        else:
            self._tracer.shorten(call, call.args[2] // 2)

    def _see_intent(self, call: Call, name: str) -> None:
        """Look into the state at the instant at which a file got its sent name: the thread waits meanwhile."""
        job_id = name.rpartition("/")[2].partition(".sent-")[0]
        looked = self._looking.submit(self._check_intent, job_id)
        self.intents.append(looked)
        self._tracer.hold(call, looked.done)

    def _check_intent(self, job_id: str) -> None:
        (state,) = (job.state for job in jobs_of(self.bed) if job.id == job_id)
        assert state is State.SUBMITTING, f"{job_id} got its sent name as {state}"


def live_through(sick: Sick, trouble: Trouble) -> None:
    """Drop a file into a trouble, wait for its end and see that all is as if nothing had been."""
    bed = sick.bed
    number = len(bed.dropper.dropped)
    content = b"Input_1\n" + b"".join(b"file %d row %d\n" % (number, row) for row in range(3))
    sick.trouble = trouble
    try:
        bed.dropper.put("leads", f"{number}.csv", content)
        wait_until(lambda: sick.is_over or has_ended(bed), ENDS_WITHIN_S)
        sick.trouble = None
        assert not sick.is_over, f"it ended by itself with {sick.exit_code}"
        for intent in sick.intents:
            intent.result()
        check(bed)
    except AssertionError as error:
        error.add_note(f"hit at {trouble.at}: {trouble.hit}\n{bed.log_file.read_text(errors='replace')[-3000:]}")
        raise


def check(bed: Bed) -> None:
    """Every file is delivered once, paid once, and BulkGPT's task ID is known."""
    bed.check_instant()
    jobs = jobs_of(bed)
    assert [(job.file, job.state, job.code) for job in jobs if job.state is not State.DONE] == []
    check_all_delivered(bed)
    known = {task_id for job in jobs for task_id in job.task_ids}
    assert {record["task_id"] for record in bed.ledger() if record["accepted"]} <= known
