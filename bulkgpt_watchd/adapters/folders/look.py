"""
Look at an inbox: which files are there, and how they are now.

One pass over the names decides what is meant; only names that are new to the caller are looked at more closely. On a
network `stat` alone is stale, so there a look is open + fstat; elsewhere nothing is opened, so that looking rings no
watcher's bell, ours included.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from bulkgpt_watchd.adapters.folders.kernel import Kernel
from bulkgpt_watchd.adapters.folders.opening import FOLDER_FLAGS, READ_FLAGS, Opening, kind_of, stamp_from
from bulkgpt_watchd.adapters.folders.trouble import NO_FILES_FAULT, NOT_THERE, told
from bulkgpt_watchd.core.errors import DiskTrouble, WatchdError
from bulkgpt_watchd.core.folders import Look, LookRules
from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.names import SIDECAR_SUFFIXES, render_marker_name

NEVER = (
    *(".*", "~$*", "*.part", "*.partial", "*.filepart", "*.tmp", "*.crdownload"),
    *(f"*{suffix}" for suffix in SIDECAR_SUFFIXES),
)
"""Unfinished files of senders, and files that lie about (contract: what is taken, and when; `.nfs*` is a dot-file)."""

MAX_DEPTH = 32
"""Folders within folders that are walked: each holds a descriptor meanwhile, and nobody sorts orders deeper."""

LINE_ENDS = (b"\n", b"\r")


@functools.lru_cache
def _pattern(match: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in match), re.IGNORECASE)


def is_meant(name: str, match: tuple[str, ...]) -> bool:
    """Tell whether a file of this name is taken by a route that has these patterns."""
    return bool(_pattern(match).match(name)) and not _pattern(NEVER).match(name)


class _Walk:
    """Collect one look, folder by folder."""

    def __init__(self, kernel: Kernel, rules: LookRules, known: frozenset[str]) -> None:
        self.kernel = kernel
        self.rules = rules
        self.known = known
        self.files: dict[str, Stamp] = {}
        self.present: set[str] = set()
        self.marked: set[str] = set()
        self.ignored: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}

    def folder(self, opened: int, prefix: str, depth: int) -> None:
        """Look into one folder, then into those in it; *prefix* is its path with a slash, or empty."""
        with self.kernel.scandir(opened) as scanned:
            entries = {entry.name: entry for entry in scanned}
        markers = self._markers(entries)
        below: list[str] = []
        for name, entry in entries.items():
            if self.rules.is_recursive and not name.startswith(".") and entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif self._is_meant(name) and name not in markers:
                self.present.add(prefix + name)
                if self._has_marker(name, entries):
                    self.marked.add(prefix + name)
                if prefix + name not in self.known:
                    self._file(opened, name, prefix + name)
        device = self.kernel.fstat(opened).st_dev
        for name in below:
            self._folder_below(opened, name, prefix + name, depth + 1, device)

    def _is_meant(self, name: str) -> bool:
        return is_meant(name, self.rules.match)

    def _markers(self, names: Collection[str]) -> set[str]:
        """Give what would be markers: where `match` takes them too (`*`), they are still no files."""
        template = self.rules.done_file
        if template is None:
            return set()
        return {render_marker_name(template, name) for name in names if self._is_meant(name)}

    def _has_marker(self, name: str, entries: Mapping[str, os.DirEntry[str]]) -> bool:
        template = self.rules.done_file
        marker = None if template is None else entries.get(render_marker_name(template, name))
        return marker is not None and marker.is_file(follow_symlinks=False)

    def _file(self, opened: int, name: str, path: str) -> None:
        """Take down one file as it is now, or why not; one that vanished since it was listed is simply absent."""
        try:
            found = self.kernel.stat(name, dir_fd=opened, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                self.ignored[path] = f"is {kind_of(found.st_mode)}"
                return
            # `access` costs one call and opens nothing, but does not know everything: opening is what counts.
            if self.rules.on_network or not self.kernel.access(name, os.R_OK, dir_fd=opened, effective_ids=True):
                file = self.kernel.open(name, READ_FLAGS, dir_fd=opened)
                try:
                    found = self.kernel.fstat(file)
                finally:
                    self.kernel.close(file)
            self.files[path] = stamp_from(found)
        except OSError as error:
            if error.errno in NO_FILES_FAULT:
                raise
            if error.errno not in NOT_THERE:
                self.unreadable[path] = told(error, "open", path)

    def _folder_below(self, above: int, name: str, path: str, depth: int, device: int) -> None:
        if depth > MAX_DEPTH:
            self.ignored[path] = f"is a folder nested more than {MAX_DEPTH} deep"
            return
        try:
            opened = self.kernel.open(name, FOLDER_FLAGS, dir_fd=above)
            try:
                if self.kernel.fstat(opened).st_dev != device:
                    self.ignored[path] = "is a folder on another file system, from which nothing can be claimed"
                    return
                self.folder(opened, f"{path}/", depth)
            finally:
                self.kernel.close(opened)
        except OSError as error:
            if error.errno in NO_FILES_FAULT:
                raise
            if error.errno not in NOT_THERE:
                self.unreadable[path] = told(error, "look into", path)
                # Nobody can say that these are gone.
                self.present.update(file for file in self.known if file.startswith(f"{path}/"))


class Looking(Opening):
    """Look without touching."""

    def look(self, inbox: Path, rules: LookRules, known: Collection[str]) -> Look:
        """
        Look once at all files of an inbox.

        Errors: DiskTrouble: the inbox cannot be looked into; nothing is known of its files then.
        Repeat: yes, it changes nothing.
        """
        walk = _Walk(self._kernel, rules, frozenset(known))
        with self._folder(inbox) as opened:
            try:
                walk.folder(opened, "", 0)
            except OSError as error:
                raise DiskTrouble(told(error, "look into", inbox)) from error
        return Look(walk.files, frozenset(walk.present), frozenset(walk.marked), walk.ignored, walk.unreadable)

    def ends_line(self, inbox: Path, name: str) -> bool:
        """
        Tell whether a file's last byte ends a line; False where that cannot be read.

        Repeat: yes, it changes nothing.
        """
        try:
            with self._below(inbox, name) as at:
                opened, found = self._open_regular(at)
                try:
                    return found.st_size > 0 and self._kernel.pread(opened, 1, found.st_size - 1) in LINE_ENDS
                finally:
                    self._kernel.close(opened)
        except (OSError, WatchdError):
            return False
