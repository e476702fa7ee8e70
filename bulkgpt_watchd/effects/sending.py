"""
Submit a file: the one effect that must not be repeated.

Before its point of no return everything is certainly not accepted. At that point the scheduler's *pass_point* commits
SUBMITTING and the work file gets its sent name, an outside witness; only then the last block goes.
"""

from __future__ import annotations

import contextlib
from typing import BinaryIO

from bulkgpt_watchd.core.errors import (
    Denied,
    DiskTrouble,
    NotOurTurn,
    OutcomeUnknown,
    Refused,
    SourceChanged,
    SourceVanished,
    Unavailable,
)
from bulkgpt_watchd.core.events import Accepted, Disturbed, Event, GaveUp
from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.ports import Folders, Upload
from bulkgpt_watchd.effects.outside import CALL_DEADLINE_S, Outside, Task

FIRST_BYTES = 48 * 1024
"""What is read with opening a file, a multiple of three: most files are smaller."""

WITNESS_DEADLINE_S = 6.0
"""
How long the rename that tells of a submit may take, and the one that takes it back; on shares that answer it takes
milliseconds. Meanwhile nobody else may submit and a stop waits, so a share that hangs just now must not take minutes.
"""

SENT_BEFORE = "The file's name in work says that it may have been sent, and the state does not know of it."

CERTAINLY_NOT_ACCEPTED = (Unavailable, Denied, Refused, SourceVanished, DiskTrouble, NotOurTurn)
"""What `Api.submit`, reading and the pass point raise where the last block did not go, or was answered with a no."""


async def submit(outside: Outside, task: Task) -> Event:
    """
    Send the checked bytes and bring back the task ID.

    Errors: Unavailable, Denied, Refused, SourceVanished, InUse, DiskTrouble, NotOurTurn: certainly not accepted, and
        the file has its plain name again, or a share hangs and the next try gives it back. A doubt is the event
        GaveUp("submission_unknown").
    Repeat: NO, from its point of no return on.
    """
    job, run, folders = task.job, outside.run, outside.folders
    if job.sha256 is None:
        raise ValueError("submit was asked for a job that was not checked")
    opened = await run(job.route, _open, folders, task, deadline_s=CALL_DEADLINE_S)
    if opened is None:
        return GaveUp("submission_unknown", SENT_BEFORE)
    source, stamp, first = opened
    try:
        return await _send(outside, task, source, first) if stamp == job.stamp else Disturbed(stamp)
    finally:
        outside.later(job.route, source.close)


async def _send(outside: Outside, task: Task, source: BinaryIO, first: list[bytes]) -> Event:
    job, run, folders = task.job, outside.run, outside.folders
    workflow_id = task.route.workflow_id

    async def read(size: int) -> bytes:
        return first.pop(0) if first else await run(job.route, source.read, size, deadline_s=CALL_DEADLINE_S)

    async def pass_point() -> None:
        await task.pass_point(job, workflow_id)
        await run(
            job.route,
            folders.rename_in_work,
            task.work,
            task.plain_name,
            task.sent_name,
            deadline_s=WITNESS_DEADLINE_S,
        )

    upload = Upload(workflow_id, job.size_bytes, job.sha256 or "", read)
    try:
        return Accepted(await outside.api.submit(upload, pass_point), workflow_id)
    except OutcomeUnknown as doubt:
        return GaveUp("submission_unknown", str(doubt), http_status=doubt.http_status)
    except SourceChanged:
        await _take_back(outside, task)
        return Disturbed(await run(job.route, folders.stamp_of, source, deadline_s=CALL_DEADLINE_S))
    except CERTAINLY_NOT_ACCEPTED:
        with contextlib.suppress(DiskTrouble):  # what was said counts more; the next try mends the name
            await _take_back(outside, task)
        raise
    # Anything else, a bug or an end of ours, leaves the name as it is: past the point it says that nobody knows.


def _open(folders: Folders, task: Task) -> tuple[BinaryIO, Stamp, list[bytes]] | None:
    """
    Open a file and read its beginning, of a small one all and its end: one trip to a thread is enough for it.

    Shape: None: its name says that it may have been sent. Where this process knows better, a share did late what it was
        given up for, and the plain name is given back.
    """
    try:
        source, stamp = folders.open_source(task.work, (task.plain_name,))
    except SourceVanished:
        if not folders.exists(task.work / task.sent_name):
            raise
        if not task.is_unsent:
            return None
        _give_back(folders, task)
        source, stamp = folders.open_source(task.work, (task.plain_name,))
    first = [source.read(FIRST_BYTES)]
    if len(first[0]) < FIRST_BYTES:
        first.append(source.read(1))
    return source, stamp, first


async def _take_back(outside: Outside, task: Task) -> None:
    """Give the file its plain name again: the submit was certainly not accepted."""
    await outside.run(task.job.route, _give_back, outside.folders, task, deadline_s=WITNESS_DEADLINE_S)


def _give_back(folders: Folders, task: Task) -> None:
    if folders.exists(task.work / task.sent_name):
        folders.rename_in_work(task.work, task.sent_name, task.plain_name)
