"""
Find the files: which routes there are, whether they can be used, and what stands in their inboxes.

The scan is the truth; a bell only makes the next look come sooner. So overflow, lost events, network shares and
re-created folders need no special case.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bulkgpt_watchd.config import Route
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished
from bulkgpt_watchd.core.events import Vanished
from bulkgpt_watchd.core.job import Stamp, State
from bulkgpt_watchd.core.names import ID_BYTES, new_id, work_name
from bulkgpt_watchd.core.ports import Look, Query
from bulkgpt_watchd.core.routes import keys_of, names_of
from bulkgpt_watchd.scheduler.condition import health_of, set_disk, set_reason, tell_passed_over
from bulkgpt_watchd.scheduler.inbox import LOOK_DEADLINE_S, Inbox, Unusable
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.notes import Notes
from bulkgpt_watchd.scheduler.reconcile import Standing, bury, sweep
from bulkgpt_watchd.scheduler.traces import follow_traces

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
    notes: Notes = field(init=False)  # names, routes, inboxes, works, mounts, health

    def __post_init__(self) -> None:
        self.notes = Notes(self.scheduler.outside.store)

    # --- routes -------------------------------------------------------------------------------------------------------

    async def start(self, routes: Iterable[Route]) -> None:
        """Take over what the store knows; what our own death left SUBMITTING is buried when its route is looked at."""
        scheduler = self.scheduler
        self.notes.facts = await scheduler.outside.store.facts()
        scheduler.passage.load(self.notes.facts)
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
        remembered: dict[str, dict[str, Any]] = self.notes.of("routes")
        keys = self._know(wanted.values(), remembered)
        for name, route in wanted.items():
            key = keys[name]
            if remembered.get(key, {}).get("workflow_id", route.workflow_id) != route.workflow_id:
                await scheduler.passage.release(key)
            self._put(key, route, is_draining=False)
        dropped = []
        async with scheduler.book.acting:
            for key in (remembered.keys() | scheduler.inboxes.keys()) - set(keys.values()):
                if self._is_under_way(key) or key in scheduler.looking:
                    inbox = scheduler.inboxes.get(key)
                    settings = remembered[key] if inbox is None else self.dump(inbox.route)
                    self._put(key, self.parse({**settings, "name": scheduler.book.names[key]}), is_draining=True)
                elif key in scheduler.inboxes:
                    dropped.append(scheduler.inboxes.pop(key))
            self._note_routes()
        scheduler.wake.set()
        await self.notes.write()
        for inbox in dropped:
            await self.bell(inbox, is_removed=True)

    def _know(self, wanted: Iterable[Route], remembered: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Find out which route is which, and give them their names; gives names to keys."""
        book, known = self.scheduler.book, self.notes.of("inboxes")
        ever = {*remembered, *known.values(), *(key for key, _ in book.counts), *self.scheduler.inboxes}
        names = {**{key: key for key in ever}, **self.notes.of("names")}
        keys = keys_of(
            {route.name: str(route.inbox) for route in wanted},
            {key: str(settings["inbox"]) for key, settings in remembered.items()},
            known,
            names,
        )
        book.names.update(names_of(keys, names))
        self.notes.put("names", dict(book.names))
        for name, key in keys.items():
            if names.get(key, name) != name:
                book.log("route.renamed", "info", route=key, old=names[key])
        return keys

    def _put(self, key: str, route: Route, *, is_draining: bool) -> None:
        """
        Have a route with these settings.

        Other settings make another inbox: a look that is under way goes on with the old one, and what it finds of it
        does not count any more.
        """
        inboxes = self.scheduler.inboxes
        old = inboxes.get(key)
        if old is None or old.route != route:
            inboxes[key] = Inbox(key, route, self.scheduler.outside, self.state_uuid)
            if old is not None:
                for told in ("unavailable_since", "disk_low", "told"):
                    setattr(inboxes[key], told, getattr(old, told))
        inboxes[key].is_draining, inboxes[key].is_rung = is_draining, True

    def _is_under_way(self, key: str) -> bool:
        counts = self.scheduler.book.counts
        return any(number > 0 for (route, state), number in counts.items() if route == key and state not in ENDED)

    def _is_current(self, inbox: Inbox) -> bool:
        return self.scheduler.inboxes.get(inbox.key) is inbox

    def _note_routes(self) -> None:
        self.notes.put("routes", {key: self.dump(inbox.route) for key, inbox in self.scheduler.inboxes.items()})

    # --- one look -----------------------------------------------------------------------------------------------------

    async def tend(self, inbox: Inbox) -> None:
        """
        Look at one route: may it be used, what is whole, what was taken back.

        Repeat: yes; this is done every `scan_every`, and whenever the bell rings.
        """
        reason = None
        try:
            mounts = await inbox.check(self.notes.of("mounts").get(inbox.key, {}))
            is_known = self.notes.of("inboxes").get(str(inbox.route.inbox)) == inbox.key
            is_first = await inbox.judge_marker(is_known=is_known)
            if not inbox.is_open or not await inbox.may_write():
                await self._open(inbox, mounts, is_first=is_first)
            set_disk(self.scheduler.log, inbox, await inbox.low_disk(self.scheduler.state_folder))
            if not inbox.is_draining:
                await self._take_in(inbox, *await inbox.look())
        except (Unusable, DiskTrouble, SourceVanished, InUse, NameTaken) as error:
            inbox.is_open = False
            reason = str(error)
        if self._is_current(inbox):
            set_reason(self.scheduler.log, inbox, reason, self.scheduler.outside.clock.now())
            await self.notes.enter("health", inbox.key, health_of(inbox))
        if reason is not None:
            await self._without_folders(inbox)
        if inbox.is_draining:
            await self._drop_if_ended(inbox)

    async def _open(self, inbox: Inbox, mounts: dict[str, Any], *, is_first: bool) -> None:
        scheduler, key, path = self.scheduler, inbox.key, str(inbox.route.inbox)
        await inbox.open(is_first=is_first)
        if not inbox.is_open_before:
            jobs = await scheduler.outside.store.query(Query(routes=(key,), states=(State.DISCOVERED,)))
            inbox.waiting = {job.file: job.id for job in jobs if job.inbox == path}
            inbox.is_open_before = True
        if is_first and inbox.route.hold_backlog is not None:
            await self._hold_backlog(inbox, inbox.route.hold_backlog)
        await inbox.mark(replace=not is_first)
        works = dict.fromkeys([*self.notes.of("works").get(key, []), str(inbox.route.work)])
        await self.notes.enter("inboxes", path, key)
        await self.notes.enter("mounts", key, mounts)
        await self.notes.enter("works", key, list(works))
        standing = await self._standing(inbox, works)
        await bury(inbox, scheduler.book, scheduler.running, standing)
        await follow_traces(inbox, scheduler.book, scheduler.running, standing)
        await sweep(inbox, scheduler.book, scheduler.running, standing)
        if self._is_current(inbox):
            inbox.is_open = True
            await self.bell(inbox)

    async def _standing(self, inbox: Inbox, works: Iterable[str]) -> Standing:
        """List its work, and what was its work before an inbox moved: an older copy of the state may speak of that."""
        others = {each.route.work for each in self.scheduler.inboxes.values() if each.key != inbox.key}
        standing = {inbox.route.work: await inbox.list_work()}
        for work in map(Path, works):
            if work not in others and work not in standing:
                with contextlib.suppress(DiskTrouble):
                    standing[work] = await inbox.list_work(work)
        return standing

    async def _without_folders(self, inbox: Inbox) -> None:
        """Settle what needs no folder: doubts need not wait for a share, nor what a removed route never took."""
        scheduler = self.scheduler
        await bury(inbox, scheduler.book, scheduler.running, {})
        if not inbox.is_draining:
            return
        for job in await scheduler.outside.store.query(Query(routes=(inbox.key,), states=(State.DISCOVERED,))):
            with contextlib.suppress(DiskTrouble):
                if not await inbox.exists(Path(job.work)):
                    await scheduler.book.commit(job, Vanished())

    async def _drop_if_ended(self, inbox: Inbox) -> None:
        """Forget a route that was removed and has nothing under way; its jobs, its name and its inbox stay known."""
        async with self.scheduler.book.acting:
            if not self._is_current(inbox) or self._is_under_way(inbox.key):
                return
            del self.scheduler.inboxes[inbox.key]
            self._note_routes()
        await self.notes.write()
        await self.bell(inbox, is_removed=True)

    async def _hold_backlog(self, inbox: Inbox, limit: int) -> None:
        """Start paused when many files wait at the first start: nobody pays for an old archive unasked."""
        look, _ = await inbox.look()
        if len(look.files) <= limit:
            return
        size = sum(stamp.bytes for stamp in look.files.values())
        rows = await inbox.count_rows(list(look.files))
        reason = (
            f"{len(look.files)} files ({rows} rows, {size} bytes) were there at the first start, more than "
            f"hold_backlog ({limit}); `bulkgpt-watchd resume` with the name of the route takes them"
        )
        if self._is_current(inbox):
            await self.scheduler.passage.pause(inbox.key, reason, None)

    async def _take_in(self, inbox: Inbox, look: Look, whole: list[tuple[str, Stamp]]) -> None:
        scheduler = self.scheduler
        tell_passed_over(scheduler.log, inbox, look)
        gone = [(file, job_id) for file, job_id in inbox.waiting.items() if file not in look.present]
        for file, job_id in gone:
            await self._withdraw(inbox, file, job_id)
        if not self._is_current(inbox) or inbox.is_draining:
            return  # the route was removed, or changed, while we looked
        jobs = [
            inbox.new_job(new_id(secrets.token_bytes(ID_BYTES)), file, stamp, State.DISCOVERED) for file, stamp in whole
        ]
        if not jobs:
            return
        await scheduler.book.add(jobs)
        for job in jobs:
            inbox.waiting[job.file] = job.id
            scheduler.log("job.discovered", "info", route=job.route, job=job.id, file=job.file, bytes=job.size_bytes)

    async def _withdraw(self, inbox: Inbox, file: str, job_id: str) -> None:
        """Note that a waiting file left the inbox, unless it was us who took it."""
        if job_id in self.scheduler.running:
            return
        job = await self.scheduler.outside.store.get(job_id)
        if job is None or job.state is not State.DISCOVERED:
            inbox.waiting.pop(file, None)
        elif work_name(job.id, job.file) not in await inbox.list_work():
            await self.scheduler.book.commit(job, Vanished())

    async def adopt(self, inbox: Inbox) -> None:
        """Take a route over as a person says: its marker becomes ours, and its mounts are what they are now."""
        self.notes.put("mounts", {key: data for key, data in self.notes.of("mounts").items() if key != inbox.key})
        found = await inbox.check({})
        await inbox.outside.run(
            inbox.key, inbox.outside.folders.make_work, inbox.route.work, deadline_s=LOOK_DEADLINE_S
        )
        await inbox.mark(replace=True)
        await self.notes.enter("mounts", inbox.key, found)
        inbox.is_open = False
        self.scheduler.ring(inbox.key)
