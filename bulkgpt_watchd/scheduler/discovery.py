"""
Find the files: which routes there are, whether they can be used, and what stands in their inboxes.

The scan is the truth; a bell only makes the next look come sooner. So overflow, lost events, network shares and
re-created folders need no special case.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bulkgpt_watchd.config import Route
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished
from bulkgpt_watchd.core.events import Vanished
from bulkgpt_watchd.core.job import Stamp, State
from bulkgpt_watchd.core.names import ID_BYTES, new_id, work_name
from bulkgpt_watchd.core.ports import Look, Query
from bulkgpt_watchd.core.routes import keys_of, names_of
from bulkgpt_watchd.scheduler.inbox import LOOK_DEADLINE_S, Inbox, Unusable
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.reconcile import bury, sweep

ENDED = (State.DONE, State.FAILED, State.WITHDRAWN)


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
    facts: dict[str, Any] = field(default_factory=dict)  # names, routes, inboxes, mounts, health: as in the store
    unwritten: set[str] = field(default_factory=set)  # facts that the store may not have

    # --- routes -------------------------------------------------------------------------------------------------------

    async def start(self, routes: Iterable[Route]) -> None:
        """Take over what the store knows; what our own death left SUBMITTING is buried when its route is opened."""
        scheduler = self.scheduler
        self.facts = await scheduler.outside.store.facts()
        scheduler.passage.load(self.facts)
        scheduler.book.counts.update(await scheduler.outside.store.counts())
        await scheduler.lanes.budgets.load()
        scheduler.tend = self.tend
        await self.take(routes)
        left = sum(number for (_, state), number in scheduler.book.counts.items() if state is State.SUBMITTING)
        await scheduler.passage.start_after(left)

    async def take(self, routes: Iterable[Route]) -> None:
        """
        Follow the configured routes: new ones are opened, changed ones looked at anew, others drain.

        Shape: the same inbox under a new name is the same route, and its jobs stay with it. A removed route with jobs
            under way keeps its last settings until they have ended.
        Repeat: yes.
        """
        scheduler, wanted = self.scheduler, {route.name: route for route in routes}
        remembered: dict[str, dict[str, Any]] = dict(self.facts.get("routes") or {})
        keys = self._know(wanted.values(), remembered)
        for name, route in wanted.items():
            key = keys[name]
            if remembered.get(key, {}).get("workflow_id", route.workflow_id) != route.workflow_id:
                await scheduler.passage.release(key)
            await self._put(key, route, is_draining=False)
        for key in remembered.keys() - set(keys.values()):
            if self._is_under_way(key):
                settings = self.parse({**remembered[key], "name": scheduler.book.names[key]})
                await self._put(key, settings, is_draining=True)
            elif key in scheduler.inboxes:
                await self._drop(key)
        await self._remember("names", dict(scheduler.book.names))
        await self._remember_routes()
        scheduler.wake.set()

    def _know(self, wanted: Iterable[Route], remembered: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Find out which route is which, and give them their names; gives names to keys."""
        names = {**{key: key for key in remembered}, **(self.facts.get("names") or {})}
        keys = keys_of(
            {route.name: str(route.inbox) for route in wanted},
            {key: str(settings["inbox"]) for key, settings in remembered.items()},
            self.facts.get("inboxes") or {},
            names,
        )
        book = self.scheduler.book
        book.names.update(names_of(keys, names))
        for name, key in keys.items():
            if names.get(key, name) != name:
                book.log("route.renamed", "info", route=key, old=names[key])
        return keys

    async def _put(self, key: str, route: Route, *, is_draining: bool) -> None:
        scheduler = self.scheduler
        inbox = scheduler.inboxes.get(key)
        if inbox is None:
            inbox = Inbox(key, route, scheduler.outside, self.state_uuid)
            jobs = await scheduler.outside.store.query(Query(routes=(key,), states=(State.DISCOVERED,)))
            inbox.waiting = {job.file: job.id for job in jobs}
            scheduler.inboxes[key] = inbox
        elif inbox.route != route:
            inbox.is_open = False
        inbox.route, inbox.is_draining, inbox.is_rung = route, is_draining, True

    def _is_under_way(self, key: str) -> bool:
        counts = self.scheduler.book.counts
        return any(number > 0 for (route, state), number in counts.items() if route == key and state not in ENDED)

    async def _drop(self, key: str) -> None:
        """Forget a route that was removed and has nothing under way; its jobs, its name and its inbox stay known."""
        inbox = self.scheduler.inboxes.pop(key)
        await self.bell(inbox, is_removed=True)

    # --- one look -----------------------------------------------------------------------------------------------------

    async def tend(self, inbox: Inbox) -> None:
        """
        Look at one route: may it be used, what is whole, what was taken back.

        Repeat: yes; this is done every `scan_every`, and whenever the bell rings.
        """
        try:
            mounts = await inbox.check((self.facts.get("mounts") or {}).get(inbox.key, {}))
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
        if inbox.is_draining and not self._is_under_way(inbox.key) and self.scheduler.inboxes.get(inbox.key) is inbox:
            await self._drop(inbox.key)
            await self._remember_routes()

    async def _open(self, inbox: Inbox, mounts: dict[str, Any]) -> None:
        scheduler = self.scheduler
        known = self.facts.get("inboxes") or {}
        is_known = known.get(str(inbox.route.inbox)) == inbox.key
        is_first = await inbox.open(is_known=is_known)
        if is_first and inbox.route.hold_backlog is not None:
            await self._hold_backlog(inbox, inbox.route.hold_backlog)
        await inbox.mark(replace=not is_first)
        await self._remember("inboxes", {**known, str(inbox.route.inbox): inbox.key})
        await self._remember("mounts", {**(self.facts.get("mounts") or {}), inbox.key: mounts})
        await bury(inbox, scheduler.book, scheduler.running)
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
        await self.scheduler.passage.pause(inbox.key, reason, None)

    async def _take_in(self, inbox: Inbox, look: Look, whole: list[tuple[str, Stamp]]) -> None:
        self._tell_passed_over(inbox, look)
        gone = [(file, job_id) for file, job_id in inbox.waiting.items() if file not in look.present]
        for file, job_id in gone:
            await self._withdraw(inbox, file, job_id)
        if self.scheduler.inboxes.get(inbox.key) is not inbox or inbox.is_draining:
            return  # the route was removed while we looked
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
        elif job.inbox != str(inbox.route.inbox):
            return  # it was found where the inbox was before: its claim looks there
        elif work_name(job.id, job.file) not in await inbox.list_work():
            await self.scheduler.book.commit(job, Vanished())

    def _tell_passed_over(self, inbox: Inbox, look: Look) -> None:
        """Tell each passed-over or unreadable name once, for as long as it is there."""
        over = {**look.ignored, **look.unreadable}
        for name in over.keys() - inbox.told:
            level = "warning" if name in look.unreadable else "info"
            self.scheduler.log("file.ignored", level, route=inbox.key, file=name, reason=over[name])
        inbox.told = set(over)

    # --- what is told -------------------------------------------------------------------------------------------------

    async def _set_reason(self, inbox: Inbox, reason: str | None) -> None:
        scheduler, was = self.scheduler, inbox.reason
        inbox.reason = reason
        if reason is None and was is not None:
            if inbox.unavailable_since is not None:
                scheduler.log("route.available", "info", route=inbox.key)
            inbox.unavailable_since = None
        elif reason is not None and reason != was:
            inbox.unavailable_since = inbox.unavailable_since or scheduler.outside.clock.now()
            scheduler.log("route.unavailable", "error", route=inbox.key, reason=reason)
        await self._write_health(inbox)

    async def _set_disk(self, inbox: Inbox, low: str | None) -> None:
        was, inbox.disk_low = inbox.disk_low, low
        if low is not None and was is None:
            self.scheduler.log("disk.low", "error", route=inbox.key, reason=low)
        elif low is None and was is not None:
            self.scheduler.log("disk.recovered", "info", route=inbox.key)

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
        await self._remember("health", {**book, inbox.key: health})

    async def adopt(self, inbox: Inbox) -> None:
        """Take a route over as a person says: its marker becomes ours, and its mounts are what they are now."""
        mounts = {key: data for key, data in (self.facts.get("mounts") or {}).items() if key != inbox.key}
        await self._remember("mounts", mounts)
        found = await inbox.check({})
        await inbox.outside.run(
            inbox.key, inbox.outside.folders.make_work, inbox.route.work, deadline_s=LOOK_DEADLINE_S
        )
        await inbox.mark(replace=True)
        await self._remember("mounts", {**mounts, inbox.key: found})
        inbox.is_open = False
        self.scheduler.ring(inbox.key)

    async def _remember_routes(self) -> None:
        await self._remember("routes", {key: self.dump(inbox.route) for key, inbox in self.scheduler.inboxes.items()})

    async def _remember(self, key: str, value: Any) -> None:
        """Keep a fact, in memory at once; one that could not be written is written with the next that is said of it."""
        if self.facts.get(key) == value and key not in self.unwritten:
            return
        self.facts = {**self.facts, key: value}
        self.unwritten.add(key)
        await self.scheduler.outside.store.set_fact(key, value)
        self.unwritten.discard(key)
