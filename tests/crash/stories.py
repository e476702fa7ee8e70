"""Tell the stories in which the daemon is killed: what was before, what a person does, and how all must end."""

from __future__ import annotations

import errno
import json
import math
import re
import shutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bulkgpt_watchd.config.route import BudgetSettings, CsvSettings, ReadySettings, ResultSettings
from bulkgpt_watchd.core.errors import OutcomeUnknown, Refused, Unavailable
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.outcomes import HOLDS_A_QUESTION
from bulkgpt_watchd.sandbox import answer
from tests.crash.fuse import Refusal, on_local_disk
from tests.daemon import Daemon, Place
from tests.fakes import FakeTask, SubmitFault

CSV = b"Input_1\n1\n2\n3\n"
OTHER = b"Input_1\n4\n"
BROKEN = b'Input_1\n"1\n'
FOREIGN = b"somebody else's\n"

MANY = {f"m{number}.csv": b"Input_1\n%d\n" % number for number in range(5)}
MORE = {f"o{number}.csv": b"Input_1\norder %d\n" % number for number in range(3)}

Tree = dict[str, bytes]
"""Files by path below the place; of our own JSON only its code, or an empty text, is told."""

LOST = OutcomeUnknown("connection reset after the file was sent")
BUSY = Unavailable("HTTP 503: busy", retry_after_s=1.0, http_status=503)


async def nobody(_daemon: Daemon) -> None:
    """Be a person who does nothing."""


@dataclass(frozen=True)
class Story:
    """
    Hold one story.

    Shape: *before* sets the scene, unharmed. *person* acts in every life; what a kill has undone is done again. *ends*
        is the tree at the end, with JOB for the ID of any job; *resolved* the one after doubts were resolved, where
        that is another. *contents* are the bytes of all dropped files.
        *most_paid*: how often one content may be accepted. *refusal*: what the file system cannot do. *copies*: how
        many more copies of a file may stand there at an instant. *is_race*: two files want one name.
    """

    before: Callable[[Place], Awaitable[None]]
    ends: Tree
    person: Callable[[Daemon], Awaitable[None]] = nobody
    contents: tuple[bytes, ...] = (CSV,)
    most_paid: int = 1
    keeps_originals: bool = True
    resolved: Tree | None = None
    refusal: Refusal = on_local_disk
    copies: int = 0
    is_race: bool = False


def archived(content: bytes = CSV, name: str = "a.csv", route: str = "leads", result: bytes | None = None) -> Tree:
    """Give the tree of a delivered file."""
    return {
        f"{route}/outbox/{name}": answer(content) if result is None else result,
        f"{route}/archive/{name}": content,
        f"{route}/archive/{name}.receipt.json": b"",
    }


def failed(code: str, content: bytes = CSV, name: str = "a.csv", route: str = "leads") -> Tree:
    """Give the tree of a failed file."""
    trace = {f"{route}/inbox/.bulkgpt-watchd/JOB.error.json": code.encode()} if code in HOLDS_A_QUESTION else {}
    return {f"{route}/error/{name}": content, f"{route}/error/{name}.error.json": code.encode(), **trace}


# --- people -----------------------------------------------------------------------------------------------------------


def accepted_for(place: Place, job: Job, content: bytes) -> str | None:
    """Look at the dashboard for a task with this file that the job does not know."""
    found = (sent.task_id for sent in place.api.accepted if sent.csv == content and sent.task_id not in job.task_ids)
    return next(found, None)


async def resolve(daemon: Daemon) -> None:
    """Answer every doubt by what BulkGPT's dashboard says."""
    for job in await daemon.jobs():
        if job.is_doubt:
            content = content_of(job)
            task_id = accepted_for(daemon.place, job, content)
            await daemon.acts.resolve("a person", job.id, task_id=task_id, not_submitted=task_id is None)


def content_of(job: Job) -> bytes:
    places = [Path(job.work) / f"{job.id}{mark}-{Path(job.file).name}" for mark in ("", ".sent")]
    places += [Path(job.error_path)] if job.error_path else []
    return next(path for path in places if path.exists()).read_bytes()


async def retry(daemon: Daemon) -> None:
    job = await daemon.job("a.csv")
    if job.code == "too_many_rows":
        await daemon.acts.retry("a person", [job.id])


async def pay_again(daemon: Daemon) -> None:
    job = await daemon.job("a.csv")
    if job.code == "task_error":
        await daemon.acts.retry("a person", [job.id], pay_again=True)


async def let_go(daemon: Daemon) -> None:
    """Let the budget go once one file has ended; until then nothing more was paid."""
    if not daemon.place.told("budget.lifted"):
        await daemon.run_until(lambda: any(daemon.scheduler.book.counts["leads", state] for state in TERMINAL))
        assert len(daemon.place.api.accepted) <= 1
        await daemon.acts.resume("a person", "leads", over_budget=True)


async def redeliver(daemon: Daemon) -> None:
    job = await daemon.job("a.csv")
    results = [name for name in daemon.place.files("outbox") if not name.startswith(".")]
    if job.state is State.DONE and len(results) < (1 if daemon.place.told("result.fetched") else 2):
        await daemon.acts.redeliver("a person", job.id)


async def take_what_there_is(daemon: Daemon) -> None:
    job = await daemon.job("a.csv")
    if job.code == "task_partial":
        await daemon.acts.redeliver("a person", job.id)


async def adopt(daemon: Daemon) -> None:
    marker = json.loads(daemon.place.files("work")["route.json"])
    if marker["state"] != daemon.store.uuid:
        await daemon.acts.adopt("a person", "leads")


async def drop_again(daemon: Daemon) -> None:
    """Drop another file of the same name as soon as the name is free."""
    if not daemon.place.told("dropped.again"):
        if daemon.place.files("inbox"):
            await daemon.run_to_idle()
            await daemon.jobs()  # a life that was killed meanwhile ends here
        daemon.place.drop("a.csv", OTHER)
        daemon.place.log("dropped.again")


async def take_the_name(daemon: Daemon) -> None:
    """Put a file of somebody else where the result was to go, right before it is published."""
    counts = daemon.scheduler.book.counts
    ended = (State.FETCHED, State.DELIVERED, State.DONE, State.FAILED)
    await daemon.run_until(lambda: any(counts["leads", state] for state in ended))
    target = daemon.place.routes["leads"].outbox / "a.csv"
    if counts["leads", State.FETCHED] and not target.exists():
        target.write_bytes(FOREIGN)


# --- file systems -----------------------------------------------------------------------------------------------------


def on_nfs(name: str, _step: str) -> int | None:
    """Know no rename that replaces nothing."""
    return errno.EINVAL if name == "rename_noreplace" else None


def archive_elsewhere(name: str, step: str) -> int | None:
    """Have the archive on another file system."""
    source, _, target = step.partition(" -> ")
    return errno.EXDEV if name.startswith("rename") and "/archive/" in target and "/archive/" not in source else None


# --- scenes -----------------------------------------------------------------------------------------------------------


async def _lived(place: Place) -> None:
    """Let a daemon live here until all has ended."""
    daemon = await place.start()
    await daemon.run_to_idle()
    await daemon.stop()


async def drop(place: Place) -> None:
    place.drop("a.csv", CSV)


async def drop_on_a_share(place: Place) -> None:
    place.is_on_network = True
    place.drop("a.csv", CSV)


async def drop_with_marker(place: Place) -> None:
    place.route(ready=ReadySettings(done_file="{name}.done"), result=ResultSettings(done_file="{name}.ok"))
    place.drop("a.csv", CSV)
    place.drop("a.csv.done", b"")


async def drop_below(place: Place) -> None:
    place.route(recursive=True)
    place.drop("north/east/a.csv", CSV)


async def drop_broken(place: Place) -> None:
    place.drop("a.csv", BROKEN)


async def drop_on_two_routes(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.drop("b.csv", OTHER, route="orders")


async def drop_many(place: Place) -> None:
    for name, content in MANY.items():
        place.drop(name, content)
    for name, content in MORE.items():
        place.drop(name, content, route="orders")
    place.drop("broken.csv", BROKEN)


async def drop_to_be_deleted(place: Place) -> None:
    place.route(on_success="delete")
    place.drop("a.csv", CSV)


async def drop_where_names_are_taken(place: Place) -> None:
    place.route()
    for role in ("outbox", "archive"):
        (place.folder / "leads" / role / "a.csv").write_bytes(FOREIGN)
    place.drop("a.csv", CSV)


async def refused_for_its_rows(place: Place) -> None:
    place.route(csv=CsvSettings(max_rows=2))
    place.drop("a.csv", CSV)
    await _lived(place)
    place.route(csv=CsvSettings())


async def moved_back_from_error(place: Place) -> None:
    await refused_for_its_rows(place)
    (place.routes["leads"].error / "a.csv").rename(place.routes["leads"].inbox / "a.csv")


async def accepted_without_an_answer(place: Place) -> None:
    place.api.plan(SubmitFault(LOST, is_accepted=True))
    place.drop("a.csv", CSV)
    await _lived(place)


async def lost_without_an_answer(place: Place) -> None:
    place.api.plan(SubmitFault(LOST))
    place.drop("a.csv", CSV)
    await _lived(place)


async def refused_after_all_was_sent(place: Place) -> None:
    place.api.plan(SubmitFault(BUSY))
    place.drop("a.csv", CSV)


async def rejected_after_all_was_sent(place: Place) -> None:
    refusal = Refused("rejected", "HTTP 200: no such workflow", api_message="no such workflow")
    place.api.plan(SubmitFault(refusal, times=math.inf))
    place.drop("a.csv", CSV)


async def delivered_and_fetched(place: Place) -> None:
    await delivered(place)
    (place.routes["leads"].outbox / "a.csv").unlink()
    place.log("result.fetched")


async def drop_beyond_the_budget(place: Place) -> None:
    place.route(budget=BudgetSettings(files_per_day=1))
    place.drop("a.csv", CSV)
    place.drop("b.csv", OTHER)


async def delivered(place: Place) -> None:
    place.drop("a.csv", CSV)
    await _lived(place)


async def dropped_twice(place: Place) -> None:
    await delivered(place)
    place.drop("b.csv", CSV)


async def failed_for_one_row(place: Place) -> None:
    place.route(on_partial="error")

    def fail_one(task: FakeTask) -> None:
        task.rows_failed = 1

    place.api.on_accept = fail_one
    await delivered(place)


async def ended_in_error(place: Place) -> None:
    def fail_first(task: FakeTask) -> None:
        task.end = "completed" if place.api.tasks else "error"

    place.api.on_accept = fail_first
    await delivered(place)


async def older_state_restored(place: Place) -> None:
    """Put back a copy of the state that was made before the file was dropped."""
    await (await place.start()).stop()
    daemon = await place.start()
    await daemon.turn()
    await daemon.stop()
    shutil.copyfile(place.state, f"{place.state}.copy")
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()
    Path(f"{place.state}.copy").rename(place.state)


async def state_lost(place: Place) -> None:
    """Lose the state while one file was sent and another was not."""
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.api.outage = Unavailable("down")
    place.drop("b.csv", OTHER)
    await daemon.run_until(lambda: [facts for facts in place.told("job.deferred") if facts["file"] == "b.csv"])
    await daemon.stop()
    place.api.outage = None
    place.state.unlink()


STORIES: dict[str, Story] = {
    "plain": Story(drop, archived()),
    "marker": Story(drop_with_marker, {**archived(), "leads/outbox/a.csv.ok": b""}),
    "sub-folder": Story(drop_below, archived(name="north/east/a.csv")),
    "refused": Story(drop_broken, failed("csv_invalid", BROKEN), contents=(BROKEN,)),
    "two routes": Story(
        drop_on_two_routes, {**archived(), **archived(OTHER, "b.csv", "orders")}, contents=(CSV, OTHER)
    ),
    "on NFS": Story(drop_on_a_share, archived(), refusal=on_nfs),
    "archive on another disk": Story(drop, archived(), refusal=archive_elsewhere, copies=1),
    "same name again": Story(
        drop,
        {**archived(), **archived(OTHER, "a-JOB.csv")},
        drop_again,
        contents=(CSV, OTHER),
        is_race=True,
    ),
    "delete": Story(
        drop_to_be_deleted,
        {"leads/outbox/a.csv": answer(CSV), "leads/archive/a.csv.receipt.json": b""},
        keeps_originals=False,
    ),
    "names taken": Story(
        drop_where_names_are_taken,
        {**archived(name="a-JOB.csv"), "leads/outbox/a.csv": FOREIGN, "leads/archive/a.csv": FOREIGN},
    ),
    "name taken meanwhile": Story(
        drop,
        {**archived(), "leads/outbox/a.csv": FOREIGN, "leads/outbox/a-JOB.csv": answer(CSV)},
        take_the_name,
        resolved=archived(),
    ),
    "retry": Story(refused_for_its_rows, archived(), retry),
    "moved back": Story(moved_back_from_error, archived()),
    "resolve --task-id": Story(accepted_without_an_answer, archived(), resolve),
    "resolve --not-submitted": Story(lost_without_an_answer, archived(), resolve),
    "503 after all was sent": Story(refused_after_all_was_sent, archived()),
    "rejected after all was sent": Story(rejected_after_all_was_sent, failed("rejected")),
    "redeliver": Story(delivered_and_fetched, archived(), redeliver),
    "redeliver beside the first": Story(delivered, {**archived(), "leads/outbox/a-JOB.csv": answer(CSV)}, redeliver),
    "redeliver in part": Story(failed_for_one_row, archived(result=answer(CSV, rows_failed=1)), take_what_there_is),
    "duplicate": Story(dropped_twice, {**archived(), **failed("duplicate", name="b.csv")}, contents=(CSV, CSV)),
    "retry --pay-again": Story(ended_in_error, archived(), pay_again, most_paid=2),
    "over budget": Story(
        drop_beyond_the_budget, {**archived(), **archived(OTHER, "b.csv")}, let_go, contents=(CSV, OTHER)
    ),
    "older state": Story(older_state_restored, failed("submission_unknown"), resolved=archived()),
    "state lost": Story(
        state_lost,
        {**failed("submission_unknown"), **archived(OTHER, "b.csv")},
        adopt,
        contents=(CSV, OTHER),
        resolved={**archived(), **archived(OTHER, "b.csv")},
    ),
}

CROWD = Story(
    drop_many,
    {
        **{key: found for name, content in MANY.items() for key, found in archived(content, name).items()},
        **{key: found for name, content in MORE.items() for key, found in archived(content, name, "orders").items()},
        **failed("csv_invalid", BROKEN, "broken.csv"),
    },
    contents=(*MANY.values(), *MORE.values(), BROKEN),
)
"""Several files on two routes, one of them broken: too many boundaries for each, enough for chance."""


# --- what must be so --------------------------------------------------------------------------------------------------


def tree_of(place: Place, jobs: Iterable[Job] = ()) -> Tree:
    """Give all files of all routes but the markers of work, as a story's end tells them."""
    found: Tree = {}
    for path in sorted(place.folder.rglob("*")):
        name = str(path.relative_to(place.folder))
        if path.is_file() and not name.startswith("state/") and path.name != "route.json":
            for job in jobs:
                name = name.replace(job.id, "JOB")
            is_ours = re.search(r"\.(error|receipt)\.json$", name) is not None and not path.name.startswith(".")
            found[name] = _code_in(path) if is_ours else path.read_bytes()
    return found


def _code_in(path: Path) -> bytes:
    """Read a sidecar; one that is not whole is an error here."""
    content = json.loads(path.read_bytes())
    assert content["job"], path
    return str(content.get("code", "")).encode()
