"""What must be so once all has ended, and how a person answers the doubts on the way there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from bulkgpt_watchd.adapters.folders.places import PROBE, PROBE_RENAMED
from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.cli.control import act, troubles
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.names import scratch_name
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.sandbox import answer
from bulkgpt_watchd.scheduler.inbox import MARKER
from tests.crash.processes import ROUTES, Bed

OF_A_TRIAL = frozenset({PROBE, PROBE_RENAMED, scratch_name(MARKER)})
"""Files that come and go while a route is opened, or a folder tried again after trouble."""


def jobs_of(bed: Bed) -> list[Job]:
    with StateReader.open(bed.state) as state:
        return list(state.query(Query()))


def submitting(bed: Bed) -> set[str]:
    """Give those past their point of no return; a life that was very short leaves no state."""
    if not bed.state.exists():
        return set()
    return {job.id for job in jobs_of(bed) if job.state is State.SUBMITTING}


def has_ended(bed: Bed) -> bool:
    jobs = jobs_of(bed)
    return len(jobs) >= len(bed.dropper.dropped) and all(job.state in TERMINAL for job in jobs)


def is_trying_folders(bed: Bed) -> bool:
    """Tell whether a start is not yet through with its trial of the folders, whose files come and go."""
    return any(trouble["what"] == "route" for trouble in troubles(bed.settings, {}))


def check_end(bed: Bed) -> list[Job]:
    """Every file is done or a doubt, and each doubt says so beside its file; give the doubts."""
    jobs = jobs_of(bed)
    doubts = [job for job in jobs if job.is_doubt]
    others = [(job.id, job.state, job.code) for job in jobs if job.state is not State.DONE and not job.is_doubt]
    assert not others
    bed.check_instant()
    left = bed.left_over()
    assert not left, left
    stands = sorted(str(path) for route in ROUTES for path in bed.files(route, "error"))
    assert stands == sorted(f"{job.error_path}{end}" for job in doubts for end in ("", ".error.json"))
    for job in doubts:
        told = json.loads(Path(f"{job.error_path}.error.json").read_bytes())
        assert (told["code"], told["job"]) == ("submission_unknown", job.id)
    assert bed.lines("daemon.bug") == []
    return doubts


def resolve(bed: Bed, doubts: Iterable[Job]) -> None:
    """Answer each doubt by what BulkGPT's dashboard says."""
    tasks = {record["sha256"]: record["task_id"] for record in bed.ledger() if record["accepted"]}
    for job in doubts:
        task_id = tasks.get(job.sha256)
        bed.accepted_doubts += task_id is not None
        answered = {"not_submitted": True} if task_id is None else {"task_id": task_id}
        act(bed.settings, "resolve", job_id=job.id, **answered)


def check_all_delivered(bed: Bed, given_up: Collection[str] = ()) -> None:
    """
    Every file has one result and one receipt, or was given up and stands in error; nothing else is left.

    The daemon may run; once it was stopped, `Bed.left_over` asks for the rest.
    """
    dropped = bed.dropper.dropped
    for role, expected in (("outbox", answer), ("archive", bytes)):
        stands = {
            f"{route}/{path.name}": path.read_bytes()
            for route in ROUTES
            for path in bed.files(route, role)
            if not path.name.endswith(".receipt.json")
        }
        assert stands == {name: expected(content) for name, content in dropped.items() if name not in given_up}
    failed = {f"{route}/{path.name}": path.read_bytes() for route in ROUTES for path in bed.files(route, "error")}
    assert failed.keys() == {f"{name}{end}" for name in given_up for end in ("", ".error.json")}
    assert all(failed[name] == dropped[name] for name in given_up)
    left_over = [path for path in (*bed.left_over(), *bed.traces()) if path.name not in OF_A_TRIAL]
    assert left_over == [], left_over
    assert bed.accepted() == {hashlib.sha256(content).hexdigest(): 1 for content in dropped.values()}
    assert bed.lines("daemon.bug") == []
