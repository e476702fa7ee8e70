"""Ask systemd for the unit, and what of the file system it hides from the daemon. Source: systemd.exec(5)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bulkgpt_watchd.cli.doctor.finding import Finding, fail, ok, warn

PROPERTIES = (
    *("LoadState", "ActiveState", "User", "ProtectSystem", "ProtectHome", "PrivateTmp", "LoadCredential"),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "StateDirectory"),
)

HOMES = ("/home", "/root", "/run/user")
PROTECTED = {
    "yes": ("/usr", "/boot", "/efi"),
    "full": ("/usr", "/boot", "/efi", "/etc"),
    "strict": ("/",),
}

NOT_HIDDEN = frozenset({"", "no", "false", "0"})

ANSWER_S = 10.0
"""systemctl answers in milliseconds; on a machine that has hung itself up it never does."""


@dataclass(frozen=True, slots=True)
class Unit:
    """
    Hold what systemd says of the unit.

    Shape: *why_not*: systemd could not be asked.
    """

    name: str
    properties: dict[str, str] = field(default_factory=dict)
    why_not: str | None = None

    @property
    def is_there(self) -> bool:
        """Tell whether such a unit is installed."""
        return self.properties.get("LoadState") == "loaded"

    @property
    def user(self) -> str:
        """Name the user of its processes."""
        return self.properties.get("User") or "root"

    def credential(self, name: str) -> str | None:
        """Say from which file the unit loads a credential."""
        for entry in self._list("LoadCredential"):
            key, _, path = entry.partition(":")
            if key == name and path:
                return path
        return None

    def hides(self, path: Path) -> str | None:
        """Say which setting keeps the daemon from writing to a path; None: none does."""
        private, homes = self.properties.get("PrivateTmp", "no"), self.properties.get("ProtectHome", "no")
        if self._below(path, self._paths("InaccessiblePaths")):
            return "InaccessiblePaths= hides it"
        if self._below(path, self._paths("BindPaths")):
            return None
        if private not in NOT_HIDDEN and self._below(path, ("/tmp", "/var/tmp")):  # noqa: S108 it is what PrivateTmp= means
            return f"PrivateTmp={private} hides it"
        if homes not in {*NOT_HIDDEN, "read-only"} and self._below(path, HOMES):
            return f"ProtectHome={homes} hides it"
        states = [f"/var/lib/{name}" for name in self._list("StateDirectory")]
        if self._below(path, [*self._paths("ReadWritePaths"), *states]):
            return None
        if homes == "read-only" and self._below(path, HOMES):
            return "ProtectHome=read-only makes it read-only"
        if self._below(path, self._paths("ReadOnlyPaths")):
            return "ReadOnlyPaths= makes it read-only"
        system = self.properties.get("ProtectSystem", "no")
        is_open = system == "strict" and self._below(path, ("/dev", "/proc", "/sys"))
        if self._below(path, PROTECTED.get(system, ())) and not is_open:
            return f"ProtectSystem={system} makes it read-only"
        return None

    def _list(self, name: str) -> list[str]:
        return self.properties.get(name, "").split()

    def _paths(self, name: str) -> list[str]:
        return [entry.lstrip("-+").partition(":")[0] for entry in self._list(name)]

    def _below(self, path: Path, roots: Sequence[str]) -> bool:
        return any(path.is_relative_to(root) for root in roots)


def ask(name: str) -> Unit:
    """Ask systemd for the unit."""
    command = ["systemctl", "show", name, *(f"--property={one}" for one in PROPERTIES)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_S)  # noqa: S603 ours
    except FileNotFoundError:
        return Unit(name, why_not="there is no systemctl")
    except subprocess.TimeoutExpired:
        return Unit(name, why_not="systemctl does not answer")
    if done.returncode != 0:
        return Unit(name, why_not=next(iter(done.stderr.splitlines()), "systemctl failed"))
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return Unit(name, {key: value for key, _, value in pairs})


def check_unit(unit: Unit, paths: dict[str, Path]) -> Iterator[Finding]:
    """Tell which folders the unit keeps from the daemon; *paths* by what they are called."""
    if unit.why_not is not None:
        yield warn("unit", f"skipped: systemd cannot be asked ({unit.why_not})")
    elif not unit.is_there:
        yield ok("unit", f"{unit.name} is not installed; nothing is hidden from a daemon that is started by hand")
    else:
        hidden = {name: (path, why) for name, path in paths.items() if (why := unit.hides(path)) is not None}
        for name, (path, why) in hidden.items():
            lines = f"[Service] ReadWritePaths={path}"
            if "hides" in why:
                lines = f"[Service] BindPaths={path}" if "Home" not in why else "[Service] ProtectHome=no"
            yield fail("unit", f"{why}: {name} {path}", f"systemctl edit {unit.name}: {lines}")
        if not hidden:
            yield ok("unit", f"{unit.name} ({unit.properties.get('ActiveState')}) hides none of the folders")
