"""
Compare a work folder with the state, before the first claim: the sweep that makes restart the ordinary path.

A file's name in work is an outside witness: it says whether the file may have been sent, even where the state was
lost or an older copy of it was restored.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bulkgpt_watchd.core.events import Claimed, Deferred, GaveUp
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.names import ID_BYTES, new_id, parse_work_name, sent_name, work_name
from bulkgpt_watchd.core.outcomes import HOLDS_A_QUESTION
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.effects.intake import REASON
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.inbox import Inbox

DIED = (
    "The daemon ended after the whole file was sent and before the answer came: nobody knows whether it was accepted."
)

SENT_NAME = (
    "The file's name in work says that it may have been sent, and the state does not know of it (the state is an older "
    "copy, was lost, or belonged to another daemon)."
)

BEFORE_SENDING = frozenset({State.DISCOVERED, State.CLAIMED, State.READY})


Standing = Mapping[Path, Mapping[str, Stamp]]
"""What stands in each folder that is, or was, the work of a route."""


async def bury(inbox: Inbox, book: Book, busy: Collection[str], standing: Standing) -> None:
    """
    Turn what our own death left SUBMITTING into doubts, unless its name in work says that the last block was not sent.

    A network share may have undone the rename, so a plain name is not believed there; nor is what cannot be seen.
    Repeat: yes; after the first time nothing is left. Jobs that are *busy* await their answer.
    """
    if inbox.is_buried:
        return
    left = await book.outside.store.query(Query(routes=(inbox.key,), states=(State.SUBMITTING,)))
    await asyncio.gather(*(_bury(inbox, book, job, standing) for job in left if job.id not in busy))
    inbox.is_buried = True


async def _bury(inbox: Inbox, book: Book, job: Job, standing: Standing) -> None:
    names = {} if inbox.on_network else standing.get(Path(job.work), {})
    if work_name(job.id, job.file) in names and sent_name(job.id, job.file) not in names:
        await book.commit(job, Deferred("the daemon ended before the last block was sent", is_failure=False))
    else:
        await book.commit(job, GaveUp("submission_unknown", DIED))


async def sweep(inbox: Inbox, book: Book, busy: Collection[str], standing: Standing) -> None:
    """
    Bring work and state together.

    Shape: a file that no row knows goes on if it was certainly not sent, else it becomes a doubt; a sent name in a
        state before sending is a doubt, unless this process knows better; a claimed file whose row is not claimed yet
        is; a file whose row has ended makes its last move again. Files of *busy* jobs are being moved just now and are
        left alone.
    Repeat: yes.
    """
    for work, names in standing.items():
        for name, stamp in names.items():
            parsed = parse_work_name(name)
            if parsed is None or parsed[0] in busy or parsed[1] == "marker":
                continue
            job = await book.outside.store.get(parsed[0])
            # Asked after the row, and once more: an effect that has ended meanwhile may have moved the file.
            if await inbox.exists(work / name) and parsed[0] not in busy:
                await _settle(inbox, book, job, Found(work, name, *parsed, stamp))


@dataclass(frozen=True, slots=True)
class Found:
    """Hold one file in work, and what its name says."""

    work: Path
    name: str
    job_id: str
    kind: str  # plain | sent
    file: str
    stamp: Stamp

    @property
    def is_sent(self) -> bool:
        """Tell whether it may have been sent."""
        return self.kind == "sent"


async def _settle(inbox: Inbox, book: Book, job: Job | None, found: Found) -> None:
    if job is None:
        await _adopt(inbox, book, found, found.job_id)
    elif job.route != inbox.key:
        return
    elif job.state is State.WITHDRAWN or (found.is_sent and await _is_unaccounted(inbox, job)):
        # The row has ended without knowing of this file: it gets one of its own.
        await _adopt(inbox, book, found, new_id(secrets.token_bytes(ID_BYTES)))
    elif found.is_sent and job.state is State.READY and job.id in book.unsent:
        await inbox.rename_in_work(found.work, found.name, work_name(job.id, job.file))
    elif found.is_sent and (job.state in BEFORE_SENDING or is_older_decision(job)):
        await doubt(book, job, found.stamp, await inbox.hash_of(found.work, found.name))
    elif not found.is_sent and job.state is State.DISCOVERED:
        await book.commit(job, Claimed(found.stamp, is_settled=found.stamp == job.stamp))
    elif job.state in {State.DONE, State.FAILED}:
        await _move_again(inbox, job, found, book)


async def _is_unaccounted(inbox: Inbox, job: Job) -> bool:
    """
    Tell whether a failed row knows of no submit that a sent name could be of: it is of an older copy of the state.

    A file with a task whose way to error was undone left its reason there; one that was paid again took it along.
    """
    if job.state not in {State.FAILING, State.FAILED} or job.code in HOLDS_A_QUESTION:
        return False
    if job.task_id is None:
        return True
    return job.state is State.FAILED and not await inbox.exists(Path(f"{job.error_path}{REASON}"))


def is_older_decision(job: Job) -> bool:
    """
    Tell whether a person's decision was about an earlier submit than the one that a sent name in work speaks of.

    The file of a failed job stands in error when it is decided on; without a task it comes back under its plain name.
    """
    return job.state is State.RECALLED and job.task_id is None


async def _adopt(inbox: Inbox, book: Book, found: Found, job_id: str) -> None:
    """Make a job of a file in work that no row accounts for; its name in work follows the job's ID."""
    job = replace(inbox.new_job(job_id, found.file, found.stamp, State.CLAIMED), work=str(found.work))
    own = sent_name(job.id, job.file) if found.is_sent else work_name(job.id, job.file)
    if own != found.name:
        await inbox.rename_in_work(found.work, found.name, own)
    await book.add([job])
    book.log("job.adopted", "warning", route=inbox.key, job=job.id, file=job.file, may_have_been_sent=found.is_sent)
    if found.is_sent:
        await doubt(book, job, job.stamp, await inbox.hash_of(found.work, own))


async def doubt(book: Book, job: Job, stamp: Stamp, sha256: str | None, message: str = SENT_NAME) -> None:
    """End in doubt what may have been sent and the state does not know of."""
    if job.state is State.DISCOVERED:
        claimed = await book.commit(job, Claimed(stamp, is_settled=True))
        if claimed is None:
            return
        job = claimed
    await book.commit(job, GaveUp("submission_unknown", message, sha256=sha256))


async def _move_again(inbox: Inbox, job: Job, found: Found, book: Book) -> None:
    target = job.archive_path if job.state is State.DONE else job.error_path
    if target is None:
        return
    run, folders, place = inbox.outside.run, inbox.outside.folders, Path(target)
    book.log("job.moved_again", "warning", route=job.route, job=job.id, file=job.file)
    free = await run(job.route, folders.free_target, place.parent, place.name, job.id, ())
    await run(job.route, folders.move, found.work / found.name, place.parent / free)
