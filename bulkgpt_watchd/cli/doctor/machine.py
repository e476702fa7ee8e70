"""Look at what all routes share: configuration, key, state, daemon, limits of the kernel, clock."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bulkgpt_watchd import __version__
from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.cli.control import reach
from bulkgpt_watchd.cli.doctor.account import Account
from bulkgpt_watchd.cli.doctor.finding import Finding, fail, ok, warn
from bulkgpt_watchd.cli.doctor.unit import Unit
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.words import count, local
from bulkgpt_watchd.config import ConfigInvalid, Settings, check_groups, control_socket, read_api_key, read_token
from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.names import printable

CREDENTIAL = "bulkgpt-api-key"
"""What the unit's credential is called (contract: configuration)."""

WRITTEN_AT = 1_760_000_000
"""October 2025: no clock that is right says less, and certificates would not be valid yet."""

TOO_FAR = 4_000_000_000
"""The year 2096."""

BEHIND_S = 3600.0
"""What the state remembers may be so much ahead of a clock that is set right; more means that it was set back."""

ANSWER_S = 5.0
"""timedatectl answers in milliseconds."""


def check_config(settings: Settings) -> Iterator[Finding]:
    """Tell who may write the configuration, and which groups are not there."""
    path = settings.document.file
    mode = os.stat(path)
    of_group = stat.S_IWGRP if mode.st_gid != mode.st_uid else 0  # a group of the same number is the user's own
    if mode.st_mode & (stat.S_IWOTH | of_group):
        text = f"others may write {path} (mode {stat.S_IMODE(mode.st_mode):04o}), and so send your key elsewhere"
        yield warn("config", text, f"chmod go-w {path}")
    for mistake in check_groups(settings):
        yield fail("config", str(mistake), "create the group, or correct result.group")
    yield ok("config", f"{path}, {count(len(settings.routes), 'route')}")


def check_key(settings: Settings, environ: Mapping[str, str], unit: Unit) -> Iterator[Finding]:
    """Tell where the key is from, and whether others may read it; runs with the rights of the daemon."""
    try:
        key = read_api_key(settings, environ)
    except ConfigInvalid as invalid:
        loaded = unit.credential(CREDENTIAL)
        if loaded is None:
            yield fail("api key", "; ".join(map(str, invalid.mistakes)), "see `bulkgpt-watchd config check`")
        return
    for warning in key.warnings:
        yield warn("api key", warning, f"chmod 600 {settings.api.api_key_file}")
    yield ok("api key", f"from {key.source}")


def check_token(settings: Settings) -> Iterator[Finding]:
    """Tell whether the daemon can read the token of HTTP, and whether others can; runs with its rights."""
    try:
        token = read_token(settings.document, settings.web)
    except ConfigInvalid as invalid:
        yield fail("web token", "; ".join(map(str, invalid.mistakes)), "give the file to the daemon's user")
        return
    for warning in () if token is None else token.warnings:
        yield warn("web token", warning, f"chmod 600 {printable(str(settings.web.token_file))}")


def as_unit_loads(settings: Settings, unit: Unit) -> Settings:
    """Give the settings with the file from which the unit loads the key, where we may read that."""
    path = unit.credential(CREDENTIAL)
    if path is None or not os.access(path, os.R_OK):
        return settings
    return replace(settings, api=settings.api.model_copy(update={"api_key_file": Path(path)}))


def check_credential(settings: Settings, unit: Unit, environ: Mapping[str, str]) -> Iterator[Finding]:
    """
    Tell whether the file from which systemd gives the daemon its key has one in it, and the one that the daemon has.

    Shape: *environ* of the daemon, if it runs.
    """
    if (path := unit.credential(CREDENTIAL)) is None:
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        yield fail("api key", f"{path}, from which {unit.name} loads the key, is not there", f"put the key into {path}")
    except OSError as error:
        yield warn("api key", f"{path}, from which {unit.name} loads the key, cannot be looked at: {error.strerror}")
    else:
        if mode & stat.S_IROTH:
            yield warn("api key", f"everybody can read {path}", f"chmod 600 {path}")
        try:
            read_api_key(as_unit_loads(settings, unit), {})
        except ConfigInvalid as invalid:
            if os.access(path, os.R_OK):
                yield fail("api key", "; ".join(map(str, invalid.mistakes)), f"put the key into {path}")
                return
        given = Path(environ.get("CREDENTIALS_DIRECTORY", ""), CREDENTIAL)
        with suppress(OSError):  # none was given, or it is not ours to know
            if given.is_absolute() and given.read_bytes() != Path(path).read_bytes():
                text = f"{path} has changed, and the daemon has the key that was in it at its start"
                yield warn("api key", text, f"systemctl restart {unit.name}")
        yield ok("api key", f"{unit.name} loads it from {path}")


def check_state_folder(settings: Settings, account: Account, unit: Unit, *, writes: bool) -> Iterator[Finding]:
    """Tell whether the state can be kept where it is meant to be; runs with the rights of the daemon."""
    folders, path = LocalFolders(), settings.state.path
    folder, parent = path.parent, path.parent.parent
    mount = folders.mount_of(folder)
    if mount.is_network:
        text = f"{folder} lies on {mount.fstype} ({mount.point}): a state there would be damaged, and it is refused"
        yield fail("state", text, "set state.path to a folder on a local disk")
        return
    is_there = os.path.isdir(folder)
    if not is_there and unit.is_there and unit.makes(folder):
        yield ok("state", f"{path} on {mount.fstype}; systemd makes the folder (StateDirectory=)")
        return
    try:
        if writes:
            folders.probe(folder if is_there else parent)
        elif not os.access(folder if is_there else parent, os.R_OK | os.W_OK | os.X_OK):
            yield fail("state", f"{folder} may not be written to by {account}", f"chown {account.name} {folder}")
            return
        free = folders.room(folder if is_there else parent).bytes
    except WatchdError as error:
        fix = None if is_there else f"install -d -m 750 -o {account.name} {folder}"
        yield fail("state", str(error), fix)
        return
    most = max((route.min_free for route in settings.routes), default=0)
    if free < most:
        text = f"{folder} has {free:,} bytes free, less than min_free ({most:,}): nothing is taken or sent"
        yield fail("disk", text, "make room there, or lower min_free")
    yield ok("state", f"{path} on {mount.fstype}" + ("" if is_there else "; the first start makes the folder"))


def check_daemon(settings: Settings, facts: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether the daemon runs, takes commands, and is the version that is installed."""
    try:
        reach(settings, dict(facts)).close()
    except Ended as ended:
        yield warn("daemon", ended.message)
        return
    except TimeoutError:
        where = control_socket(settings, environ)
        yield fail(
            "daemon", f"it does not answer at {printable(str(where))}", "look at its log; restart it if it hangs"
        )
        return
    noted = facts.get("daemon") or {}
    if noted.get("version") not in {None, __version__}:
        text = f"version {noted['version']} runs, and {__version__} is installed"
        yield warn("daemon", text, "restart it: systemctl restart bulkgpt-watchd")
    yield ok("daemon", f"runs and takes commands, pid {noted.get('pid', 'unknown')}")


def check_clock(newest_at: float | None, now: float | None = None) -> Iterator[Finding]:
    """Tell whether the clock can be right: certificates, budgets and duplicate windows go by it."""
    now = time.time() if now is None else now
    if not WRITTEN_AT < now < TOO_FAR:
        yield fail("clock", f"says {local(now)}, so no certificate is valid", "timedatectl set-ntp true")
    elif newest_at is not None and newest_at > now + BEHIND_S:
        text = f"says {local(now)}, and the state remembers {local(newest_at)}: it was set back, or was wrong before"
        yield warn("clock", text, "timedatectl set-ntp true")
    elif _is_synchronized() is False:
        yield warn("clock", f"says {local(now)} and is not synchronized", "timedatectl set-ntp true")
    else:
        yield ok("clock", local(now))


def _is_synchronized() -> bool | None:
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_S)  # noqa: S603 ours
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def as_data(findings: Iterator[Finding]) -> list[dict[str, Any]]:
    """Give findings as what one process can tell another."""
    return [asdict(one) for one in findings]
