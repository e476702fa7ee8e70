"""Do what people do with a daemon: drop, take back, decide. What they say of BulkGPT is what its ledger says."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bulkgpt_watchd.core.errors import CommandRefused, WatchdError
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.outcomes import HOLDS_A_QUESTION
from tests.daemon import Daemon
from tests.model.world import Content, World, place_of

T = TypeVar("T")


def pick(choices: Sequence[T], index: int) -> T | None:
    """Choose one, if there are any."""
    return choices[index % len(choices)] if choices else None


def drop(world: World, key: str, name: str, content: bytes) -> None:
    """Put a whole file into an inbox; one of that name that still waits there is replaced by it."""
    target = world.known[key].inbox / name
    if target.exists():
        world.holds[key, target.read_bytes()] -= 1
    dotted = target.with_name(f".{name}")
    dotted.write_bytes(content)
    dotted.rename(target)
    world.holds[key, content] += 1
    world.shown[key, content] += 1


def take_back(world: World, index: int) -> None:
    """Take a file out of an inbox again."""
    waiting = [path for path in world.standing("inbox") if path.parent.name == "inbox"]
    if (path := pick(waiting, index)) is not None:
        world.holds[path.parent.parent.name, path.read_bytes()] -= 1
        path.unlink()


def move_back(world: World, index: int) -> None:
    """Move a file from an error folder back into its inbox."""
    path = pick(list(world.standing("error")), index)
    if path is None:
        return
    key = path.parent.parent.name
    target = world.known[key].inbox / path.name
    if not target.exists():
        world.shown[key, path.read_bytes()] += 1
        path.rename(target)


async def say(act: Callable[[], Awaitable[object]]) -> bool:
    """Give an order; tell whether it was carried out."""
    try:
        await act()
    except WatchdError:
        return False
    return True


async def retry(world: World, daemon: Daemon, index: int, *, pay_again: bool) -> None:
    failed = [job for job in await daemon.jobs() if job.state is State.FAILED]
    job = pick(failed, index)
    if job is None:
        return
    if not pay_again:
        await say(lambda: daemon.acts.retry("a person", [job.id]))
        return
    content = content_of(world, job)
    if content is not None:
        world.shown[content] += 1
        world.repeats[content] += 1
    with contextlib.suppress(WatchdError):
        try:
            await daemon.acts.retry("a person", [job.id], pay_again=True)
        except CommandRefused:
            if content is not None:
                world.shown[content] -= 1
                world.repeats[content] -= 1
            raise


async def redeliver(world: World, daemon: Daemon, index: int) -> None:
    job = pick([job for job in await daemon.jobs() if job.state in {State.DONE, State.FAILED}], index)
    if job is None:
        return
    task = world.api.tasks.get(str(job.task_id))
    if task is not None:
        world.copies[place_of(job), task.csv] += 1
    await say(lambda: daemon.acts.redeliver("a person", job.id))


async def resolve(world: World, daemon: Daemon, index: int) -> None:
    """Answer one question by the ledger of BulkGPT."""
    job = pick(await questions(daemon), index)
    if job is None:
        return
    task_id = await accepted_for(world, daemon, job)
    if task_id is None and (job.code == "task_id_conflict" or await is_behind(world, daemon, job)):
        await abandon(world, daemon, index)
        return
    if task_id is not None and world.has_forgotten:
        world.copies[place_of(job), world.api.tasks[task_id].csv] += 1
    answered = await say(
        lambda: daemon.acts.resolve("a person", job.id, task_id=task_id, not_submitted=task_id is None)
    )
    if not answered and not is_sick(world):
        await abandon(world, daemon, index)


async def abandon(world: World, daemon: Daemon, index: int) -> None:
    """Close a question unanswered: who drops the file again may pay again."""
    job = pick(await questions(daemon), index)
    if job is not None:
        for content in list(world.shown):
            if hashlib.sha256(content[1]).hexdigest() == job.sha256:
                world.repeats[content] += 1
        await say(lambda: daemon.acts.resolve("a person", job.id, abandon=True))


async def questions(daemon: Daemon) -> list[Job]:
    """Give the jobs that wait for an answer."""
    jobs = await daemon.jobs()
    return [job for job in jobs if job.state is State.FAILED and job.code in HOLDS_A_QUESTION and not job.is_closed]


async def accepted_for(world: World, daemon: Daemon, job: Job) -> str | None:
    """Look at the dashboard for a task with this job's bytes that no other job has."""
    others = [other for other in await daemon.jobs() if other.id != job.id and other.superseded_by is None]
    taken = {task_id for other in others if other.code != "task_id_conflict" for task_id in other.task_ids}
    for task_id, task in world.api.tasks.items():
        is_its_own = (
            hashlib.sha256(task.csv).hexdigest() == job.sha256 and task.workflow_id == f"workflow of {place_of(job)}"
        )
        if is_its_own and task_id not in taken and not task_id.startswith("behind-"):
            return task_id
    return None


async def is_behind(world: World, daemon: Daemon, job: Job) -> bool:
    """Tell whether these bytes were accepted under an ID that BulkGPT gave to another file too."""
    own = [task_id for task_id, task in world.api.tasks.items() if hashlib.sha256(task.csv).hexdigest() == job.sha256]
    foreign = {task_id for other in await daemon.jobs() if other.sha256 != job.sha256 for task_id in other.task_ids}
    return any(task_id.startswith("behind-") or task_id in foreign for task_id in own)


def is_sick(world: World) -> bool:
    """Tell whether an order may fail for reasons that go by."""
    return bool(world.sick_folders or world.sickness.writes or world.api.outage or world.api.wrong_keys)


def content_of(world: World, job: Job) -> Content | None:
    """Give what stands in the error folder for this job."""
    twins = [path for path, content in world.standing("error").items() if content[0] == place_of(job)]
    for path in (Path(str(job.error_path)), *twins):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == job.sha256:
            return (place_of(job), path.read_bytes())
    stands = Path(str(job.error_path))
    return (place_of(job), stands.read_bytes()) if stands.is_file() else None
