"""Hold a world against what is promised: after every step, and at the end, when nothing is wrong any more."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.ports import Query
from tests.model.world import HOLDERS, World, key_of


def check_instant(world: World) -> None:
    """Nothing is lost, half, or paid twice; no bug of ours was met."""
    assert not world.bugs, "\n".join(world.bugs)
    _nothing_is_lost(world)
    for content in world.shown:
        paid = world.paid(content)
        assert paid <= world.shown[content], ("paid more often than it was given", content, paid)
        assert paid <= 1 + world.repeats[content], ("paid twice", content, paid)
    _results_are_whole_and_come_once(world)
    _reasons_are_whole(world)
    if world.state.exists() and not Path(f"{world.state}-shm").exists() and world.daemon is None:
        return  # a log that only a daemon may merge
    if world.state.exists():
        with StateReader.open(world.state) as state:
            _ledger_is_the_bill(world, state)


def _nothing_is_lost(world: World) -> None:
    stands: Counter[tuple[str, bytes]] = Counter()
    seen = set()
    for path, content in world.standing(*HOLDERS).items():
        inode = path.stat().st_ino
        if inode not in seen:  # a link on its way is one file
            seen.add(inode)
            stands[content] += 1
    for content in world.holds.keys() | stands.keys():
        if content in world.holds:
            wanted = world.holds[content]
            assert stands[content] == wanted, ("in inbox, work, archive and error", content, stands[content], wanted)


def _results_are_whole_and_come_once(world: World) -> None:
    may_come: Counter[tuple[str, bytes]] = Counter()
    copies: Counter[tuple[str, bytes]] = Counter()
    for task in world.tasks:
        result = (key_of(task.workflow_id), task.result)
        may_come[result] += 1
        copies[result] = world.copies[key_of(task.workflow_id), task.csv]
    published = Counter(world.standing("outbox").values())
    for result, number in published.items():
        assert may_come[result], ("no whole result", result)
        assert number <= may_come[result] + copies[result], ("delivered more than once", result, number)


def _reasons_are_whole(world: World) -> None:
    for route in world.known.values():
        for folder in (route.error, route.archive):
            for path in folder.glob("[!.]*.json"):
                assert json.loads(path.read_bytes())["job"], path


def _ledger_is_the_bill(world: World, state: StateReader) -> None:
    lines = state.ledger("")
    files = {what: sum(getattr(line, f"{what}_files") for line in lines) for what in ("accepted", "refused", "doubt")}
    under_way = sum(number for (_, job_state), number in state.counts().items() if job_state is State.SUBMITTING)
    submitted = sum(line.submitted_files for line in lines)
    assert submitted == sum(files.values()) + under_way, (submitted, files, under_way)
    if world.has_forgotten:
        return
    bill = len(world.api.accepted)
    assert files["accepted"] <= bill <= files["accepted"] + files["doubt"] + under_way, (bill, files, under_way)


async def check_end(world: World) -> None:
    """Every file has its legal end, and who paid has what was paid for."""
    daemon = world.daemon
    assert daemon is not None
    jobs = await daemon.store.query(Query())
    counts = {key: number for key, number in daemon.scheduler.book.counts.items() if number}
    assert counts == await daemon.store.counts()
    assert [job for job in jobs if job.state not in TERMINAL or job.is_doubt] == []
    assert world.standing("inbox") == {}
    for job in jobs:
        _has_its_end(world, job)
    if not world.has_forgotten:
        abandoned = sum(job.is_closed for job in jobs)
        with StateReader.open(world.state) as state:
            lines = state.ledger("")
        accepted, bill = sum(line.accepted_files for line in lines), len(world.api.accepted)
        assert bill - abandoned <= accepted <= bill, (accepted, bill)
        rows = sum(line.accepted_rows for line in lines)
        billed = sum(max(len((sent.csv or b"").splitlines()) - 1, 0) for sent in world.api.accepted)
        assert abandoned or rows == billed, (rows, billed)


def _has_its_end(world: World, job: Job) -> None:
    if job.state is State.DONE:
        task = world.api.tasks[str(job.task_id)]
        assert job.result_path is not None
        assert Path(job.result_path).read_bytes() == task.result, job
        if not world.has_forgotten:
            assert Path(f"{job.archive_path}.receipt.json").exists(), job
    elif job.state is State.FAILED and job.superseded_by is None and job.code != "source_lost":
        assert Path(f"{job.error_path}.error.json").exists() or world.has_forgotten, job
