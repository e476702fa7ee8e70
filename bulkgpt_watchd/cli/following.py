"""Follow files that `submit` put into an inbox to their ends, by what the state says of them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.cli.control import is_running
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.timeline import words
from bulkgpt_watchd.core.budget import ends_at
from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.exit_codes import HELD, REFUSED, SOME_FAILED
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.core.ports import JournalEntry
from bulkgpt_watchd.core.routes import named
from bulkgpt_watchd.core.shown import is_partial, rfc3339, row, rows_failed
from bulkgpt_watchd.core.status import status

if TYPE_CHECKING:
    from bulkgpt_watchd.config import Route, Settings

LOOKS_EVERY_S = 0.3
"""How often the state is read: a person sees no delay, and a look costs a millisecond."""

HINT_EVERY_LOOKS = 10
"""How often it is asked whether the daemon runs and may take files; that reads more of the state."""

GONE = "was taken out of the inbox, or replaced there, before the daemon had seen it"


@dataclass(frozen=True, slots=True)
class Put:
    """
    Hold one file that stands in the inbox now.

    Shape: *after* is the number of the newest job before it was there; *inode* None where a share makes numbers up.
    """

    source: str
    inbox: Path
    name: str
    inode: int | None
    after: int

    @property
    def path(self) -> Path:
        """Give where it was put."""
        return self.inbox / self.name


@dataclass
class Following:
    """
    Read the state beside a daemon, or before there is one.

    Shape: *is_quiet*: nothing is told meanwhile.
    """

    settings: Settings
    route: Route
    timeout_s: float | None
    is_quiet: bool
    _told: dict[str, int] = field(default_factory=dict)  # path → lines of its history that were told
    _hint: str | None = None

    def begin(self, *, must_see: bool) -> None:
        """
        Make sure, where a person wants to wait, that the state can be read.

        Errors: Ended.
        """
        if must_see and os.path.lexists(self.settings.state.path):
            try:
                self.newest_or_trouble()
            except WatchdError as error:
                raise Ended(f"--wait needs to read the state, and nothing was submitted: {error}", REFUSED) from None

    def newest(self) -> int:
        """Give the number of the newest job; 0 where that cannot be known."""
        try:
            return self.newest_or_trouble()
        except WatchdError:
            return 0

    def newest_or_trouble(self) -> int:
        """Give the number of the newest job."""
        with StateReader.open(self.settings.state.path) as state:
            return state.newest()

    def _find_hint(self) -> str | None:
        try:
            with StateReader.open(self.settings.state.path) as state:
                facts, counts, now = state.facts(), state.counts(), time.time()
                spent = state.spent(day_of(now))
        except WatchdError:
            if os.path.lexists(self.settings.state.path):
                return "whether the daemon runs cannot be seen by you; if not, files wait for it"
            return "the daemon has not run yet; files wait for it"
        if not is_running(self.settings, facts):
            return "the daemon does not run; files wait for it"
        names = facts.get("names") or {}
        content = status(facts, counts, (), spent=spent, now=now, is_running=True)
        seen = next((one for one in content["routes"] if one["name"] == self.route.name), None)
        if seen is None or not seen["configured"]:
            known = ", ".join(printable(names.get(key, key)) for key in facts.get("routes") or {})
            return f"the running daemon does not have this route yet, only {known}: run `bulkgpt-watchd reload`"
        if not seen["available"]:
            return f"files wait, since the route cannot be used: {seen['reason']}"
        if seen["pause"]:
            return f"files wait, since it is paused: {seen['pause']['reason']}"
        if content["gate_position"] == "shut" or seen["held_until"]:
            return f"files wait, since the gate is shut: {seen['gate_reason']}"
        if seen["budget"]["used_up"] or seen["budget"]["total_used_up"]:
            which = f"route {printable(self.route.name)}" if seen["budget"]["used_up"] else "all routes"
            return f"files wait, since the budget of {which} is used up until {rfc3339(ends_at(now))}"
        return None

    def until_ended(self, puts: Sequence[Put]) -> tuple[int, list[dict[str, Any] | None]]:
        """Wait until all have ended; give the exit code and the rows of their jobs."""
        ends_at = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        ended: dict[str, Job | None] = {}
        left, looks = list(puts), 0
        while left:
            seen = {}
            for put in left:
                is_here = _is_here(put)  # asked first: a file that leaves the inbox has its job by then
                if (job := self._look(put)) is not None:
                    seen[str(put.path)] = job
                if (job is not None and job.state in TERMINAL) or (job is None and not is_here):
                    ended[str(put.path)] = job
                    self._tell_end(put, job)
            left = [put for put in left if str(put.path) not in ended]
            if left and ends_at is not None and time.monotonic() >= ends_at:
                for put in left:
                    job = seen.get(str(put.path))
                    self._tell_left(put, job)
                break
            if left:
                looks += 1
                if looks % HINT_EVERY_LOOKS == 0:
                    self.tell_hint()
                time.sleep(LOOKS_EVERY_S)
        jobs = [ended.get(str(put.path)) or self._look(put) for put in puts]
        is_done = all(job is not None and job.state is State.DONE for job in ended.values())
        code = SOME_FAILED if not is_done else HELD if left else 0
        return code, [None if job is None else row(job) for job in jobs]

    def _look(self, put: Put) -> Job | None:
        """Give the job of a file, and tell what is new of it."""
        try:
            with StateReader.open(self.settings.state.path) as state:
                jobs = state.arrived(str(put.inbox), put.name, put.after)
                job = next((job for job in jobs if put.inode in {job.inode, None}), None)
                if job is None:
                    return None
                journal, names = state.journal(job.id), state.names()
        except WatchdError:  # the daemon may be starting, or migrating
            return None
        self._tell_news(put, job, journal)
        return named(job, names)

    def _tell_news(self, put: Put, job: Job, journal: list[JournalEntry]) -> None:
        key = str(put.path)
        if key not in self._told:
            self._told[key] = 0
            self._tell(put, f"job {job.id}")
        for entry in journal[self._told[key] :]:
            self._tell(put, words(entry.event, entry.facts))
        self._told[key] = len(journal)

    def _tell_end(self, put: Put, job: Job | None) -> None:
        if job is None:
            self._tell(put, GONE)
        elif job.state is State.DONE:
            if is_partial(job):
                self._tell(put, f"partial: {rows_failed(job)} of {job.rows_total or job.rows} rows failed")
            if not self.is_quiet and job.result_path is not None:
                click.echo(printable(job.result_path))
        elif job.state is State.WITHDRAWN:
            self._tell(put, "was taken back, or replaced, before it was claimed")
        else:
            self._tell(put, f"what to do: {row(job)['what_to_do']}")

    def _tell_left(self, put: Put, job: Job | None) -> None:
        what = (
            "not taken yet; it stays in the inbox"
            if job is None
            else f"goes on; see `bulkgpt-watchd jobs show {job.id}`"
        )
        self._tell(put, f"time ran out: {what}")

    def tell_hint(self) -> str | None:
        """Tell, once, what keeps the daemon from taking files from this route now; None: nothing that we know of."""
        hint = self._find_hint()
        if hint not in {self._hint, None} and not self.is_quiet:
            click.echo(hint, err=True)
        self._hint = hint
        return hint

    def _tell(self, put: Put, text: str) -> None:
        if not self.is_quiet:
            click.echo(f"{printable(put.name)}: {text}", err=True)


def _is_here(put: Put) -> bool:
    try:
        return put.inode in {os.lstat(put.path).st_ino, None}
    except FileNotFoundError:
        return False
    except OSError:  # an unmounted or hung share says nothing
        return True
