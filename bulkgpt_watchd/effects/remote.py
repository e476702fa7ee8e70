"""Ask about a task, and fetch its result: free calls, repeated as needed."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import BinaryIO

from bulkgpt_watchd.core import table
from bulkgpt_watchd.core.errors import DiskTrouble, LinkBroken, Refused, TaskNotKnown
from bulkgpt_watchd.core.events import Deferred, Event, Fetched, Finished, GaveUp
from bulkgpt_watchd.core.names import render_result_name, temp_name
from bulkgpt_watchd.core.policy import BAD_RESULT_TRIES, waited_s
from bulkgpt_watchd.core.ports import Download, Folders
from bulkgpt_watchd.core.verdict import of_status, of_unknown_task
from bulkgpt_watchd.effects.outside import CALL_DEADLINE_S, Outside, Task

CLEANUP_DEADLINE_S = 5.0
"""How long removing an unfinished result may hold up a stop; the next try removes what is left."""


async def poll(outside: Outside, task: Task) -> Event:
    """
    Ask how far the task is.

    Errors: Unavailable, Denied, ReplyNotUnderstood: later; a paid task is never failed by silence.
    Repeat: yes, it is a free question.
    """
    event, _ = await _ask(outside, task)
    return event


async def download(outside: Outside, task: Task) -> Event:
    """
    Fetch the whole result under a dot-name beside its target.

    A fresh link is asked for each time: links expire, and none has to be remembered.
    Errors: as poll; DiskTrouble: later.
    Repeat: yes; a result that is there under its dot-name is fetched anew.
    """
    event, url = await _ask(outside, task)
    if url is None or not isinstance(event, Finished):
        return event
    try:
        async with outside.api.download(url) as answer:
            return await _store(outside, task, answer)
    except LinkBroken as error:
        return _later_or_never(outside, task, "result_unavailable", str(error))
    except Refused as error:
        if task.job.bad_results + 1 >= BAD_RESULT_TRIES:
            return GaveUp("result_invalid", str(error), line=error.line)
        return Deferred(str(error), is_bad_result=True, is_answer=True)


async def _ask(outside: Outside, task: Task) -> tuple[Event, str | None]:
    job = task.job
    if job.task_id is None:
        raise ValueError(f"there is no task ID to ask about in job {job.id}")
    takes_partial = job.takes_partial or task.route.on_partial == "deliver"
    try:
        status = await outside.api.status(job.task_id)
    except TaskNotKnown as error:
        return of_unknown_task(job, str(error), outside.clock.now(), task.policy), None
    event = of_status(job, status, outside.clock.now(), task.policy, takes_partial=takes_partial)
    return event, status.download_url


def _later_or_never(outside: Outside, task: Task, code: str, message: str) -> Event:
    waited = task.job.patience_s + waited_s(task.job, outside.clock.now(), task.policy)
    return GaveUp(code, message) if waited >= task.policy.task_timeout_s else Deferred(message, is_answer=True)


async def _store(outside: Outside, task: Task, answer: Download) -> Event:
    job, run, folders = task.job, outside.run, outside.folders
    folder, target = await run(job.route, _create, folders, task, deadline_s=CALL_DEADLINE_S)
    digest, size_bytes = hashlib.sha256(), 0
    try:
        async for block in answer.blocks:
            digest.update(block)
            size_bytes += len(block)
            await run(job.route, target.write, block, deadline_s=CALL_DEADLINE_S)
        name, rows_out = await run(
            job.route, _complete, folders, task, folder, target, is_delimited=answer.is_delimited
        )
    except BaseException:
        # What is left under the dot-name is made anew by the next try; a share that hangs must not hold us up here.
        outside.later(job.route, target.close)
        with contextlib.suppress(DiskTrouble):
            await run(job.route, folders.remove, folder / temp_name(job.id, job.file), deadline_s=CLEANUP_DEADLINE_S)
        raise
    return Fetched(str(folder / name), digest.hexdigest(), size_bytes, rows_out)


def _create(folders: Folders, task: Task) -> tuple[Path, BinaryIO]:
    """Open the result under its dot-name, in the folder where it will stand."""
    folder = folders.make_below(task.route.outbox, result_wanted(task).parent)
    temp = temp_name(task.job.id, task.job.file)
    return folder, folders.create(folder, temp, task.route.result.mode, task.route.result.group)


def _complete(folders: Folders, task: Task, folder: Path, target: BinaryIO, *, is_delimited: bool) -> tuple[str, int]:
    """
    Bring the result to disk, check it, and choose its name.

    Errors: Refused: no CSV. LinkBroken: no length, no chunks, and other rows than went in: maybe cut.
    """
    job = task.job
    folders.finish(target, folder)
    blocks = folders.read_blocks(folder, temp_name(job.id, job.file))
    rows_out = table.rows_of_result(blocks, may_be_cut=not is_delimited)
    if not is_delimited and rows_out != job.rows:
        raise LinkBroken(f"the result came without a length and has {rows_out} rows for {job.rows}: maybe cut")
    return folders.free_target(folder, result_wanted(task).name, job.id, ()), rows_out


def result_wanted(task: Task) -> Path:
    """Give the path that the result should get; sub-folders of the inbox are kept."""
    return task.route.outbox / render_result_name(task.route.result.name, task.job.file, task.job.id)
