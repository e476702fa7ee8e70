"""A person who answers what failed by BulkGPT's dashboard (the ledger), and pauses, reloads and scans at whim."""

from __future__ import annotations

import random
import time

import click

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.cli.control import act
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.config import load
from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.exit_codes import REFUSED
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.outcomes import ENDED_AT_BULKGPT
from bulkgpt_watchd.core.ports import Query
from tests.soak.bed import Soak
from tests.soak.watching import Watch

LOOKS_AFTER_S = 4.0
"""So old is a doubt when it is looked at: what was on its way to BulkGPT stands on its dashboard by then."""

AGAIN = 0.02
"""How often a duplicate is paid for on purpose, out of all looks at it."""

FREE = {"result_unavailable", "result_invalid", "task_unknown", "task_timeout"}


class Person:
    """Answer doubts by the ledger, and do what a person may do."""

    def __init__(self, bed: Soak, watch: Watch) -> None:
        self.bed = bed
        self.watch = watch
        self.paused: set[str | None] = set()
        self._settings = load(bed.config)

    def start(self) -> None:
        self.bed.act_at_times("person", 0.5, 1.5, self.look)
        self.bed.act_at_times("operator", 1.0, 6.0, self.operate)

    def does(self, name: str, **arguments: object) -> bool | None:
        """Do something that may be refused (False), or whose daemon dies meanwhile (None)."""
        try:
            with click.Context(click.Command("soak")):  # the command's own, in which it says how to start the daemon
                act(self._settings, name, **arguments)
        except Ended as ended:
            return False if ended.exit_code == REFUSED else None
        except (OSError, WatchdError):
            return None
        return True

    def look(self, chance: random.Random) -> None:
        try:
            with StateReader.open(self._settings.state.path) as state:
                failed = list(state.query(Query(states=(State.FAILED,))))
                is_shut = (state.facts().get("gate") or {}).get("position", "open") != "open"
        except WatchdError:
            return  # a full disk, or no state yet
        for job in failed:
            if time.time() - job.changed_at >= LOOKS_AFTER_S and not job.is_closed and job.superseded_by is None:
                self.judge(job, chance)
        if is_shut and (self.bed.is_draining.is_set() or chance.random() < 0.3):
            self.does("resume")

    def judge(self, job: Job, chance: random.Random) -> None:
        if job.is_doubt:
            self.answer(job)
        elif job.code in FREE:
            self.does("redeliver", job_id=job.id)
        elif self.bed.is_draining.is_set():
            return
        elif job.code == "rejected" and chance.random() < 0.5:
            self.does("retry", jobs=[job.id])
        elif (job.code in ENDED_AT_BULKGPT and chance.random() < 0.2) or (
            job.code == "duplicate" and job.sha256 in self.bed.number_of and chance.random() < AGAIN
        ):
            self.may_pay(job, "retry", jobs=[job.id], pay_again=True)

    def may_pay(self, job: Job, name: str, **arguments: object) -> None:
        """Do what lets the same bytes be paid once more: allowed before it is done, for the daemon may die after it."""
        assert job.sha256 is not None
        self.watch.allowed[job.sha256] += 1
        if self.does(name, **arguments) is False:
            self.watch.allowed[job.sha256] -= 1
        else:
            self.bed.counts[f"a person's {name}, which may cost"] += 1

    def answer(self, job: Job) -> None:
        """Say which task a file has, if it has one that no other copy of it has."""
        assert job.sha256 is not None, job  # it is, where no trouble takes the state away
        with self.watch.lock:
            self.watch.read_ledger()
            accepted = list(self.watch.ids[job.sha256])
        try:
            with StateReader.open(self._settings.state.path) as state:
                twins = [twin for twin in state.query(Query()) if twin.sha256 == job.sha256]
        except WatchdError:
            return
        if not any((twin.id, twin.revision) == (job.id, job.revision) for twin in twins):
            return  # it moved on while we looked
        held = {task_id for twin in twins for task_id in twin.task_ids}
        left = [task_id for task_id in accepted if task_id not in held]
        says = {"task_id": left[-1]} if left else {"not_submitted": True}
        if self.does("resolve", job_id=job.id, **says):
            self.bed.counts["doubts that had been accepted" if left else "doubts that had not been accepted"] += 1

    def operate(self, chance: random.Random) -> None:
        """Pause, resume, reload, scan."""
        if self.bed.is_draining.is_set() or (self.paused and chance.random() < 0.6):
            self.resume()
            return
        route = chance.choice([None, *self.bed.routes])
        what = chance.choice(["pause", "reload", "scan", "resume"])
        if what == "pause":
            self.paused.add(route)
        if self.does(what, **({} if what == "reload" else {"route": route})):
            self.bed.counts[what] += 1

    def resume(self) -> None:
        for route in (None, *self.bed.routes):
            if self.does("resume", route=route):
                self.paused.discard(route)
