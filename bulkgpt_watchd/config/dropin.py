"""
Write what the systemd unit must allow besides, for the folders and times of a configuration: its drop-in.

Source: systemd.exec(5) on sandboxing, systemd.syntax(7) on quoting. Where a path has `-` before it, a service starts
without it; what is missing then stays read-only until the next start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bulkgpt_watchd.config.api_key import CREDENTIAL
from bulkgpt_watchd.config.looking import look_at
from bulkgpt_watchd.config.models import ApiSettings, StateSettings
from bulkgpt_watchd.config.quantities import format_duration
from bulkgpt_watchd.config.route import FOLDERS, Route
from bulkgpt_watchd.config.settings import Settings, default_path
from bulkgpt_watchd.core.names import printable

ROUTES_FOLDER = Path("/srv/bulkgpt")
"""What the unit lets the daemon write to by itself, beside its state."""

KEY_FILE = Path("/etc/bulkgpt-watchd/api-key")
"""Where the unit takes the key from by itself."""

HOMES = ("/home", "/root", "/run/user")
"""What ProtectHome= hides."""

TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  # they are named, not used
"""What PrivateTmp= replaces."""

STOP_MARGIN_S = 60
"""What a stop may take beyond the answers it awaits: 10 s for what is cut short, the rest for a slow disk."""

HEAD = """\
# /etc/systemd/system/bulkgpt-watchd.service.d/routes.conf
# What bulkgpt-watchd.service must allow for {config}.
# Made by `bulkgpt-watchd config systemd`; make it again when folders change, then
# `systemctl daemon-reload` and `systemctl restart bulkgpt-watchd`.
#
# No RequiresMountsFor=: it would keep all routes from running while one share is away. The route of that share waits
# and goes on by itself; shares of /etc/fstab are mounted before (After=remote-fs.target).
"""


def dropin(settings: Settings, config_path: Path) -> str:
    """Write the drop-in; what the unit allows by itself is not in it."""
    lines = [*_paths(settings, config_path), *_key(settings), *_stop(settings.api), *_config(config_path)]
    if not lines:
        lines = ["# Nothing: the unit allows all of it."]
    return HEAD.format(config=printable(str(config_path))) + "\n[Service]\n" + "\n".join(lines) + "\n"


# --- paths ------------------------------------------------------------------------------------------------------------


def _paths(settings: Settings, config_path: Path) -> Iterator[str]:
    """Open what is written to, and what is read in places that the unit hides."""
    written = _outermost(_written(settings))
    read = {path: why for path, why in _real(_read(settings, config_path)).items() if _is_hidden(path)}
    if any(_is_below(path, HOMES) for path in (*written, *read)):
        yield "# Folders in homes are needed; the rest of /home, /root and /run/user stays hidden."
        yield "ProtectHome=tmpfs"
    for path, why in written.items():
        yield from _line("BindPaths" if _is_hidden(path) else "ReadWritePaths", path, why)
    for path, why in read.items():
        yield from _line("BindReadOnlyPaths", path, why)


def _written(settings: Settings) -> dict[Path, str]:
    written = {
        path: f"route {printable(route.name)}: {roles}" for route in settings.routes for path, roles in _of_route(route)
    }
    written = {path: why for path, why in _real(written).items() if not path.is_relative_to(ROUTES_FOLDER)}
    if settings.state.path.parent != StateSettings().path.parent:
        written |= _real({settings.state.path.parent: "the state; make this folder before the start"})
    socket = settings.control.socket
    if socket is not None and not socket.is_relative_to("/run/bulkgpt-watchd"):
        written |= _real({socket.parent: "the control socket"})
    return written


def _of_route(route: Route) -> Iterator[tuple[Path, str]]:
    """
    Give what a route writes to, in as few pieces as there are.

    Each becomes a mount of its own, and files are not renamed across mounts: a `folder` stays whole, and a work folder
    together with its inbox (where one is in the other, the outermost is enough).
    """
    roots = {getattr(route, key).parent for key in route.creatable}
    yield from ((root, "its folder") for root in roots)
    yield Path(os.path.commonpath([route.inbox, route.work])), "inbox and work"
    yield from ((getattr(route, key), key) for key in FOLDERS if key not in {"inbox", *route.creatable})


def _read(settings: Settings, config_path: Path) -> dict[Path, str]:
    """Give what is read: folders, since an editor replaces the file in them."""
    read = {config_path.parent: "the configuration"}
    if settings.api.ca_file is not None:
        read[settings.api.ca_file.parent] = "api.ca_file"
    return read


def _real(paths: dict[Path, str]) -> dict[Path, str]:
    """Follow links; a hung share is taken as it is written."""
    places = look_at(paths)
    return {Path(places[path].real): why for path, why in paths.items()}


def _outermost(paths: dict[Path, str]) -> dict[Path, str]:
    """Leave out what lies in another of them."""
    return {path: why for path, why in paths.items() if not any(other in path.parents for other in paths)}


def _is_below(path: Path, roots: Iterable[str]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _is_hidden(path: Path) -> bool:
    return _is_below(path, (*HOMES, *TEMPORARY))


def _line(key: str, path: Path, why: str) -> list[str]:
    word = _quoted(f"-{path}")
    if word is None:
        return [f"# {why}: a unit cannot name {printable(str(path))}; rename that folder."]
    return [f"# {why}", f"{key}={word}"]


# --- the rest ---------------------------------------------------------------------------------------------------------


def _key(settings: Settings) -> list[str]:
    api = settings.api
    if api.api_key_file is not None and api.api_key_file != KEY_FILE:
        path = _escaped(str(api.api_key_file))
        if path is None or path.endswith((" ", "\t", "\\")):  # it cannot be quoted here
            return ["# api.api_key_file: a unit cannot name it; rename that file."]
        return [
            "# api.api_key_file, instead of the file that the unit names; root reads it, the daemon gets its content.",
            *("LoadCredential=", f"LoadCredential={CREDENTIAL}:{path}"),
        ]
    if api.api_key_file is None and api.api_key is not None:
        told = "# The key stands in the configuration (api.api_key): without its file the unit would not start."
        return [told, "LoadCredential="]
    return []


def _stop(api: ApiSettings) -> list[str]:
    default_s = ApiSettings().answer_timeout
    if api.answer_timeout <= default_s:
        return []
    return [
        f"# A stop awaits answers for api.answer_timeout ({format_duration(api.answer_timeout)}).",
        f"TimeoutStopSec={int(api.answer_timeout) + STOP_MARGIN_S}s",
    ]


def _config(config_path: Path) -> list[str]:
    if config_path == default_path({}):
        return []
    word = _quoted(f"BULKGPT_WATCHD_CONFIG={config_path}")
    if word is None:
        return ["# The configuration: a unit cannot name its path; rename it."]
    return ["# The configuration is not where the unit has it.", f"Environment={word}"]


def _escaped(text: str) -> str | None:
    """Keep systemd from expanding %; None: it has a line end or bytes that are not UTF-8, which no unit may have."""
    if {"\n", "\r", "\0"} & set(text) or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
        return None
    return text.replace("%", "%%")


def _quoted(word: str) -> str | None:
    """Write one word of a list; quoted where it must be, and always where that cannot be seen at once."""
    escaped = _escaped(word)
    if escaped is None or all(character.isalnum() or character in "-_./=%+,@" for character in escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
