"""
Do what a person says: retry, resolve, redeliver, adopt, pause, resume, scan.

Each act is one event to one job, or one fact; the effects do the rest. Each is written to the audit trail. None of them
pays twice: what may have been accepted is refused here, with the command that answers the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bulkgpt_watchd.core.errors import CommandRefused, DiskTrouble, TaskNotKnown, WatchdError
from bulkgpt_watchd.core.events import Abandoned, Event, Recalled, Reopened, Superseded
from bulkgpt_watchd.core.exit_codes import BAD_ARGUMENTS, NO_SUCH
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.core.outcomes import ENDED_AT_BULKGPT, HOLDS_A_QUESTION
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.core.routes import EVERY_ROUTE, named
from bulkgpt_watchd.core.shown import rfc3339, row
from bulkgpt_watchd.effects.intake import REASON
from bulkgpt_watchd.effects.outside import CALL_DEADLINE_S
from bulkgpt_watchd.scheduler.discovery import Discovery
from bulkgpt_watchd.scheduler.inbox import Inbox, Unusable
from bulkgpt_watchd.scheduler.keeping import AT_ONCE, Keeper
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.traces import erase

AT_REST_TRIES, AT_REST_EVERY_S = 50, 0.2
"""How often a failed job is asked whether its file stands in the error folder, before a person is told to wait."""


@dataclass(frozen=True)
class Acts:
    """Carry out commands; *by* is who gave them."""

    scheduler: Scheduler
    discovery: Discovery

    async def retry(
        self,
        by: str,
        jobs: Sequence[str] = (),
        *,
        failed: bool = False,
        route: str | None = None,
        pay_again: bool = False,
    ) -> dict[str, Any]:
        """
        Go on with failed jobs from their last free step; with *pay_again* also where a task was accepted.

        Shape: `failed` takes all that can go on without paying again and leaves the others, which are told.
        """
        if bool(jobs) == failed or (route is not None and not failed):
            raise CommandRefused("name jobs, or say failed, of one route or all", exit_code=BAD_ARGUMENTS)
        if not failed:
            chosen = [await self._job(job_id) for job_id in jobs]
            pairs = [(job, await self._retry_event(job, pay_again=pay_again)) for job in chosen]
            return {"jobs": [self._row(await self._carry_out(by, "retry", *pair)) for pair in pairs], "left": []}
        done: list[Job] = []
        left: list[dict[str, str]] = []
        trouble: dict[str, DiskTrouble] = {}  # by route: one that hangs is asked about one file
        routes = None if route is None else (self._inbox(route).key,)
        for job in await self.scheduler.outside.store.query(Query(routes=routes, states=(State.FAILED,))):
            if job.is_closed or job.superseded_by is not None:
                continue
            try:
                if job.route in trouble:
                    raise trouble[job.route]
                event = await self._retry_event(job, pay_again=pay_again)
                done.append(await self._carry_out(by, "retry", job, event))
            except (CommandRefused, DiskTrouble) as error:
                trouble |= {job.route: error} if isinstance(error, DiskTrouble) else {}
                left.append({"job": job.id, "reason": str(error)})
        return {"jobs": [self._row(job) for job in done], "left": left}

    async def resolve(
        self, by: str, job_id: str, *, task_id: str | None = None, not_submitted: bool = False, abandon: bool = False
    ) -> dict[str, Any]:
        """Answer a doubt: it has this task, it was never accepted, or it shall be left alone."""
        if [task_id is not None, not_submitted, abandon].count(True) != 1:
            raise CommandRefused("say one of task_id, not_submitted and abandon", exit_code=BAD_ARGUMENTS)
        job = await self._job(job_id)
        if job.state is not State.FAILED or job.code not in HOLDS_A_QUESTION:
            raise CommandRefused(f"job {job.id} is not in doubt: it is {row(job)['state']}" + _code(job))
        event: Event = Abandoned()
        if task_id is not None:
            await self._ask_about(job, task_id)
            event = Recalled(task_id, await self._file_of(job))
        elif not_submitted:
            event = Recalled(None, await self._file_of(job, must_exist=True))
        answer = "--abandon" if abandon else "--not-submitted" if not_submitted else f"--task-id {task_id}"
        return {"job": self._row(await self._carry_out(by, f"resolve {answer}", job, event))}

    async def redeliver(self, by: str, job_id: str) -> dict[str, Any]:
        """Fetch and deliver a paid result once more, free."""
        job = await self._job(job_id)
        if job.task_id is None or (job.code in HOLDS_A_QUESTION and job.state is State.FAILED):
            raise CommandRefused(f"job {job.id} has no task whose result could be fetched" + _code(job))
        if job.state is State.DONE:
            job = await self._carry_out(by, "redeliver", job, Reopened())
        elif job.state is State.FAILED:
            event = Recalled(job.task_id, await self._file_of(job), takes_partial=True)
            job = await self._carry_out(by, "redeliver", job, event)
        else:
            raise CommandRefused(f"job {job.id} is {row(job)['state']}; its result comes by itself")
        return {"job": self._row(job)}

    async def adopt(self, by: str, route: str) -> dict[str, Any]:
        """Take over a route whose marker is another's, is gone, or whose folders moved to another mount."""
        inbox = self._inbox(route)
        try:
            await self.discovery.adopt(inbox)
        except (Unusable, WatchdError) as error:
            raise CommandRefused(f"route {route} cannot be adopted: {error}") from error
        await self.audit(by, "adopt", route, "")
        return {"route": route}

    async def pause(
        self, by: str, route: str | None = None, *, for_s: float | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Stop taking and submitting files; what was submitted goes on."""
        target = EVERY_ROUTE if route is None else self._inbox(route).key
        until = None if for_s is None else self.scheduler.outside.clock.now() + for_s
        await self.scheduler.passage.pause(target, reason or f"by {by}", until)
        await self.audit(by, "pause", route or EVERY_ROUTE, rfc3339(until) or "")
        return {"route": route, "until": rfc3339(until)}

    async def resume(self, by: str, route: str | None = None, *, over_budget: bool = False) -> dict[str, Any]:
        """
        End a pause, and let one submit try a shut gate.

        Shape: with *over_budget* neither: only today's budgets are let go, of a route, or of all and the total.
        """
        inbox = None if route is None else self._inbox(route)
        passage, budgets = self.scheduler.passage, self.scheduler.lanes.budgets
        action, lifted = "resume", {}
        if over_budget:
            until = await budgets.lift(EVERY_ROUTE if inbox is None else inbox.key)
            action, lifted = "resume --over-budget", {"over_budget_until": rfc3339(until)}
        elif inbox is None:
            await passage.resume(EVERY_ROUTE, None)
        else:
            await passage.resume(inbox.key, inbox.route.workflow_id)
        self.scheduler.wake.set()
        await self.audit(by, action, route or EVERY_ROUTE, "")
        asked = list(self.scheduler.inboxes.values()) if inbox is None else [inbox]
        pauses = {each.name: passage.pause_of(each.key) for each in asked}
        over = {each.name: budgets.used_up(each) for each in asked}
        return {
            "route": route,
            **lifted,
            "still_paused": {name: pause["reason"] for name, pause in pauses.items() if pause},
            "still_over_budget": {name: reason for name, reason in over.items() if reason},
        }

    async def prune(self, by: str, *, older_than_s: float | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Forget ended jobs now, and say whether there may be `more`; *dry_run* only counts them, all."""
        pruned = await Keeper(self.scheduler.book).prune(older_than_s, is_trial=dry_run, most=AT_ONCE)
        total = pruned.forgotten.total()
        if not dry_run:
            age = "keep.history" if older_than_s is None else f"{older_than_s:g}s"
            await self.audit(by, "state prune", EVERY_ROUTE, f"{total} jobs older than {age}")
        more = not dry_run and total >= AT_ONCE
        return {"forgotten": dict(pruned.forgotten), "kept": dict(pruned.kept), "more": more}

    async def scan(self, by: str, route: str | None = None) -> dict[str, Any]:
        """Look at inboxes now."""
        asked = list(self.scheduler.inboxes.values()) if route is None else [self._inbox(route)]
        for inbox in asked:
            self.scheduler.ring(inbox.key)
        await self.audit(by, "scan", route or EVERY_ROUTE, "")
        return {"routes": [inbox.name for inbox in asked]}

    # --- what may be done ---------------------------------------------------------------------------------------------

    async def _retry_event(self, job: Job, *, pay_again: bool) -> Event:
        if job.state is not State.FAILED:
            raise CommandRefused(f"job {job.id} has not failed: it is {row(job)['state']}")
        if job.superseded_by is not None:
            raise CommandRefused(f"job {job.id} was dropped again and is now job {job.superseded_by}")
        if job.code in HOLDS_A_QUESTION:
            raise CommandRefused(
                f"nobody knows whether job {job.id} was accepted and billed; look at the BulkGPT dashboard, then "
                f"`bulkgpt-watchd resolve {job.id} --task-id ID`, `--not-submitted` or `--abandon`"
            )
        if pay_again:
            return Recalled(None, await self._file_of(job, must_exist=True), may_pay_again=True)
        if job.code in ENDED_AT_BULKGPT:
            raise CommandRefused(
                f"job {job.id} was accepted and its task ended; submitting it again is billed again: "
                f"`bulkgpt-watchd retry {job.id} --pay-again`"
            )
        return Recalled(job.task_id, await self._file_of(job, must_exist=job.task_id is None))

    async def _file_of(self, job: Job, *, must_exist: bool = False) -> str | None:
        """
        Say where a failed job's file stands: in the error folder, or moved from there and refused as its duplicate.

        Shape: with *must_exist* a job without a file is refused.
        """
        self._check_route(job)
        outside = self.scheduler.outside
        if job.error_path is not None and await self._exists(job, job.error_path):
            return job.error_path
        for twin in await outside.store.twins(job):
            if twin.related_job != job.id or twin.code != "duplicate" or twin.sha256 != job.sha256:
                continue
            if twin.state is State.FAILING:
                raise CommandRefused(f"the file is now job {twin.id}, on its way to the error folder; try again soon")
            if twin.error_path is not None and await self._exists(job, twin.error_path):
                if job.error_path is not None:  # what was said about the file while it stood there
                    reason = Path(job.error_path + REASON)
                    await outside.run(job.route, outside.folders.remove, reason, deadline_s=CALL_DEADLINE_S)
                await self.scheduler.book.commit(twin, Superseded(job.id))
                return twin.error_path
        if must_exist:
            place = printable(job.error_path) if job.error_path else "the error folder"
            raise CommandRefused(
                f"the file of job {job.id} is no longer at {place}; drop it into the inbox again"
                + _or_abandon(job, "after")
            )
        return job.error_path

    async def _ask_about(self, job: Job, task_id: str) -> None:
        """Make sure that BulkGPT knows the task and that no other job has it."""
        for other in await self.scheduler.outside.store.holders(replace(job, task_id=task_id)):
            if other.code != "task_id_conflict":
                raise CommandRefused(f"task {task_id} belongs to job {other.id} ({printable(other.file)})")
        try:
            await self.scheduler.outside.api.status(task_id)
        except TaskNotKnown as error:
            raise CommandRefused(f"BulkGPT does not know task {task_id}: {error}") from error
        except WatchdError as error:
            raise CommandRefused(f"BulkGPT could not be asked about task {task_id}: {error}") from error

    async def _exists(self, job: Job, path: str) -> bool:
        run, exists = self.scheduler.outside.run, self.scheduler.outside.folders.exists
        return await run(job.route, exists, Path(path), deadline_s=CALL_DEADLINE_S)

    async def _carry_out(self, by: str, action: str, job: Job, event: Event) -> Job:
        async with self.scheduler.book.acting:
            if not isinstance(event, Abandoned):  # which touches no file
                self._check_route(job)
            new = await self.scheduler.book.commit(job, event)
        if new is None:
            raise CommandRefused(f"job {job.id} has just moved on; look at it again")
        if isinstance(event, Abandoned):
            await erase(self.scheduler.outside, new, self.scheduler.inboxes.get(new.route))
        self.scheduler.wake.set()
        await self.audit(by, action, job.id, printable(job.file))
        return new

    async def audit(self, by: str, action: str, target: str, detail: str) -> None:
        """Write down who did what."""
        now = self.scheduler.outside.clock.now()
        await self.scheduler.outside.store.audit(now, by, action, target, detail)
        self.scheduler.log("audit.recorded", "info", by=by, action=action, target=target, detail=detail)

    async def _job(self, job_id: str) -> Job:
        """Give a job; one that has just failed is waited for until its file stands in error."""
        for _ in range(AT_REST_TRIES):
            if (job := await self._known(job_id)).state is not State.FAILING:
                return job
            await self.scheduler.outside.clock.sleep(AT_REST_EVERY_S)
        why = f" ({job.waits_for})" if job.waits_for else ""
        raise CommandRefused(f"job {job.id} is still on its way to the error folder{why}; try again when it is there")

    def _check_route(self, job: Job) -> None:
        if job.route not in self.scheduler.inboxes:
            raise CommandRefused(
                f"route {self._row(job)['route']} of job {job.id} is no longer configured: add a route with the inbox "
                f"{printable(job.inbox)}, `bulkgpt-watchd reload`, and say this again{_or_abandon(job, 'or')}"
            )

    async def _known(self, job_id: str) -> Job:
        if (job := await self.scheduler.outside.store.get(job_id)) is None:
            which = "`bulkgpt-watchd jobs` lists them; one that ended long ago is forgotten (`keep.history`)"
            raise CommandRefused(f"there is no job {job_id!r}; {which}", exit_code=NO_SUCH)
        return job

    def _row(self, job: Job) -> dict[str, Any]:
        return row(named(job, self.scheduler.book.names))

    def _inbox(self, route: str) -> Inbox:
        inboxes = {inbox.name: inbox for inbox in self.scheduler.inboxes.values()}
        if route not in inboxes:
            raise CommandRefused(f"there is no route {route!r}; there are: {', '.join(inboxes)}", exit_code=NO_SUCH)
        return inboxes[route]


def _or_abandon(job: Job, how: str) -> str:
    return f", {how} `bulkgpt-watchd resolve {job.id} --abandon`" if job.code in HOLDS_A_QUESTION else ""


def _code(job: Job) -> str:
    return f" ({job.code})" if job.code else ""
