"""
Let the daemon live under a tracer and end it at its n-th call; then start it plainly and let all end.

Each life works at a file of its own. The plain start after it ends what was left, and the next life goes on in the same
folders with the same state.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import click

from bulkgpt_watchd.cli.control import act
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.core.job import Job, State
from tests.crash.calls import Calls
from tests.crash.endings import check_all_delivered, has_ended, is_trying_folders, jobs_of, resolve, submitting
from tests.crash.processes import ROUTES, STARTS_WITHIN_S, Bed, wait_until
from tests.crash.tracer import Call, Tracer

ENDS_WITHIN_S = 60.0
"""A file ends in a second; a busy machine may need many times that."""

WRITE, STDERR = 1, 2


@dataclass(frozen=True)
class Story:
    """
    Hold what is done with each file.

    Shape: without *act* the file waits in the inbox, and its life is traced from the very start of the process. Else
        all that comes before is not: *fault* meets its first submit, *scene* comes once it has ended so far. *act* is
        what a person then does, and again as long as *is_undone*; a doubt is answered anyhow. *last* is the event that
        a life ends with. *is_given_up*: the file then stands in error for good, with what was paid for it.
    """

    act: Callable[[Bed, Job], None] | None = None
    is_undone: Callable[[Bed, Job], bool] = lambda _bed, _job: False
    fault: dict[str, Any] = field(default_factory=dict)
    scene: Callable[[Bed, Job], None] = lambda _bed, _job: None
    begins_in_doubt: bool = False
    last: str = "job.done"
    is_given_up: bool = False


@dataclass(frozen=True)
class End:
    """Say how a life ends: by a signal at its n-th counted call, or right after it; None: once its file has ended."""

    at: int | None = None
    is_after: bool = False
    number: signal.Signals = signal.SIGKILL


@dataclass
class Life:
    """Tell of one life: its counted calls in order, and whether it was ended amid them."""

    end: End
    steps: list[str] = field(default_factory=list)
    is_cut: bool = False
    exit_code: int = 0

    @property
    def instant(self) -> str:
        if self.end.at is None or not self.is_cut:
            return "not cut"
        where = "after" if self.end.is_after else "at"
        return f"{self.end.number.name} {where} call {self.end.at}: {self.steps[self.end.at - 1]}"

    @property
    def may_be_sent(self) -> bool:
        """Tell whether the file can have got its sent name: the call that we died at was not carried out."""
        begun = self.steps if self.end.is_after or not self.is_cut else self.steps[:-1]
        return any(step.startswith("rename") and ".sent-" in step.partition("->")[2] for step in begun)


def lives(bed: Bed, story: Story, ends: Iterable[End]) -> Iterator[Life]:
    """Live one life for each of *ends*, and ask what is promised after each, and once all has ended."""
    given_up: set[str] = set()
    with ExitStack() as stack:

        def start(*, waits: bool = True) -> subprocess.Popen[bytes]:
            stack.close()
            seen_bytes = bed.log_file.stat().st_size if bed.log_file.exists() else 0
            process = stack.enter_context(bed.daemon())
            if waits:
                bed.wait_for_ready(process, seen_bytes)
                wait_until(lambda: not is_trying_folders(bed), STARTS_WITHIN_S)
            return process

        process = start() if story.act is not None else None
        for end in ends:
            number = len(bed.dropper.dropped)
            content = b"Input_1\n" + b"".join(b"file %d row %d\n" % (number, row) for row in range(3))
            if process is None:
                bed.dropper.put("leads", f"{number}.csv", content)
                life = trace(bed, start(waits=False), story, end)
            else:
                job = _set_the_scene(bed, story, f"{number}.csv", content)
                life = trace(bed, process, story, end, person(bed, story, job))
            assert life.exit_code == (-signal.SIGKILL if life.is_cut and end.number is signal.SIGKILL else 0), (
                life.instant
            )
            try:
                bed.check_instant()
                assert end.number is not signal.SIGTERM or not submitting(bed), "a submit that nobody awaited"
                process = start()
                _settle(bed, story, f"{number}.csv", life)
                if story.act is None:
                    stop(bed, process)
                    process = None
                given_up |= {f"leads/{number}.csv"} if story.is_given_up else set()
                check_all_delivered(bed, given_up)
            except AssertionError as error:
                error.add_note(life.instant)
                raise
            yield life
        if process is not None:
            stop(bed, process)


def stop(bed: Bed, process: subprocess.Popen[bytes]) -> None:
    """End a daemon that has nothing to do; then nothing of it is left."""
    process.terminate()
    assert process.wait(STARTS_WITHIN_S) == 0
    assert bed.left_over() == []


def trace(
    bed: Bed, process: subprocess.Popen[bytes], story: Story, end: End, person: Callable[[], None] | None = None
) -> Life:
    """Let a daemon live to its end."""
    life, seen_bytes = Life(end), bed.log_file.stat().st_size
    tracer = Tracer(process)
    calls = Calls(tracer, bed.folders, ("state", *ROUTES))
    dies_after: int | None = None  # the thread whose call it is
    is_asked = False

    def cut(number: signal.Signals) -> None:
        nonlocal is_asked
        is_asked = True
        os.kill(process.pid, number)  # Popen would ask for its state, and take that away from the tracer

    def meet(call: Call) -> None:
        nonlocal dies_after
        if life.is_cut:
            return
        if call.result is not None:
            if call.thread == dies_after:
                life.is_cut = True
                cut(end.number)
            elif call.number == WRITE and call.args[0] == STDERR and not is_asked:
                with open(bed.log_file, "rb") as log:
                    log.seek(seen_bytes)
                    if f'"{story.last}"'.encode() in log.read():
                        cut(signal.SIGTERM)
        elif (name := calls.name(call)) is not None:
            life.steps.append(name)
            if len(life.steps) == end.at and end.is_after:
                dies_after = call.thread
            elif len(life.steps) == end.at:
                life.is_cut = True
                cut(end.number)

    acting = threading.Thread(target=person or (lambda: None))
    acting.start()
    life.exit_code = tracer.run(meet)
    acting.join()
    return life


def person(bed: Bed, story: Story, job: Job) -> Callable[[], None]:
    """Be somebody whose command may fail, since the daemon dies."""

    def acts() -> None:
        assert story.act is not None
        with click.Context(click.Command("act")), suppress(Ended, OSError):  # where none runs, the command is told
            story.act(bed, job)

    return acts


def answer(bed: Bed, job: Job) -> None:
    """Say what the sandbox knows of a doubt."""
    resolve(bed, [job])


def resume(bed: Bed) -> None:
    """Let a shut gate try one submit: doubts made on purpose, one after the other, need a person."""
    act(bed.settings, "resume")


def plan(bed: Bed, *faults: dict[str, Any]) -> None:
    """Have the sandbox plan these faults."""
    request = urllib.request.Request(f"{bed.base_url}/_sandbox/plan", json.dumps(faults).encode())
    urllib.request.urlopen(request, timeout=STARTS_WITHIN_S).close()


def job_of(bed: Bed, file: str) -> Job:
    (job,) = (job for job in jobs_of(bed) if job.file == file)
    return job


def _set_the_scene(bed: Bed, story: Story, file: str, content: bytes) -> Job:
    if story.begins_in_doubt:
        resume(bed)
    if story.fault:
        plan(bed, {"call": "submit", "contains": f"file {file.removesuffix('.csv')} row", **story.fault})
    bed.dropper.put("leads", file, content)
    wait_until(lambda: has_ended(bed), ENDS_WITHIN_S)
    job = job_of(bed, file)
    assert job.is_doubt is story.begins_in_doubt
    end = "job.done" if job.state is State.DONE else "job.quarantined"
    wait_until(lambda: any(line["job"] == job.id for line in bed.lines(end)), ENDS_WITHIN_S)  # told after its commit
    story.scene(bed, job)
    return job


def _settle(bed: Bed, story: Story, file: str, life: Life) -> None:
    """Let all end; a person answers a doubt by the sandbox's ledger, and does again what the death has undone."""
    if story.begins_in_doubt:
        resume(bed)
    while True:
        wait_until(lambda: has_ended(bed), ENDS_WITHIN_S)
        job = job_of(bed, file)
        if job.is_doubt:
            assert story.begins_in_doubt or life.may_be_sent, "a doubt of what was not sent"
            assert life.end.number is not signal.SIGTERM or story.begins_in_doubt, "a doubt left by a graceful stop"
            (story.act if story.begins_in_doubt and story.act else answer)(bed, job)
        elif story.act is not None and story.is_undone(bed, job):
            story.act(bed, job)
        else:
            assert (job.state, job.is_closed) == ((State.FAILED, True) if story.is_given_up else (State.DONE, False)), (
                job
            )
            return
