"""
Hand files over: result to the outbox, original to the archive or the error folder, and back to work when recalled.

Every move is told by the absence of its source, which only we touch; so each may be repeated after a crash.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkgpt_watchd.core import shown
from bulkgpt_watchd.core.errors import NameTaken
from bulkgpt_watchd.core.events import Archived, Delivered, Event, GaveUp, Quarantined, Restored, Resumed, Retargeted
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.names import base_name, marker_taken_name, render_result_name, temp_name
from bulkgpt_watchd.effects.intake import REASON
from bulkgpt_watchd.effects.outside import Outside, Task
from bulkgpt_watchd.effects.remote import result_place

RECEIPT = ".receipt.json"


async def deliver(outside: Outside, task: Task) -> Event:
    """
    Publish the result under its final name, then its marker where the route wants one.

    Errors: DiskTrouble, InUse: later.
    Repeat: yes; a result that is gone under its dot-name was published.
    """
    job, run, folders = task.job, outside.run, outside.folders
    if job.result_path is None:
        raise ValueError(f"job {job.id} has no result to deliver")
    target = Path(job.result_path)
    try:
        await run(job.route, folders.publish, target.parent, temp_name(job.id, job.file), target.name)
    except NameTaken:
        _, name = result_place(task)
        return Retargeted(await _free(outside, job, target.parent, name, ()))
    if (done_file := task.route.result.done_file) is not None:
        marker = render_result_name(done_file, target.name, job.id)
        await run(job.route, folders.write_whole, target.parent, marker, b"", replace=True)
    if job.archive_path is not None:  # delivered before, and asked for again
        return Delivered(job.archive_path)
    place = await _place(outside, task, task.route.archive)
    return Delivered(await _free(outside, job, place, base_name(job.file), (RECEIPT,)))


async def archive(outside: Outside, task: Task) -> Event:
    """
    Write the receipt, then move the original beside it (or delete it, where the route says so).

    Errors: DiskTrouble, InUse: later.
    Repeat: yes; the receipt is rewritten, and an original that is gone from work was moved.
    """
    job = task.job
    if job.archive_path is None:
        raise ValueError(f"job {job.id} has no place in the archive")
    target = Path(job.archive_path)
    source = await _source_in_work(outside, task)
    has_source = source is not None or await outside.run(job.route, outside.folders.exists, target)
    keeps = task.route.on_success == "archive"
    try:
        await _write_sidecar(outside, job, target, RECEIPT, shown.receipt(job, has_source=has_source or not keeps))
        if source is not None and keeps:
            await outside.run(job.route, outside.folders.move, source, target)
        elif source is not None:
            await outside.run(job.route, outside.folders.remove, source)
    except NameTaken:
        return Retargeted(await _free(outside, job, target.parent, base_name(job.file), (RECEIPT,)))
    return Archived()


async def quarantine(outside: Outside, task: Task) -> Event:
    """
    Write the reason, then move the file beside it; drop an unpublished result.

    Errors: DiskTrouble, InUse: later.
    Repeat: yes; the name was committed first, and a file that is gone from work was moved.
    """
    job, run, folders = task.job, outside.run, outside.folders
    if job.error_path is None:
        place = await _place(outside, task, task.route.error)
        return Retargeted(await _free(outside, job, place, base_name(job.file), (REASON,)))
    target = Path(job.error_path)
    source = await _source_in_work(outside, task)
    has_source = source is not None or await run(job.route, folders.exists, target)
    try:
        named = replace(job, workflow_id=job.workflow_id or task.route.workflow_id)
        await _write_sidecar(outside, job, target, REASON, shown.error_file(named, has_source=has_source))
        if source is not None:
            await run(job.route, folders.move, source, target)
    except NameTaken:
        return Retargeted(await _free(outside, job, target.parent, base_name(job.file), (REASON,)))
    await run(job.route, folders.remove, task.work / marker_taken_name(job.id, job.file))
    if job.result_path is not None and job.delivered_at is None:
        result = Path(job.result_path)
        await run(job.route, folders.remove, result.parent / temp_name(job.id, job.file))
    return Quarantined()


async def recall(outside: Outside, task: Task) -> Event:
    """
    Take a failed job's file and reason out of the error folder, back into work.

    Errors: DiskTrouble, InUse: later. NameTaken cannot be: the name in work has the job's ID.
    Repeat: yes; a file that stands in work already was moved.
    """
    job, run, folders = task.job, outside.run, outside.folders
    name = task.plain_name if job.task_id is None else task.sent_name
    if job.error_path is not None:
        stands_in_error = Path(job.error_path)
        await run(job.route, folders.move, stands_in_error, task.work / name)
        await run(job.route, folders.remove, Path(job.error_path + REASON))
    source = await _source_in_work(outside, task)
    if job.task_id is not None:
        return Resumed()
    if source is None:
        return GaveUp("source_lost", "The file is no longer where it failed; it cannot be submitted again.")
    if source.name != name:
        await run(job.route, folders.rename_in_work, task.work, source.name, name)
    return Restored()


async def _source_in_work(outside: Outside, task: Task) -> Path | None:
    for name in (task.sent_name, task.plain_name):
        path = task.work / name
        if await outside.run(task.job.route, outside.folders.exists, path):
            return path
    return None


async def _place(outside: Outside, task: Task, folder: Path) -> Path:
    """Give the folder for this file below *folder*; sub-folders of the inbox are kept, and made."""
    below = os.path.dirname(task.job.file)
    if not below:
        return folder
    await outside.run(task.job.route, outside.folders.make_below, folder, folder / below)
    return folder / below


async def _free(outside: Outside, job: Job, folder: Path, name: str, suffixes: tuple[str, ...]) -> str:
    free = await outside.run(job.route, outside.folders.free_target, folder, name, job.id, suffixes)
    return str(folder / free)


async def _write_sidecar(outside: Outside, job: Job, target: Path, suffix: str, content: dict[str, Any]) -> None:
    """
    Write the file that goes with *target*.

    Errors: NameTaken: another job's, or a foreign file, stands there.
    Repeat: yes; our own is replaced.
    """
    name = target.name + suffix
    text = json.dumps(content, indent=2).encode() + b"\n"
    present = await outside.run(job.route, outside.folders.read_small, target.parent / name)
    await outside.run(
        job.route,
        outside.folders.write_whole,
        target.parent,
        name,
        text,
        replace=present is not None and _is_of(job, present),
    )


def _is_of(job: Job, content: bytes) -> bool:
    try:
        sidecar = json.loads(content)
    except ValueError:
        return False
    return isinstance(sidecar, dict) and sidecar.get("job") == job.id
