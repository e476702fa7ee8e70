"""
Hand files over: result to the outbox, original to the archive or the error folder, and back to work when recalled.

Every move is told by the absence of its source, which only we touch; so each may be repeated after a crash. Each effect
is one call in the route's threads, since it does nothing but touch files.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkgpt_watchd.core import shown
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished
from bulkgpt_watchd.core.events import (
    Archived,
    Delivered,
    Event,
    GaveUp,
    Quarantined,
    Restored,
    Resumed,
    Retargeted,
)
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.keep import is_open
from bulkgpt_watchd.core.names import base_name, marker_taken_name, render_result_name, temp_name
from bulkgpt_watchd.core.ports import Folders
from bulkgpt_watchd.core.traces import read_trace, trace_content, trace_name
from bulkgpt_watchd.effects.intake import REASON
from bulkgpt_watchd.effects.outside import Outside, Task
from bulkgpt_watchd.effects.remote import result_wanted

RECEIPT = ".receipt.json"
"""What the name of an archived file gets for the file that says what was paid and delivered."""


def in_thread(effect: Callable[[Folders, Task], Event]) -> Callable[[Outside, Task], Awaitable[Event]]:
    """Make an effect of a function that blocks."""

    def run(outside: Outside, task: Task) -> Awaitable[Event]:
        return outside.run(task.job.route, effect, outside.folders, task)

    run.__doc__ = effect.__doc__
    return run


def deliver(folders: Folders, task: Task) -> Event:
    """
    Publish the result under its final name, then its marker where the route wants one.

    Errors: DiskTrouble, InUse: later.
    Repeat: yes; a result that is gone under its dot-name was published.
    """
    job = task.job
    if job.result_path is None:
        raise ValueError(f"job {job.id} has no result to deliver")
    target = Path(job.result_path)
    try:
        folders.publish(target.parent, temp_name(job.id, job.file), target.name)
    except NameTaken:
        return Retargeted(str(target.parent / folders.free_target(target.parent, result_wanted(task).name, job.id, ())))
    if (done_file := task.route.result.done_file) is not None:
        marker = render_result_name(done_file, target.name, job.id)
        folders.write_whole(target.parent, marker, b"", replace=True)
    if job.archive_path is not None:  # delivered before, and asked for again
        return Delivered(job.archive_path)
    return Delivered(_place(folders, job, task.route.archive, RECEIPT))


def archive(folders: Folders, task: Task) -> Event:
    """
    Write the receipt, then move the original beside it (or delete it, where the route says so).

    Errors: DiskTrouble, InUse: later.
    Repeat: yes; the receipt is rewritten, and an original that is gone from work was moved.
    """
    job = task.job
    if job.archive_path is None:
        raise ValueError(f"job {job.id} has no place in the archive")
    target = Path(job.archive_path)
    source = _source_in_work(folders, task)
    keeps = task.route.on_success == "archive"
    has_source = source is not None or not keeps or folders.exists(target)
    is_changed = _is_changed(folders, job, source or target)
    content = shown.receipt(_named(task), has_source=has_source, is_changed=is_changed)
    try:
        _write_sidecar(folders, job, target, RECEIPT, content)
        if source is not None and keeps:
            folders.move(source, target)
        elif source is not None:
            folders.remove(source)
    except NameTaken:
        _drop_sidecar(folders, job, target, RECEIPT)
        return Retargeted(_place(folders, job, task.route.archive, RECEIPT))
    return Archived(is_changed, is_lost=not has_source)


def quarantine(folders: Folders, task: Task) -> Event:
    """
    Write the reason, then move the file beside it; drop an unpublished result.

    What was or may have been paid leaves a trace in work first: an older copy of the state would not know of it.

    Errors: DiskTrouble, InUse: later.
    Repeat: yes; the name was committed first, and a file that is gone from work was moved.
    """
    job = task.job
    if job.error_path is None:
        return Retargeted(_stands_at(folders, task) or _place(folders, job, task.route.error, REASON))
    target = Path(job.error_path)
    source = _source_in_work(folders, task)
    has_source = source is not None or folders.exists(target)
    if is_open(job) and folders.exists(task.work):  # gone with an inbox that was moved: no later state looks there
        folders.write_whole(task.work, trace_name(job.id), trace_content(job), replace=True)
    try:
        _write_sidecar(folders, job, target, REASON, shown.error_file(_named(task), has_source=has_source))
        if source is not None:
            folders.move(source, target)
    except NameTaken:
        _drop_sidecar(folders, job, target, REASON)
        return Retargeted(_place(folders, job, task.route.error, REASON))
    folders.remove(task.work / marker_taken_name(job.id, job.file))
    if job.result_path is not None and job.delivered_at is None:
        folders.remove(Path(job.result_path).parent / temp_name(job.id, job.file))
    return Quarantined(is_lost=not has_source)


def recall(folders: Folders, task: Task) -> Event:
    """
    Take a failed job's file and reason out of the error folder, back into work.

    Errors: DiskTrouble, InUse: later. NameTaken cannot be: the name in work has the job's ID.
    Repeat: yes; a file that stands in work already was moved.
    """
    job = task.job
    name = task.plain_name if job.task_id is None else task.sent_name
    if job.error_path is not None:
        folders.move(Path(job.error_path), task.work / name)
        folders.remove(Path(job.error_path + REASON))
    folders.remove(task.work / trace_name(job.id))
    if job.task_id is not None:
        return Resumed()
    if not folders.exists(task.work / name):
        return GaveUp("source_lost", "The file is no longer where it failed; it cannot be submitted again.")
    return Restored()


def _named(task: Task) -> Job:
    """Give the job as it is told: with its route's name, and the workflow that it was for."""
    workflow_id = task.job.workflow_id or task.route.workflow_id
    return replace(task.job, route=task.route.name, workflow_id=workflow_id)


def _source_in_work(folders: Folders, task: Task) -> Path | None:
    candidates = (task.work / name for name in (task.sent_name, task.plain_name))
    return next((path for path in candidates if folders.exists(path)), None)


def _stands_at(folders: Folders, task: Task) -> str | None:
    """Give where a file stands in error already that an older copy of the state did not know of."""
    trace = read_trace(task.job.id, folders.read_small(task.work / trace_name(task.job.id)) or b"")
    if trace is None:
        return None
    present = folders.read_small(Path(trace.error_path + REASON))
    return trace.error_path if present is not None and is_of(task.job, present) else None


def _is_changed(folders: Folders, job: Job, path: Path) -> bool:
    """Tell whether an original has another size than what was sent; its inode and time may be those of a copy."""
    with contextlib.suppress(SourceVanished, InUse, DiskTrouble):  # cannot be told, which must not hold it up
        source, stamp = folders.open_source(path.parent, (path.name,))
        source.close()
        return stamp.bytes != job.size_bytes
    return False


def _place(folders: Folders, job: Job, root: Path, suffix: str) -> str:
    """Choose a free pair of names for the file and what goes with it; sub-folders of the inbox are kept, and made."""
    folder = folders.make_below(root, root / os.path.dirname(job.file))
    return str(folder / folders.free_target(folder, base_name(job.file), job.id, (suffix,)))


def _write_sidecar(folders: Folders, job: Job, target: Path, suffix: str, content: dict[str, Any]) -> None:
    """
    Write the file that goes with *target*.

    Errors: NameTaken: another job's, or a foreign file, stands there.
    Repeat: yes; our own is replaced.
    """
    name = target.name + suffix
    present = folders.read_small(target.parent / name)
    text = json.dumps(content, indent=2).encode() + b"\n"
    is_ours = present is not None and is_of(job, present)
    folders.write_whole(target.parent, name, text, replace=is_ours, job_id=job.id)


def _drop_sidecar(folders: Folders, job: Job, target: Path, suffix: str) -> None:
    """Take back what was written beside a name that turned out to be taken."""
    path = target.with_name(target.name + suffix)
    if (present := folders.read_small(path)) is not None and is_of(job, present):
        folders.remove(path)


def is_of(job: Job, content: bytes) -> bool:
    """Tell whether a sidecar with this content is the job's own."""
    try:
        sidecar = json.loads(content)
    except ValueError:
        return False
    return isinstance(sidecar, dict) and sidecar.get("job") == job.id
