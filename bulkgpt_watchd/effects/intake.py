"""Take a file in: claim it, then check it before anything is paid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from bulkgpt_watchd.config import ApiSettings, Route
from bulkgpt_watchd.core import table
from bulkgpt_watchd.core.duplicates import GAVE_UP, DuplicateRule, obstacle, superseded
from bulkgpt_watchd.core.errors import Refused, SourceChanged, SourceVanished
from bulkgpt_watchd.core.events import Claimed, Disturbed, Event, GaveUp, Prepared, Vanished
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.names import marker_taken_name, printable, render_marker_name, sent_name, work_name
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.ports import Folders
from bulkgpt_watchd.effects.outside import OnDisk, Outside, Task

READ_BYTES = 64 * 1024
"""Block size of checking: large enough that reading costs nothing, small enough to be no large block of memory."""

HASH_REFUSED_BYTES = 64_000_000
"""A refused file up to this size is read to its end for its hash; a sparse terabyte is not."""

REASON = ".error.json"
"""What the name of a failed file gets for the file that says why."""


async def claim(outside: Outside, task: Task) -> Event:
    """
    Rename the file from the inbox into work; with a marker, the marker first.

    Shape: where the route no longer takes from that inbox, only what is in work already was claimed.
    Errors: InUse, DiskTrouble: later.
    Repeat: yes; a file that is gone from the inbox and stands in work was claimed.
    """
    job, run, folders = task.job, outside.run, outside.folders
    inbox, done_file = Path(job.inbox), task.route.ready.done_file
    marker = None
    if done_file is not None:
        marker = (render_marker_name(done_file, job.file), marker_taken_name(job.id, job.file))
    try:
        if not task.is_taking and not await run(job.route, folders.exists, task.work / task.plain_name):
            raise SourceVanished(f"{job.file} is left in {inbox}")
        stamp = await run(job.route, folders.claim, inbox, job.file, task.work, task.plain_name, job.stamp, marker)
    except (SourceVanished, SourceChanged):
        if marker is not None:
            await run(job.route, folders.unclaim_marker, inbox, marker[0], task.work, marker[1])
        return Vanished()
    return Claimed(stamp, is_settled=stamp == job.stamp)


async def prepare(outside: Outside, task: Task) -> Event:
    """
    Check and hash the claimed file, and look whether the same bytes were submitted before.

    Errors: Refused: with the contract's code. SourceVanished: lost. DiskTrouble, InUse: later.
    Repeat: yes; nothing is changed but sidecars of failed jobs that this file supersedes.
    """
    job, run, folders = task.job, outside.run, outside.folders
    if task.route.ready.done_file is not None:
        # The claim is committed, so the marker that was taken has served.
        await run(job.route, folders.remove, task.work / marker_taken_name(job.id, job.file))
    check_size(job.size_bytes, task.api)
    found = await run(
        job.route, inspect, folders, task.work, (task.plain_name, task.sent_name), job.stamp, rules_of(task.route)
    )
    if found.sha256 is None and found.refusal is None:
        return Disturbed(found.stamp)
    return await _against_twins(outside, task, found)


def check_size(size_bytes: int, api: ApiSettings) -> None:
    """Refuse a file that is larger than what may be sent."""
    limit = api.max_upload_bytes
    if limit is not None and size_bytes > limit:
        raise Refused("too_large", f"The file has {size_bytes} bytes; api.max_upload_bytes is {limit}.")


def duplicate_rule(route: Route, now: float) -> DuplicateRule:
    """Give what the route says about duplicates, at this moment."""
    return DuplicateRule(
        is_on=route.duplicates == "error",
        workflow_id=route.workflow_id,
        since=now - route.duplicate_window,
    )


def duplicate_of(other: Job) -> GaveUp:
    """Give the verdict of a file whose bytes *other* has, naming that job and its result."""
    where = f"; its result is {printable(other.result_path)}" if other.delivered_at and other.result_path else ""
    state = f"it failed with {other.code}: {OUTCOMES[other.code].meaning}" if other.code else f"it is {other.state}"
    return GaveUp(
        "duplicate",
        f"Job {other.id} ({printable(other.file)}) has the same bytes on this route; {state}{where}",
        related_job=other.id,
    )


async def moved_back(outside: OnDisk, route: str, twins: Sequence[Job]) -> set[str]:
    """Give the IDs of the failed ones whose file left the error folder, also before an older state knows that."""
    failed = [twin for twin in twins if twin.state in GAVE_UP]
    return {twin.id for twin in failed if not await outside.run(route, _stands, outside.folders, twin)}


def _stands(folders: Folders, failed: Job) -> bool:
    """Tell whether its file is in work, on its way to the error folder, or there."""
    names = (sent_name(failed.id, failed.file), work_name(failed.id, failed.file))
    places = [Path(failed.work) / name for name in names if failed.state is State.FAILING]
    return any(map(folders.exists, [*places, *map(Path, filter(None, [failed.error_path]))]))


async def _against_twins(outside: Outside, task: Task, found: Inspected) -> Event:
    """Refuse the same bytes, or take over from failed jobs whose file was moved back into the inbox."""
    job = replace(task.job, sha256=found.sha256)
    twins = await outside.store.twins(job)
    moved = await moved_back(outside, job.route, twins)
    other = obstacle(job, twins, duplicate_rule(task.route, outside.clock.now()), moved)
    old_ones = superseded(twins, moved)
    for twin in twins:
        if twin.id in old_ones and twin.error_path is not None:
            await outside.run(job.route, outside.folders.remove, Path(twin.error_path + REASON))
    if found.refusal is not None:
        refusal = found.refusal
        return GaveUp(refusal.code, str(refusal), refusal.line, supersedes=old_ones, sha256=found.sha256)
    if other is not None:
        return replace(duplicate_of(other), supersedes=old_ones, sha256=found.sha256)
    return Prepared(found.stamp, found.sha256 or "", found.rows, supersedes=old_ones)


def rules_of(route: Route) -> table.Rules:
    """Give what the route asks of a CSV."""
    csv = route.csv
    return table.Rules(
        delimiter=None if csv.delimiter == "auto" else csv.delimiter,
        required_columns=csv.required_columns,
        max_rows=csv.max_rows,
        check=csv.check != "off",
    )


@dataclass(frozen=True, slots=True)
class Inspected:
    """
    Hold what one reading of a file found.

    Shape: neither hash nor refusal: somebody wrote to the file since it was settled. With a *refusal* the hash is
        there only where the rest of the file was small enough to be read for it.
    """

    stamp: Stamp
    sha256: str | None = None
    rows: int = 0
    refusal: Refused | None = None


def inspect(folders: Folders, folder: Path, names: Sequence[str], settled: Stamp, rules: table.Rules) -> Inspected:
    """
    Check and hash one file: the first of *names* that is there.

    Errors: SourceVanished, DiskTrouble, InUse.
    Repeat: yes, it changes nothing.
    """
    source, before = folders.open_source(folder, names)
    with source:
        if before != settled:
            return Inspected(before)
        digest = hashlib.sha256()
        blocks = _hashed_blocks(source, digest)
        rows, refusal = 0, None
        try:
            rows = table.check(blocks, rules).rows
        except Refused as error:
            refusal = error
        is_hashed = refusal is None or before.bytes <= HASH_REFUSED_BYTES
        if is_hashed:
            for _ in blocks:
                """The hash is of the whole file, also where the check stopped early."""
        after = folders.stamp_of(source)
        if after != before:
            return Inspected(after)
        return Inspected(after, digest.hexdigest() if is_hashed else None, rows, refusal)


def _hashed_blocks(source: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    while block := source.read(READ_BYTES):
        digest.update(block)
        yield block
