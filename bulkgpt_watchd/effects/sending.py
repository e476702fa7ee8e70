"""
Submit a file: the one effect that must not be repeated.

Before its point of no return everything is certainly not accepted. At that point the scheduler's *pass_point* commits
SUBMITTING and the work file gets its sent name, an outside witness; only then the last block goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from bulkgpt_watchd.core.errors import OutcomeUnknown, SourceChanged
from bulkgpt_watchd.core.events import Accepted, Disturbed, Event, GaveUp
from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.ports import Folders, Upload
from bulkgpt_watchd.effects.outside import Outside, Task

FIRST_BYTES = 48 * 1024
"""What is read with opening a file, a multiple of three: most files are smaller."""


async def submit(outside: Outside, task: Task) -> Event:
    """
    Send the checked bytes and bring back the task ID.

    Errors: Unavailable, Denied, Refused, SourceVanished, InUse, DiskTrouble, NotOurTurn: certainly not accepted, and
        the file has its plain name again. A doubt is the event GaveUp("submission_unknown").
    Repeat: NO, from its point of no return on.
    """
    job, run, folders = task.job, outside.run, outside.folders
    if job.sha256 is None:
        raise ValueError("submit was asked for a job that was not checked")
    names = (task.plain_name, task.sent_name)
    source, stamp, first = await run(job.route, _open, folders, task.work, names)
    with source:
        if stamp != job.stamp:
            return Disturbed(stamp)

        async def read(size: int) -> bytes:
            return first.pop(0) if first else await run(job.route, source.read, size)

        async def pass_point() -> None:
            await task.pass_point(job, workflow_id)
            await run(job.route, folders.rename_in_work, task.work, task.plain_name, task.sent_name)

        workflow_id = task.route.workflow_id
        try:
            task_id = await outside.api.submit(Upload(workflow_id, stamp.bytes, job.sha256, read), pass_point)
        except OutcomeUnknown as doubt:
            return GaveUp("submission_unknown", str(doubt), http_status=doubt.http_status)
        except SourceChanged:
            await _take_back(outside, task)
            return Disturbed(await run(job.route, folders.stamp_of, source))
        except BaseException:
            await _take_back(outside, task)
            raise
        return Accepted(task_id)


def _open(folders: Folders, work: Path, names: Sequence[str]) -> tuple[BinaryIO, Stamp, list[bytes]]:
    """Open a file and read its beginning, of a small one all and its end: one trip to a thread is enough for it."""
    source, stamp = folders.open_source(work, names)
    first = [source.read(FIRST_BYTES)]
    if len(first[0]) < FIRST_BYTES:
        first.append(source.read(1))
    return source, stamp, first


async def _take_back(outside: Outside, task: Task) -> None:
    """Give the file its plain name again: the submit was certainly not accepted."""
    if await outside.run(task.job.route, outside.folders.exists, task.work / task.sent_name):
        await outside.run(task.job.route, outside.folders.rename_in_work, task.work, task.sent_name, task.plain_name)
