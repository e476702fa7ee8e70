"""`bulkgpt-watchd doctor`: look at everything that a daemon needs, and say of what is wrong how to mend it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkgpt_watchd.cli.options import config_option, config_path, examples, json_option
from bulkgpt_watchd.core.exit_codes import FAILED

if TYPE_CHECKING:
    from bulkgpt_watchd.adapters.sqlite_reader import StateReader
    from bulkgpt_watchd.cli.doctor.account import Account
    from bulkgpt_watchd.cli.doctor.finding import Finding
    from bulkgpt_watchd.cli.doctor.unit import Unit
    from bulkgpt_watchd.config import Settings

PATIENCE_S = 15.0
"""How long the folders of one route may take: longer than a dead CIFS server (11 s), not as long as a person's."""

LEVELS = {"ok": "green", "warn": "yellow", "fail": "bold red"}

AS_ROOT = "run doctor as root, or as the daemon's user"

SHOWN_FILES = 5
"""Unknown files in work that are named."""

WIDEST_LEVEL = len("warn")


@click.command(
    epilog=examples(
        "bulkgpt-watchd doctor                 before the first start, or when something does not work",
        "bulkgpt-watchd doctor --online        also asks BulkGPT whether it takes the key; free",
        "bulkgpt-watchd doctor --json | jq '.findings[] | select(.level == \"fail\")'",
    )
)
@config_option
@click.option("--online", is_flag=True, help="Also reach BulkGPT and try the key, by a free question; submits nothing.")
@click.option(
    "--no-write", is_flag=True, help="Go by modes alone; otherwise a hidden file is made and removed in each folder."
)
@click.option("--unit", "unit_name", default="bulkgpt-watchd.service", show_default=True, help="The unit of systemd.")
@json_option
def doctor(online: bool, no_write: bool, unit_name: str, as_json: bool) -> int:
    """
    Look at folders, rights, file systems, limits, key, disks, clock and unit; each finding with its fix.

    Run as root it looks with the rights of the daemon's user. Nothing is changed. Ends with 1 if something will not
    work; warnings do not count.
    """
    from bulkgpt_watchd.cli.doctor.account import choose, environ_of
    from bulkgpt_watchd.cli.doctor.finding import fail, ok, warn
    from bulkgpt_watchd.cli.doctor.unit import ask
    from bulkgpt_watchd.config import ConfigInvalid, load

    unit = ask(unit_name)
    try:
        settings = load(config_path())
    except ConfigInvalid as invalid:
        found = [fail("config", str(mistake)) for mistake in invalid.mistakes]
        return _show(found, None, as_json=as_json)
    with ExitStack() as stack:
        state, has_state, told = _open_state(settings, stack)
        facts = {} if state is None else state.facts()
        pid = (facts.get("daemon") or {}).get("pid")
        pid = pid if _is_ours(pid) else None
        account = choose(unit, pid, settings.state.path)
        user = f"looked with the rights of {account}, {account.why}"
        skipped = "skipped: folders of routes, key, token and the state's folder; "
        found = [ok("user", user) if account.is_daemons else warn("user", skipped + account.why, AS_ROOT)]
        found += told
        environ = os.environ if pid is None else environ_of(pid) or os.environ
        examination = _Examination(settings, state, has_state, facts, account, unit, pid, environ, not no_write)
        found += examination.findings(online=online)
    return _show(found, account, as_json=as_json)


def _show(found: Sequence[Finding], account: Account | None, *, as_json: bool) -> int:
    from bulkgpt_watchd.cli.screen import Words, show

    if as_json:
        is_ok = not any(one.level == "fail" for one in found)
        user = None if account is None else account.name
        click.echo(json.dumps({"schema": 1, "ok": is_ok, "user": user, "findings": [asdict(one) for one in found]}))
    else:
        widest = max(len(one.what) for one in found)
        for one in found:
            line = f"{one.level:{WIDEST_LEVEL}}  {one.what:{widest}}  {one.text}"
            show([Words(line, "" if one.level == "ok" else LEVELS[one.level])])
            if one.fix is not None:
                show([f"{'':{WIDEST_LEVEL}}  {'':{widest}}  fix: {one.fix}"])
    return FAILED if any(one.level == "fail" for one in found) else 0


def _open_state(settings: Settings, stack: ExitStack) -> tuple[StateReader | None, bool, list[Finding]]:
    """Open the state; say whether there is one, and what it is or what is wrong with it."""
    from bulkgpt_watchd.adapters.sqlite_file import MIGRATIONS
    from bulkgpt_watchd.adapters.sqlite_reader import StateReader
    from bulkgpt_watchd.cli.doctor.finding import fail, ok, warn
    from bulkgpt_watchd.core.errors import StateOld, WatchdError

    path = settings.state.path
    if not os.path.lexists(path):
        return None, False, []
    try:
        state = stack.enter_context(StateReader.open(path))
        return state, True, [ok("state", f"can be read; schema {len(MIGRATIONS)}")]
    except StateOld as error:
        return None, True, [warn("state", str(error), "start the daemon; it keeps a copy of the state as it was")]
    except WatchdError as error:
        if not os.access(path, os.R_OK):
            return None, True, [warn("state", str(error), "run doctor as root, or join the group of the state")]
        return None, True, [fail("state", str(error))]


def _is_ours(pid: Any) -> bool:
    """Tell whether a process that the daemon noted is still a Python of ours."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            return b"bulkgpt" in command.read()
    except OSError:
        return False


@dataclass
class _Examination:
    """
    Look at one thing after the other.

    Shape: *pid* and *environ* of the daemon, if it runs; else *environ* is our own.
    """

    settings: Settings
    state: StateReader | None
    has_state: bool
    facts: dict[str, Any]
    account: Account
    unit: Unit
    pid: int | None
    environ: Mapping[str, str]
    writes: bool
    watches: int = field(default=0, init=False)
    hung: set[str] = field(default_factory=set, init=False)

    def findings(self, *, online: bool) -> Iterator[Finding]:
        """Yield all findings."""
        from bulkgpt_watchd.cli.doctor import inotify, machine
        from bulkgpt_watchd.cli.doctor.unit import check_unit

        yield from machine.check_config(self.settings)
        yield from self._as_daemon("api key", partial(machine.check_key, self.settings, self.environ, self.unit))
        yield from machine.check_credential(self.settings, self.unit, self.environ)
        yield from self._as_daemon("web token", partial(machine.check_token, self.settings))
        look = partial(machine.check_state_folder, self.settings, self.account, self.unit, writes=self.writes)
        yield from self._as_daemon("state", look)
        yield from machine.check_daemon(self.settings, self.facts, os.environ)
        if self.account.is_daemons:
            for name, key in self._keys().items():
                yield from self._route(name, key)
            yield from inotify.check(self.watches, inotify.used(self.account.uid, self.pid))
        yield from machine.check_clock(self._newest_at())
        config = self.settings.document.file
        yield from check_unit(self.unit, self._paths(), self.settings.api.answer_timeout, config)
        if online:
            yield from self._online()

    def _as_daemon(self, what: str, look: partial[Iterator[Finding]]) -> Iterator[Finding]:
        """Look with the daemon's rights, or not at all; what hangs is told."""
        if not self.account.is_daemons:
            return
        from bulkgpt_watchd.cli.doctor.finding import Finding
        from bulkgpt_watchd.cli.doctor.machine import as_data

        found = self._apart(what, lambda: as_data(look()))
        yield from found if isinstance(found, tuple) else (Finding(**one) for one in found)

    def _apart(self, what: str, look: Any) -> Any:
        from bulkgpt_watchd.cli.doctor.account import apart
        from bulkgpt_watchd.cli.doctor.finding import fail

        try:
            return apart(self.account, look, PATIENCE_S)
        except TimeoutError:
            text = f"no answer for {PATIENCE_S:g} s: the file system hangs"
            return (fail(what, text, "look at the share and its server; the daemon waits, and other routes go on"),)
        except RuntimeError as error:
            return (fail(what, f"could not be looked at; please report this: {str(error).splitlines()[-1]}"),)

    def _keys(self) -> dict[str, str]:
        from bulkgpt_watchd.core.routes import keys_of

        facts = self.facts
        current = {key: str(route["inbox"]) for key, route in (facts.get("routes") or {}).items()}
        wanted = {route.name: str(route.inbox) for route in self.settings.routes}
        return keys_of(wanted, current, facts.get("inboxes") or {}, facts.get("names") or {})

    def _route(self, name: str, key: str) -> Iterator[Finding]:
        from bulkgpt_watchd.cli.doctor.finding import Finding
        from bulkgpt_watchd.cli.doctor.routes import RouteLook

        route = next(route for route in self.settings.routes if route.name == name)
        uuid = None if self.state is None else self.state.uuid
        look = RouteLook(route, key, self.facts, uuid, self.has_state, self.account, self.writes, self.pid)
        found = self._apart(f"folders {name}", look.look)
        if isinstance(found, tuple):
            self.hung.add(name)
            yield from found
            return
        yield from (Finding(**one) for one in found["findings"])
        yield from self._strangers(name, found["work"])
        self.watches += found["watches"]

    def _strangers(self, name: str, work: list[str]) -> Iterator[Finding]:
        """Tell of files in work that no job knows."""
        from bulkgpt_watchd.cli.doctor.finding import warn
        from bulkgpt_watchd.core.names import parse_work_name, printable

        if self.state is None and self.has_state:
            return
        strangers = []
        for file in sorted(work):
            parsed = parse_work_name(file)
            if parsed is None or self.state is None or self.state.get(parsed[0]) is None:
                strangers.append(printable(file))
        if strangers:
            shown = ", ".join(strangers[:SHOWN_FILES]) + (" …" if len(strangers) > SHOWN_FILES else "")
            text = f"{len(strangers)} in it that no job knows: {shown}"
            yield warn(
                f"work {name}", text, "restart the daemon: it takes over what is a job's; move the rest elsewhere"
            )

    def _newest_at(self) -> float | None:
        from bulkgpt_watchd.core.ports import Query

        newest = [] if self.state is None else self.state.query(Query(limit=1))
        return max((job.created_at for job in newest), default=None)

    def _paths(self) -> dict[str, Path]:
        """Give what is written to, by what it is called; links are followed as by systemd; what hangs is left out."""
        from bulkgpt_watchd.config.looking import look_at

        roles = ("inbox", "work", "outbox", "error", "archive")
        paths = {
            f"{role} of {route.name}": getattr(route, role)
            for route in self.settings.routes
            if route.name not in self.hung
            for role in roles
            if role != "work" or not route.work.is_relative_to(route.inbox)
        }
        paths["state"] = self.settings.state.path.parent
        places = look_at(paths.values())
        return {name: Path(places[path].real) for name, path in paths.items()}

    def _online(self) -> Iterator[Finding]:
        from bulkgpt_watchd.cli.doctor.finding import fail
        from bulkgpt_watchd.cli.doctor.machine import as_unit_loads
        from bulkgpt_watchd.cli.doctor.online import check_online
        from bulkgpt_watchd.config import ConfigInvalid, read_api_key

        try:
            key = read_api_key(as_unit_loads(self.settings, self.unit), os.environ).value
        except ConfigInvalid:
            yield fail("api", "not asked: there is no key that could be tried", "see `api key` above")
            return
        yield from check_online(self.settings.api, key)
