"""
Hold the traces of files in error against the state, before the first claim: no older copy forgets what was paid.

A trace lies in work while the question of a failed job is open (`core/traces.py`). A row that is older than its trace
does not know of the submit that the trace speaks of: it becomes a doubt, for a person to answer.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from bulkgpt_watchd.core.errors import DiskTrouble, InUse
from bulkgpt_watchd.core.job import TERMINAL, Job, Stamp, State
from bulkgpt_watchd.core.keep import is_decided
from bulkgpt_watchd.core.names import ID_BYTES, new_id
from bulkgpt_watchd.core.outcomes import HOLDS_A_QUESTION
from bulkgpt_watchd.core.traces import Trace, job_of_trace, read_trace, trace_name
from bulkgpt_watchd.effects.outside import CALL_DEADLINE_S, OnDisk
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.inbox import Inbox
from bulkgpt_watchd.scheduler.reconcile import BEFORE_SENDING, Standing, doubt, is_older_decision

UNKNOWN = Stamp(0, 0, 0)
"""Of a file that stands in error, or nowhere: when it comes back into work it is looked at anew."""


@dataclass(frozen=True, slots=True)
class Traced:
    """Hold one trace, and where it lies."""

    work: Path
    trace: Trace


async def follow_traces(inbox: Inbox, book: Book, busy: Collection[str], standing: Standing) -> None:
    """
    Make doubts of what the state does not know, and remove what is decided.

    Repeat: yes. Traces of *busy* jobs are being written just now.
    """
    for work, names in standing.items():
        for job_id in filter(None, map(job_of_trace, names)):
            # The row is read after the trace, so that only an older copy of the state can be behind it.
            trace = await _read(inbox, work, job_id)
            job = await book.outside.store.get(job_id)
            if trace is not None and job_id not in busy and (job is None or job.route == inbox.key):
                await _hold(inbox, book, job, Traced(work, trace))


async def _hold(inbox: Inbox, book: Book, job: Job | None, found: Traced) -> None:
    trace = found.trace
    if job is None:
        await _adopt(inbox, book, found, trace.job_id)
    elif job.revision >= trace.revision or _is_accounted(job, trace):
        if job.state in TERMINAL and is_decided(job):
            await erase(inbox.outside, job)
    elif job.state in BEFORE_SENDING or is_older_decision(job):
        await doubt(book, job, job.stamp, trace.sha256, trace.message)
    elif job.state is not State.FAILING and is_decided(job):
        # The row went another way before this submit: the submit gets a row of its own.
        new = new_id(secrets.token_bytes(ID_BYTES))
        await inbox.rename_in_work(found.work, trace_name(job.id), trace_name(new))
        await _adopt(inbox, book, found, new)


def _is_accounted(job: Job, trace: Trace) -> bool:
    """Tell whether an older row has the task that the trace speaks of."""
    return trace.code not in HOLDS_A_QUESTION and job.task_id is not None and job.task_id == trace.task_ids[-1]


async def _adopt(inbox: Inbox, book: Book, found: Traced, job_id: str) -> None:
    trace = found.trace
    new = inbox.new_job(job_id, trace.file, replace(UNKNOWN, bytes=trace.size_bytes), State.CLAIMED)
    job = replace(new, work=str(found.work))
    await book.add([job])
    book.log("job.adopted", "warning", route=inbox.key, job=job.id, file=job.file, may_have_been_sent=True)
    await doubt(book, job, job.stamp, trace.sha256, trace.message)


async def erase(outside: OnDisk, job: Job, inbox: Inbox | None = None) -> None:
    """
    Remove the trace of a job that is decided; where that fails, the next start does it.

    So it does where *inbox* cannot be used: its work may be another's.
    """
    if inbox is not None and inbox.reason is not None:
        return
    with contextlib.suppress(DiskTrouble, InUse):
        trace = Path(job.work) / trace_name(job.id)
        await outside.run(job.route, outside.folders.remove, trace, deadline_s=CALL_DEADLINE_S)


async def _read(inbox: Inbox, work: Path, job_id: str) -> Trace | None:
    path = work / trace_name(job_id)
    content = await inbox.outside.run(inbox.key, inbox.outside.folders.read_small, path, deadline_s=CALL_DEADLINE_S)
    return None if content is None else read_trace(job_id, content)
