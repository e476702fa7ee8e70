"""Ask systemd for the unit, and what of the file system it hides from the daemon. Source: systemd.exec(5)."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkgpt_watchd.cli.doctor.finding import Finding, fail, ok, warn
from bulkgpt_watchd.config.quantities import format_duration
from bulkgpt_watchd.config.settings import default_path

PROPERTIES = {
    "Unit": ("LoadState", "ActiveState", "NeedDaemonReload"),
    "Service": (
        *("User", "ProtectSystem", "ProtectHome", "PrivateTmp", "LoadCredential", "ReadWritePaths", "ReadOnlyPaths"),
        *("InaccessiblePaths", "BindPaths", "StateDirectory", "TimeoutStopUSec"),
    ),
}
"""By their interface on the bus; systemd 247 has them all. Source: org.freedesktop.systemd1(5)."""

HOMES = ("/home", "/root", "/run/user")
PROTECTED = {
    "yes": ("/usr", "/boot", "/efi"),
    "full": ("/usr", "/boot", "/efi", "/etc"),
    "strict": ("/",),
}

ANSWER_S = 10.0
"""systemd answers in milliseconds; on a machine that has hung itself up it never does."""


@dataclass(frozen=True, slots=True)
class Unit:
    """
    Hold what systemd says of the unit.

    Shape: *properties* as they are on the bus; *why_not*: systemd could not be asked.
    """

    name: str
    properties: dict[str, Any] = field(default_factory=dict)
    why_not: str | None = None

    @property
    def is_there(self) -> bool:
        """Tell whether such a unit is installed."""
        return self.properties.get("LoadState") == "loaded"

    @property
    def user(self) -> str:
        """Name the user of its processes."""
        return str(self.properties.get("User") or "root")

    @property
    def stop_s(self) -> float | None:
        """Say how long a stop may take."""
        stop_us = self.properties.get("TimeoutStopUSec")
        return None if stop_us is None else stop_us / 1_000_000

    def credential(self, name: str) -> str | None:
        """Say from which file the unit loads a credential."""
        return next((path for key, path in self._list("LoadCredential") if key == name and path), None)

    def makes(self, path: Path) -> bool:
        """Tell whether systemd makes a folder, or what it lies in, for the state of the unit."""
        return _is_below(path, [f"/var/lib/{name}" for name in self._list("StateDirectory")])

    def hides(self, path: Path) -> str | None:
        """Say which setting keeps the daemon from writing to a path; None: none does."""
        homes = self.properties.get("ProtectHome", "no")
        if _is_below(path, self._paths("InaccessiblePaths")):
            return "InaccessiblePaths= hides it"
        if _is_below(path, [target for _, target, *_ in self._list("BindPaths")]):
            return None
        if self.properties.get("PrivateTmp") and _is_below(path, ("/tmp", "/var/tmp")):  # noqa: S108 what it hides
            return "PrivateTmp=yes hides it"
        if homes in {"yes", "tmpfs"} and _is_below(path, HOMES):
            return f"ProtectHome={homes} hides it"
        if self.makes(path) or _is_below(path, self._paths("ReadWritePaths")):
            return None
        if homes == "read-only" and _is_below(path, HOMES):
            return "ProtectHome=read-only makes it read-only"
        if _is_below(path, self._paths("ReadOnlyPaths")):
            return "ReadOnlyPaths= makes it read-only"
        system = self.properties.get("ProtectSystem", "no")
        is_open = system == "strict" and _is_below(path, ("/dev", "/proc", "/sys"))
        if _is_below(path, PROTECTED.get(system, ())) and not is_open:
            return f"ProtectSystem={system} makes it read-only"
        return None

    def _list(self, name: str) -> list[Any]:
        return list(self.properties.get(name, ()))

    def _paths(self, name: str) -> list[str]:
        return [entry.lstrip("-+") for entry in self._list(name)]


def _is_below(path: Path, roots: Sequence[str]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def ask(name: str) -> Unit:
    """
    Ask systemd for the unit, on the bus.

    `systemctl show` would not do: it divides paths by the spaces that they may have, and does not print credentials.
    """
    name = name if "." in name else f"{name}.service"
    properties: dict[str, Any] = {}
    for interface, names in PROPERTIES.items():
        where = ("org.freedesktop.systemd1", _object_of(name), f"org.freedesktop.systemd1.{interface}")
        command = ["busctl", "--json=short", "get-property", *where, *names]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_S)  # noqa: S603 ours
        except FileNotFoundError:
            return Unit(name, why_not="there is no busctl")
        except subprocess.TimeoutExpired:
            return Unit(name, why_not="systemd does not answer")
        if done.returncode != 0:
            return Unit(name, why_not=next(iter(done.stderr.splitlines()), "busctl failed"))
        answers = [json.loads(line)["data"] for line in done.stdout.splitlines()]
        properties |= zip(names, answers, strict=True)
    return Unit(name, properties)


def _object_of(name: str) -> str:
    """Give the path of a unit on the bus: all but letters as the hexadecimal numbers of their bytes."""
    letters = (chr(byte) if chr(byte).isalpha() and byte < 128 else f"_{byte:02x}" for byte in name.encode())
    return f"/org/freedesktop/systemd1/unit/{''.join(letters)}"


def check_unit(unit: Unit, paths: dict[str, Path], answer_timeout_s: float, config: Path) -> Iterator[Finding]:
    """Tell which folders the unit keeps from the daemon, *paths* by what they are called; and what else is wrong."""
    if unit.why_not is not None:
        yield warn("unit", f"skipped: systemd cannot be asked ({unit.why_not})")
        return
    if not unit.is_there:
        yield ok("unit", f"{unit.name} is not installed; nothing is hidden from a daemon that is started by hand")
        return
    restart = f"systemctl daemon-reload && systemctl restart {unit.name}"
    folder = f"/etc/systemd/system/{unit.name}.d"
    option = "" if config == default_path({}) else f" -c {shlex.quote(str(config))}"
    write = f"bulkgpt-watchd config systemd{option} > {folder}/routes.conf"
    drop_in = f"install -d {folder} && {write} && {restart}"
    if unit.properties["NeedDaemonReload"]:
        yield warn("unit", "its files have changed, and systemd still has it as it was before", restart)
    if unit.stop_s is not None and unit.stop_s <= answer_timeout_s:
        text = (
            f"a stop may take {format_duration(unit.stop_s)}, and answers to submits may take "
            f"{format_duration(answer_timeout_s)} (api.answer_timeout): each that is cut off leaves a doubt"
        )
        yield warn("unit", text, drop_in)
    hidden: dict[str, list[str]] = {}
    for name, path in paths.items():
        if (why := unit.hides(path)) is not None:
            hidden.setdefault(why, []).append(f"{name} {path}")
    for why, places in hidden.items():
        is_by_hand = why.startswith("InaccessiblePaths")
        fix = f"systemctl edit {unit.name}, for another InaccessiblePaths=" if is_by_hand else drop_in
        yield fail("unit", f"{why}: {', '.join(places)}", fix)
    if not hidden:
        yield ok("unit", f"{unit.name} ({unit.properties['ActiveState']}) hides none of the folders")
