"""
Find the files: which routes there are, whether they can be used, and what stands in their inboxes.

The scan is the truth; a bell only makes the next look come sooner. So overflow, lost events, network shares and
re-created folders need no special case.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from bulkgpt_watchd.config import Route
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished
from bulkgpt_watchd.core.events import Deferred, GaveUp, Vanished
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.names import ID_BYTES, new_id, work_name
from bulkgpt_watchd.core.ports import Look, Query
from bulkgpt_watchd.scheduler.inbox import LOOK_DEADLINE_S, Inbox, Unusable
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.reconcile import has_plain_witness, sweep

ENDED = (State.DONE, State.FAILED, State.WITHDRAWN)

DIED = (
    "The daemon ended after the whole file was sent and before the answer came: nobody knows whether it was accepted."
)


class Bell(Protocol):
    """Watch one inbox where that is wanted and possible, else stop watching it."""

    async def __call__(self, inbox: Inbox, *, is_removed: bool = False) -> None: ...


@dataclass
class Discovery:
    """Keep the scheduler's inboxes: open them, look into them, follow changes of the configuration."""

    scheduler: Scheduler
    state_uuid: str
    dump: Callable[[Route], dict[str, Any]]
    parse: Callable[[dict[str, Any]], Route]
    bell: Bell
    facts: dict[str, Any] = field(default_factory=dict)  # routes, inboxes, mounts, health: as they stand in the store

    # --- routes -------------------------------------------------------------------------------------------------------

    async def start(self, routes: Iterable[Route]) -> None:
        """Take over what the store knows, then bury the submits that our own death left without an answer."""
        scheduler = self.scheduler
        self.facts = await scheduler.outside.store.facts()
        scheduler.passage.load(self.facts)
        scheduler.book.counts.update(await scheduler.outside.store.counts())
        scheduler.tend = self.tend
        await self.take(routes)
        await self._bury()

    async def take(self, routes: Iterable[Route]) -> None:
        """
        Follow the configured routes: new ones are opened, changed ones looked at anew, others drain.

        Shape: the same inbox under a new name is a rename, and its jobs follow. A removed route with jobs under way
            keeps its last settings until they have ended.
        Repeat: yes.
        """
        scheduler = self.scheduler
        wanted = {route.name: route for route in routes}
        known: dict[str, str] = dict(self.facts.get("inboxes") or {})
        for route in wanted.values():
            old_name = known.get(str(route.inbox))
            if old_name is not None and old_name != route.name and old_name not in wanted:
                await self._rename(old_name, route.name)
                known[str(route.inbox)] = route.name
        remembered = self.facts.get("routes") or {}
        for name, route in wanted.items():
            if remembered.get(name, {}).get("workflow_id", route.workflow_id) != route.workflow_id:
                await scheduler.passage.release(name)
            await self._put(route, is_draining=False, inbox=scheduler.inboxes.get(name))
        under_way = {route for (route, state), n in scheduler.book.counts.items() if n > 0 and state not in ENDED}
        for name in (under_way - wanted.keys()) & remembered.keys():
            await self._put(self.parse(remembered[name]), is_draining=True, inbox=scheduler.inboxes.get(name))
            await self._withdraw_all(name)
        for name in scheduler.inboxes.keys() - wanted.keys() - under_way:
            inbox = scheduler.inboxes.pop(name)
            await self.bell(inbox, is_removed=True)
        dumped = {name: self.dump(inbox.route) for name, inbox in scheduler.inboxes.items()}
        await self._remember("routes", dumped)
        await self._remember("inboxes", known)
        scheduler.wake.set()

    async def _put(self, route: Route, *, is_draining: bool, inbox: Inbox | None) -> None:
        scheduler = self.scheduler
        if inbox is None:
            inbox = Inbox(route, scheduler.outside, self.state_uuid)
            jobs = await scheduler.outside.store.query(Query(routes=(route.name,), states=(State.DISCOVERED,)))
            inbox.waiting = {job.file: job.id for job in jobs}
            scheduler.inboxes[route.name] = inbox
        elif inbox.route != route:
            inbox.is_open = False
        inbox.route, inbox.is_draining, inbox.is_rung = route, is_draining, True

    async def _rename(self, old: str, new: str) -> None:
        scheduler = self.scheduler
        await scheduler.outside.store.rename_route(old, new)
        scheduler.book.rename(old, new)
        scheduler.inboxes.pop(old, None)
        for key in ("mounts", "health"):
            book = dict(self.facts.get(key) or {})
            if old in book:
                await self._remember(key, {**{k: v for k, v in book.items() if k != old}, new: book[old]})
        scheduler.log("route.renamed", "info", route=new, old=old)

    async def _withdraw_all(self, route: str) -> None:
        """Leave the waiting files of a removed route where they are."""
        for job in await self.scheduler.outside.store.query(Query(routes=(route,), states=(State.DISCOVERED,))):
            if job.id not in self.scheduler.running:
                await self.scheduler.book.commit(job, Vanished())

    async def _bury(self) -> None:
        """Turn what was SUBMITTING into doubts, unless its work file still says that the last block was not sent."""
        scheduler, doubts = self.scheduler, 0
        for job in await scheduler.outside.store.query(Query(states=(State.SUBMITTING,))):
            inbox = scheduler.inboxes.get(job.route)
            if inbox is None:
                continue
            if await self._was_not_sent(inbox, job):
                await scheduler.book.commit(
                    job, Deferred("the daemon ended before the last block was sent", is_failure=False)
                )
            else:
                doubts += 1
                await scheduler.book.commit(job, GaveUp("submission_unknown", DIED))
        await scheduler.passage.start_after(doubts)

    async def _was_not_sent(self, inbox: Inbox, job: Job) -> bool:
        """Ask the outside witness; a network share may have undone the rename, so it is not believed there."""
        try:
            await inbox.check({})
            return not inbox.on_network and has_plain_witness(job, set(await inbox.list_work()))
        except (Unusable, DiskTrouble, SourceVanished):
            return False

    # --- one look -----------------------------------------------------------------------------------------------------

    async def tend(self, inbox: Inbox) -> None:
        """
        Look at one route: may it be used, what is whole, what was taken back.

        Repeat: yes; this is done every `scan_every`, and whenever the bell rings.
        """
        try:
            mounts = await inbox.check((self.facts.get("mounts") or {}).get(inbox.name, {}))
            if not inbox.is_open:
                await self._open(inbox, mounts)
            await self._set_disk(inbox, await inbox.low_disk(self.scheduler.state_folder))
            if not inbox.is_draining:
                await self._take_in(inbox, *await inbox.look())
        except (Unusable, DiskTrouble, SourceVanished, InUse, NameTaken) as error:
            inbox.is_open = False
            await self._set_reason(inbox, str(error))
        else:
            await self._set_reason(inbox, None)

    async def _open(self, inbox: Inbox, mounts: dict[str, Any]) -> None:
        scheduler = self.scheduler
        known = self.facts.get("inboxes") or {}
        is_known = known.get(str(inbox.route.inbox)) == inbox.name
        is_first = await inbox.open(is_known=is_known)
        if is_first and inbox.route.hold_backlog is not None:
            await self._hold_backlog(inbox, inbox.route.hold_backlog)
        await inbox.mark(replace=not is_first)
        await self._remember("inboxes", {**known, str(inbox.route.inbox): inbox.name})
        await self._remember("mounts", {**(self.facts.get("mounts") or {}), inbox.name: mounts})
        await sweep(inbox, scheduler.book, scheduler.running)
        inbox.is_open = True
        await self.bell(inbox)

    async def _hold_backlog(self, inbox: Inbox, limit: int) -> None:
        """Start paused when many files wait at the first start: nobody pays for an old archive unasked."""
        look, _ = await inbox.look()
        if len(look.files) <= limit:
            return
        size = sum(stamp.bytes for stamp in look.files.values())
        rows = await inbox.count_rows(list(look.files))
        reason = (
            f"{len(look.files)} files ({rows} rows, {size} bytes) were there at the first start, more than "
            f"hold_backlog ({limit}); `bulkgpt-watchd resume {inbox.name}` takes them"
        )
        await self.scheduler.passage.pause(inbox.name, reason, None)

    async def _take_in(self, inbox: Inbox, look: Look, whole: list[tuple[str, Stamp]]) -> None:
        self._tell_passed_over(inbox, look)
        gone = [(file, job_id) for file, job_id in inbox.waiting.items() if file not in look.present]
        for file, job_id in gone:
            await self._withdraw(inbox, file, job_id)
        if self.scheduler.inboxes.get(inbox.name) is not inbox:
            return  # the route was removed or renamed while we looked
        jobs = [
            inbox.new_job(new_id(secrets.token_bytes(ID_BYTES)), file, stamp, State.DISCOVERED) for file, stamp in whole
        ]
        if not jobs:
            return
        await self.scheduler.book.add(jobs)
        for job in jobs:
            inbox.waiting[job.file] = job.id
            self.scheduler.log(
                "job.discovered", "info", route=job.route, job=job.id, file=job.file, bytes=job.size_bytes
            )

    async def _withdraw(self, inbox: Inbox, file: str, job_id: str) -> None:
        """Note that a waiting file left the inbox, unless it was us who took it."""
        if job_id in self.scheduler.running:
            return
        job = await self.scheduler.outside.store.get(job_id)
        if job is None or job.state is not State.DISCOVERED:
            inbox.waiting.pop(file, None)
        elif work_name(job.id, job.file) not in await inbox.list_work():
            await self.scheduler.book.commit(job, Vanished())

    def _tell_passed_over(self, inbox: Inbox, look: Look) -> None:
        """Tell each passed-over or unreadable name once, for as long as it is there."""
        over = {**look.ignored, **look.unreadable}
        for name in over.keys() - inbox.told:
            level = "warning" if name in look.unreadable else "info"
            self.scheduler.log("file.ignored", level, route=inbox.name, file=name, reason=over[name])
        inbox.told = set(over)

    # --- what is told -------------------------------------------------------------------------------------------------

    async def _set_reason(self, inbox: Inbox, reason: str | None) -> None:
        scheduler, was = self.scheduler, inbox.reason
        inbox.reason = reason
        if reason is None and was is not None:
            if inbox.unavailable_since is not None:
                scheduler.log("route.available", "info", route=inbox.name)
            inbox.unavailable_since = None
        elif reason is not None and reason != was:
            inbox.unavailable_since = inbox.unavailable_since or scheduler.outside.clock.now()
            scheduler.log("route.unavailable", "error", route=inbox.name, reason=reason)
        await self._write_health(inbox)

    async def _set_disk(self, inbox: Inbox, low: str | None) -> None:
        was, inbox.disk_low = inbox.disk_low, low
        if low is not None and was is None:
            self.scheduler.log("disk.low", "error", route=inbox.name, reason=low)
        elif low is None and was is not None:
            self.scheduler.log("disk.recovered", "info", route=inbox.name)

    async def _write_health(self, inbox: Inbox) -> None:
        """Write down how the route is, for those who read the state while or when the daemon runs; changes only."""
        health = {
            "reason": inbox.reason,
            "since": inbox.unavailable_since,
            "disk_low": inbox.disk_low,
            "unsettled": inbox.unsettled,
            "unreadable": dict(sorted(inbox.unreadable.items())[:100]),
            "is_draining": inbox.is_draining,
            "inbox": str(inbox.route.inbox),
        }
        book = self.facts.get("health") or {}
        if book.get(inbox.name) != health:
            await self._remember("health", {**book, inbox.name: health})

    async def adopt(self, inbox: Inbox) -> None:
        """Take a route over as a person says: its marker becomes ours, and its mounts are what they are now."""
        mounts = {name: data for name, data in (self.facts.get("mounts") or {}).items() if name != inbox.name}
        await self._remember("mounts", mounts)
        found = await inbox.check({})
        await inbox.outside.run(
            inbox.name, inbox.outside.folders.make_work, inbox.route.work, deadline_s=LOOK_DEADLINE_S
        )
        await inbox.mark(replace=True)
        await self._remember("mounts", {**mounts, inbox.name: found})
        inbox.is_open = False
        self.scheduler.ring(inbox.name)

    async def _remember(self, key: str, value: Any) -> None:
        if self.facts.get(key) != value:
            self.facts = {**self.facts, key: value}
            await self.scheduler.outside.store.set_fact(key, value)
