"""
Compare a work folder with the state, before the first claim: the sweep that makes restart the ordinary path.

A file's name in work is an outside witness: it says whether the file may have been sent, even where the state was
lost or an older copy of it was restored.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
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

BEFORE_SENDING = frozenset({State.DISCOVERED, State.CLAIMED, State.READY})


async def bury(inbox: Inbox, book: Book, busy: Collection[str]) -> None:
    """
    Turn what our own death left SUBMITTING into doubts, unless its name in work says that the last block was not sent.

    A network share may have undone the rename, so a plain name is not believed there.
    Repeat: yes. Jobs that are *busy* await their answer.
    """
    left = await book.outside.store.query(Query(routes=(inbox.key,), states=(State.SUBMITTING,)))
    names = await inbox.list_work() if left and not inbox.on_network else {}
    for job in left:
        if job.id in busy:
            continue
        is_plain = work_name(job.id, job.file) in names and sent_name(job.id, job.file) not in names
        if is_plain and job.work == str(inbox.route.work):
            reason = "the daemon ended before the last block was sent"
            await book.commit(job, Deferred(reason, is_failure=False))
        else:
            await book.commit(job, GaveUp("submission_unknown", DIED))


async def sweep(inbox: Inbox, book: Book, busy: Collection[str]) -> None:
    """
    Bring work and state together.

    Shape: a file that no row knows goes on if it was certainly not sent, else it becomes a doubt; a sent name in a
        state before sending is a doubt, unless this process knows better; a claimed file whose row is not claimed yet
        is; a file whose row has ended makes its last move again. Files of *busy* jobs are being moved just now and are
        left alone.
    Repeat: yes.
    """
    for name, stamp in (await inbox.list_work()).items():
        parsed = parse_work_name(name)
        if parsed is None or parsed[0] in busy:
            continue
        job_id, kind, rest = parsed
        job = await book.outside.store.get(job_id)
        if kind == "marker":
            continue
        if job is None:
            await _adopt(inbox, book, name, job_id, rest, stamp, is_sent=kind == "sent")
        elif job.state is State.WITHDRAWN or (kind == "sent" and await _is_unaccounted(inbox, job)):
            # The row has ended without knowing of this file: it gets one of its own.
            await _adopt(inbox, book, name, new_id(secrets.token_bytes(ID_BYTES)), rest, stamp, is_sent=kind == "sent")
        elif kind == "sent" and job.state is State.READY and job.id in book.unsent:
            await inbox.rename_in_work(name, work_name(job.id, job.file))
        elif kind == "sent" and (job.state in BEFORE_SENDING or _is_older_decision(job)):
            await _doubt(book, job, stamp, await inbox.hash_of(name))
        elif kind == "plain" and job.state is State.DISCOVERED:
            await book.commit(job, Claimed(stamp, is_settled=stamp == job.stamp))
        elif job.state in {State.DONE, State.FAILED}:
            await _move_again(inbox, job, name, book)


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


def _is_older_decision(job: Job) -> bool:
    """
    Tell whether a person's decision was about an earlier submit than the one that a sent name in work speaks of.

    The file of a failed job stands in error when it is decided on; without a task it comes back under its plain name.
    """
    return job.state is State.RECALLED and job.task_id is None


async def _adopt(inbox: Inbox, book: Book, name: str, job_id: str, file: str, stamp: Stamp, *, is_sent: bool) -> None:
    """Make a job of a file in work that no row accounts for; its name in work follows the job's ID."""
    job = inbox.new_job(job_id, file, stamp, State.CLAIMED)
    own = sent_name(job.id, job.file) if is_sent else work_name(job.id, job.file)
    if own != name:
        await inbox.rename_in_work(name, own)
    await book.add([job])
    book.log("job.adopted", "warning", route=inbox.key, job=job.id, file=job.file, may_have_been_sent=is_sent)
    if is_sent:
        await _doubt(book, job, job.stamp, await inbox.hash_of(own))


async def _doubt(book: Book, job: Job, stamp: Stamp, sha256: str | None) -> None:
    """End in doubt: the name says that the file may have been sent, and the state does not know of it."""
    if job.state is State.DISCOVERED:
        claimed = await book.commit(job, Claimed(stamp, is_settled=True))
        if claimed is None:
            return
        job = claimed
    await book.commit(
        job,
        GaveUp(
            "submission_unknown",
            "The file's name in work says that it may have been sent, and the state does not know of it "
            "(the state is an older copy, was lost, or belonged to another daemon).",
            sha256=sha256,
        ),
    )


async def _move_again(inbox: Inbox, job: Job, name: str, book: Book) -> None:
    target = job.archive_path if job.state is State.DONE else job.error_path
    if target is None:
        return
    run, folders, place = inbox.outside.run, inbox.outside.folders, Path(target)
    book.log("job.moved_again", "warning", route=job.route, job=job.id, file=job.file)
    free = await run(job.route, folders.free_target, place.parent, place.name, job.id, ())
    await run(job.route, folders.move, inbox.route.work / name, place.parent / free)
