"""
Say what a start would do with the files that stand in the inboxes now, and touch nothing.

The rules are the daemon's own: its look, its settler, its check of content, its rule for duplicates. One look cannot
tell whether a file is quiet; so for files that have to be, it is told for how long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from bulkgpt_watchd.config import Route, Settings
from bulkgpt_watchd.config.quantities import format_duration
from bulkgpt_watchd.core.budget import OVER_BUDGET, Spent
from bulkgpt_watchd.core.duplicates import obstacle
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, Refused, SourceVanished
from bulkgpt_watchd.core.job import Job, Stamp, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.names import printable, render_marker_name
from bulkgpt_watchd.core.ports import Look, Query
from bulkgpt_watchd.core.routes import keys_of
from bulkgpt_watchd.core.settle import UNENDED_FACTOR
from bulkgpt_watchd.core.status import status
from bulkgpt_watchd.effects.intake import check_size, duplicate_of, duplicate_rule, inspect, moved_back, rules_of
from bulkgpt_watchd.effects.outside import OnDisk
from bulkgpt_watchd.scheduler.inbox import Inbox, Unusable
from bulkgpt_watchd.scheduler.rest_of_day import RestOfDay, rest_of_day

Verdict = Literal["taken", "waits", "refused", "ignored"]


class Known(Protocol):
    """Be what a state remembers, to be read only."""

    uuid: str

    def facts(self) -> dict[str, Any]: ...
    def spent(self, day: str) -> dict[str, Spent]: ...
    def counts(self) -> dict[tuple[str, State], int]: ...
    def query(self, query: Query) -> list[Job]: ...
    def twins(self, job: Job) -> list[Job]: ...


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Hold what would become of one file, and why."""

    file: str
    verdict: Verdict
    why: str = ""
    bytes: int | None = None
    rows: int | None = None
    code: str | None = None
    line: int | None = None
    job: str | None = None


@dataclass(slots=True)
class Preview:
    """
    Hold what one look at a route says.

    Shape: *reason*: it cannot be used; *held*: why nothing would be taken now; *notes*: what this look could not see.
    """

    route: Route
    reason: str | None = None
    held: str | None = None
    notes: list[str] = field(default_factory=list)
    files: list[Foreseen] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """Tell whether a person should look."""
        return self.reason is not None or any(
            file.verdict == "refused" or file.code == UNREADABLE for file in self.files
        )


UNREADABLE = "unreadable"
"""Stands for a code at files that wait since they cannot be opened; no job ever has it."""


async def preview(settings: Settings, outside: OnDisk, known: Known | None, *, is_readable: bool) -> list[Preview]:
    """
    Look once at each route.

    Shape: *known* None: there is no state, or (not *is_readable*) none that we may read.
    Repeat: yes, it changes nothing.
    """
    facts = {} if known is None else known.facts()
    names: dict[str, str] = facts.get("names") or {}
    remembered: Mapping[str, Mapping[str, Any]] = facts.get("routes") or {}
    keys = keys_of(
        {route.name: str(route.inbox) for route in settings.routes},
        {key: str(settings["inbox"]) for key, settings in remembered.items()},
        facts.get("inboxes") or {},
        names,
    )
    now = outside.clock.now()
    lifted = (facts.get("budget") or {}).get("lifted") or {}
    spent = {} if known is None else known.spent(day_of(now))
    rest = rest_of_day(settings, [(keys[route.name], route) for route in settings.routes], lifted, spent, now)
    found = []
    for route in settings.routes:
        inbox = Inbox(keys[route.name], route, outside, "" if known is None else known.uuid)
        looking = _Looking(inbox, settings, known, facts, rest, is_readable=is_readable)
        found.append(await looking.preview())
    return found


@dataclass
class _Looking:
    """Look at one route."""

    inbox: Inbox
    settings: Settings
    known: Known | None
    facts: Mapping[str, Any]
    rest: RestOfDay
    is_readable: bool
    before: list[Job] = field(default_factory=list)  # files of this look that go first

    async def preview(self) -> Preview:
        inbox, told = self.inbox, Preview(self.inbox.route)
        try:
            await inbox.check((self.facts.get("mounts") or {}).get(inbox.key, {}), creates=False)
            is_first = await self._judge_marker(told)
            look, whole = await inbox.look()
            told.held = (
                self._held(look, is_first=is_first)
                or await self._low_disk()
                or self.rest.used_up(inbox.key, inbox.name)
            )
            told.files += [Foreseen(file, "ignored", why) for file, why in sorted(look.ignored.items())]
            told.files += [
                Foreseen(file, "waits", why, code=UNREADABLE) for file, why in sorted(look.unreadable.items())
            ]
            waits_s = await self._waits_s(look, {file for file, _ in whole})
            for file, stamp in sorted(look.files.items(), key=lambda item: (item[1].mtime_ns, item[0])):
                told.files.append(self._unless_held(told, await self._foresee(file, stamp, waits_s.get(file))))
        except (Unusable, DiskTrouble, SourceVanished, InUse) as error:
            told.reason = str(error)
        return told

    async def _judge_marker(self, told: Preview) -> bool:
        """Say whether this is the first start of the route."""
        inbox = self.inbox
        if not self.is_readable:
            told.notes.append(
                "the state cannot be read by you: duplicates, pauses, gate and spent budgets are not seen"
            )
            return False
        try:
            is_known = (self.facts.get("inboxes") or {}).get(str(inbox.route.inbox)) == inbox.key
            return await inbox.judge_marker(is_known=is_known)
        except DiskTrouble as error:
            # It is closed to all but the daemon's user, and should be: a right on it would help nobody.
            is_closed = isinstance(error.__cause__, PermissionError)
            why = f"only the daemon's user may look into {inbox.route.work}" if is_closed else error
            told.notes.append(f"whose work folder it is cannot be told: {why}")
            return False

    def _held(self, look: Look, *, is_first: bool) -> str | None:
        """Say why a start would take nothing from this route at once."""
        limit = self.inbox.route.hold_backlog
        if is_first and limit is not None and len(look.files) > limit:
            return (
                f"the route would start paused, since there are {len(look.files)} files, more than hold_backlog "
                f"({limit}); `bulkgpt-watchd resume {self.inbox.name}` takes them"
            )
        if self.known is None:
            return None
        now = self.inbox.outside.clock.now()
        content = status(self.facts, self.known.counts(), (), now=now, is_running=False)
        name = (self.facts.get("names") or {}).get(self.inbox.key, self.inbox.key)
        seen = next((route for route in content["routes"] if route["name"] == name), None)
        if seen is not None and seen["pause"]:
            return f"paused: {seen['pause']['reason']}"
        if content["gate_position"] == "shut":
            return f"the gate is shut: {content['gate_reason']}"
        return f"held: {seen['gate_reason']}" if seen is not None and seen["held_until"] else None

    async def _low_disk(self) -> str | None:
        """Say which folder has too little room; one that is still to be made says nothing."""
        try:
            return await self.inbox.low_disk(self.settings.state.path.parent)
        except DiskTrouble:
            return None

    async def _waits_s(self, look: Look, whole: set[str]) -> dict[str, float]:
        """Say of each file with content how long it would have to be quiet, by asking the settler about the future."""
        inbox, quiet = self.inbox, self.inbox.quiet
        now, waits_s = inbox.outside.clock.monotonic(), dict.fromkeys(whole, 0.0)
        if quiet.needs_marker:
            return waits_s
        ends = await inbox.ends([file for file, stamp in look.files.items() if stamp.bytes])
        for wait_s in (quiet.settle_s, quiet.settle_s * UNENDED_FACTOR):
            names, _ = inbox.settler.observe(look.files, look.marked, now + wait_s, quiet, ends)
            waits_s = dict.fromkeys((file for file in names if look.files[file].bytes), wait_s) | waits_s
        jobs = [] if self.known is None else self.known.query(Query(routes=(inbox.key,), states=(State.DISCOVERED,)))
        known_as_whole = (job.file for job in jobs if look.files.get(job.file) == job.stamp)
        return waits_s | dict.fromkeys(known_as_whole, 0.0)

    async def _foresee(self, file: str, stamp: Stamp, wait_s: float | None) -> Foreseen:
        route = self.inbox.route
        seen = Foreseen(file, "waits", bytes=stamp.bytes)
        if wait_s is None and route.ready.done_file is not None:
            marker = render_marker_name(route.ready.done_file, file)
            return replace(seen, why=f"its marker {printable(marker)} is not there")
        if wait_s is None:
            grace = format_duration(route.empty_grace)
            return replace(seen, why=f"empty; refused as csv_empty if it still is after {grace}")
        why = f"once it was quiet for {format_duration(wait_s)}, which one look cannot tell" if wait_s else ""
        try:
            check_size(stamp.bytes, self.settings.api)
            found = await self.inbox.outside.run(
                self.inbox.key, inspect, self.inbox.outside.folders, route.inbox, (file,), stamp, rules_of(route)
            )
            if found.refusal is not None:
                raise found.refusal
            if found.sha256 is None:
                return replace(seen, why="somebody is writing to it")
            await self._refuse_duplicate(file, stamp, found.sha256)
        except Refused as refused:
            return replace(seen, verdict="refused", why=str(refused), code=refused.code, line=refused.line)
        except SourceVanished:
            return replace(seen, why="it was taken away while this command looked")
        except (InUse, DiskTrouble) as error:
            return replace(seen, why=str(error), code=UNREADABLE)
        return replace(seen, verdict="taken", why=why, rows=found.rows)

    async def _refuse_duplicate(self, file: str, stamp: Stamp, sha256: str) -> None:
        inbox, number = self.inbox, f"{len(self.before):08}"
        job = replace(inbox.new_job(number, file, stamp, State.CLAIMED), sha256=sha256)
        rule = duplicate_rule(inbox.route, job.created_at)
        if (first := obstacle(job, self.before, rule)) is not None:
            raise Refused("duplicate", f"It has the same bytes as {printable(first.file)}, which goes first.")
        if self.known is not None:
            twins = self.known.twins(job)
            other = obstacle(job, twins, rule, await moved_back(inbox.outside, inbox.key, twins))
            if other is not None:
                raise Refused("duplicate", duplicate_of(other).message, related_job=other.id)
        self.before.append(job)

    def _unless_held(self, told: Preview, file: Foreseen) -> Foreseen:
        if file.verdict != "taken":
            return file
        why = told.held
        if why is None or why.startswith(OVER_BUDGET):  # a file for which no day is enough says so
            why = self.rest.spend(self.inbox.key, self.inbox.name, file.rows or 0) or why
        return file if why is None else replace(file, verdict="waits", why=why)


def totals(previews: Iterable[Preview]) -> dict[str, dict[str, int]]:
    """Count files and rows by verdict; each row that is taken is paid."""
    files = [file for told in previews for file in told.files]
    return {
        verdict: {
            "files": sum(file.verdict == verdict for file in files),
            "rows": sum(file.rows or 0 for file in files if file.verdict == verdict),
        }
        for verdict in ("taken", "waits", "refused")
    }
