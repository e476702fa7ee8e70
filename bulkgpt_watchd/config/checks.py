"""
Check what needs more than one key. Pure: it looks at values only.

Each check notes its mistakes in the document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from bulkgpt_watchd.config.document import Document, Trail
from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.quantities import format_duration
from bulkgpt_watchd.config.route import FOLDERS, RouteEntry, RouteOptions, merge
from bulkgpt_watchd.core.names import OURS, render_marker_name


@dataclass(frozen=True, slots=True)
class Draft:
    """
    Hold one route before it is known to be right.

    Shape: *folders* has those of inbox, outbox, error, archive and work that could be told.
    """

    index: int
    entry: RouteEntry
    folders: dict[str, Path]
    creatable: frozenset[str]

    def trail(self, key: str) -> Trail:
        """Give the trail of a key of this route."""
        return ("routes", self.index, key)


def draft_routes(document: Document, config: ConfigFile) -> list[Draft]:
    """Merge the defaults into each route and find its folders; note what is missing."""
    if not config.routes:
        document.note(("routes",), "needs at least one route, with a name, a workflow_id and a folder")
    return [_draft(document, config.defaults, index, entry) for index, entry in enumerate(config.routes)]


def _draft(document: Document, defaults: RouteOptions, index: int, entry: RouteEntry) -> Draft:
    folders = {key: path for key in (*FOLDERS, "work") if (path := getattr(entry, key))}
    if entry.folder:
        folders = {key: entry.folder / key for key in FOLDERS} | folders
    if "inbox" in folders:
        folders.setdefault("work", folders["inbox"] / OURS)
    creatable = frozenset(key for key in FOLDERS if key in folders and not getattr(entry, key)) - {"inbox"}
    draft = Draft(index, merge(defaults, entry), folders, creatable)
    if not folders and draft.trail("folder") not in document.bad:
        document.note(draft.trail("folder"), "this key is missing; or give inbox, outbox, error and archive each")
    for key in FOLDERS if folders else ():
        if key not in folders and draft.trail("folder") not in document.bad:
            document.note(draft.trail(key), "this key is missing, since there is no folder")
    return draft


def check_values(document: Document, config: ConfigFile, drafts: Sequence[Draft]) -> None:
    """Check the rules between keys."""
    _check_order(document, [("api", "retry")], config.api.retry.min, config.api.retry.max)
    names: dict[str, Draft] = {}
    for draft in drafts:
        first = names.setdefault(draft.entry.name, draft)
        if first is not draft:
            place = document.elsewhere(first.trail("name"), draft.trail("name"))
            document.note(draft.trail("name"), f"is the name of the route in {place} too")
        _check_options(document, draft)


def _check_options(document: Document, draft: Draft) -> None:
    """Check what a route and the defaults say together; what the defaults alone get wrong is noted once, there."""
    homes: list[Trail] = [("routes", draft.index), ("defaults",)]
    poll, marker = draft.entry.poll, draft.entry.ready.done_file
    _check_order(document, [(*home, "poll") for home in homes], poll.min, poll.max)
    _check_keep(document, draft.entry, homes)
    if marker and _is_taken(marker, draft.entry.match):
        keys = [(*home, *key) for home in homes for key in (("ready", "done_file"), ("match",))]
        _note_where_written(document, keys, "`match` would take the markers for input; let them end otherwise")


def _check_keep(document: Document, entry: RouteEntry, homes: Sequence[Trail]) -> None:
    """Check that a job is remembered for as long as it is needed."""
    history, archive, window = entry.keep.history, entry.keep.archive, entry.duplicate_window
    if history is None:
        return
    of_history = [(*home, "keep", "history") for home in homes]
    told = f"history ({format_duration(history)})"
    if history < window:
        message = f"{told} must not be shorter than duplicate_window ({format_duration(window)})"
        trails = [trail for home in homes for trail in ((*home, "keep", "history"), (*home, "duplicate_window"))]
        _note_where_written(document, trails, message)
    if archive is not None and history < archive:
        message = f"{told} must not be shorter than archive ({format_duration(archive)}): it says what is ours"
        trails = [*of_history, *((*home, "keep", "archive") for home in homes)]
        _note_where_written(document, trails, message)


def _check_order(document: Document, homes: Sequence[Trail], least: float, most: float) -> None:
    if least > most:
        message = f"min ({format_duration(least)}) must not be larger than max ({format_duration(most)})"
        _note_where_written(document, [(*home, key) for home in homes for key in ("min", "max")], message)


def _note_where_written(document: Document, trails: Sequence[Trail], message: str) -> None:
    document.note(next(trail for trail in trails if trail in document.values), message)


def _is_taken(marker: str, patterns: Sequence[str]) -> bool:
    """Tell whether the marker of a file that is taken would be taken itself."""
    lowered = [pattern.lower() for pattern in patterns]
    samples = [re.sub(r"\[.*?\]|[?*]", "a", pattern) for pattern in lowered]
    markers = [render_marker_name(marker, sample).lower() for sample in samples]
    return any(fnmatchcase(name, pattern) for name in markers for pattern in lowered)
