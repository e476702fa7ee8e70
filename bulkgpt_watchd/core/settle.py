"""
Decide when a dropped file is whole.

A file counts as whole when
1. its marker exists (marker mode), or
2. the route says that senders rename into place (`settle: 0`), or
3. size, mtime and inode have not changed for `settle` seconds of our own monotonic clock, over at least two looks;
   six times that when its last byte is not a newline.
An empty file may be one whose content is still to come: it settles only after `empty_grace`.

Source: close events come for broken uploads too, and senders set mtimes of 2001 and 2106; so neither is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bulkgpt_watchd.core.job import Stamp

UNENDED_FACTOR = 6.0
"""How much longer a file without a final newline has to be quiet (contract: six times)."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """
    Hold a route's rule.

    Units: seconds.
    """

    settle_s: float
    empty_grace_s: float
    needs_marker: bool


@dataclass(slots=True)
class Seen:
    """Remember when a file was first seen as it is now."""

    stamp: Stamp
    since: float
    looks: int = 1
    has_end: bool | None = None  # last byte is a newline; None: not asked yet


@dataclass(slots=True)
class Settler:
    """
    Turn looks at one inbox into the names that are whole.

    What it knows is lost with the process, on purpose: after a restart everything settles anew.
    """

    seen: dict[str, Seen] = field(default_factory=dict)

    def candidates(self, files: Mapping[str, Stamp], now: float, quiet: Quiet) -> list[str]:
        """Give the names whose last byte the next `observe` of the same look will want to know."""
        if quiet.needs_marker or quiet.settle_s <= 0:
            return []
        return [
            name
            for name, stamp in files.items()
            if (seen := self.seen.get(name)) is not None
            and seen.stamp == stamp
            and seen.has_end is None
            and stamp.bytes > 0
            and now - seen.since >= quiet.settle_s
        ]

    def observe(
        self,
        files: Mapping[str, Stamp],
        marked: Iterable[str],
        now: float,
        quiet: Quiet,
        ends: Mapping[str, bool],
    ) -> tuple[list[str], float]:
        """
        Take one look and tell which files are whole and when the next look is worth while.

        Shape: *files* are the names not yet taken; *marked* those whose marker exists. *ends* says of the
            `candidates` of this look whether their last byte ends a line.
        Units: *now* is monotonic seconds; the second value is seconds until some file may settle, `inf` if none.
        """
        whole: list[str] = []
        next_s = math.inf
        marked_names = frozenset(marked)
        self.seen = {name: self._look(name, stamp, now) for name, stamp in files.items()}
        for name, seen in self.seen.items():
            if quiet.needs_marker:
                if name in marked_names:
                    whole.append(name)
                continue
            wait_s = self._wait(seen, now, quiet, has_end=ends.get(name))
            if wait_s <= 0:
                whole.append(name)
            else:
                next_s = min(next_s, wait_s)
        return whole, next_s

    def _look(self, name: str, stamp: Stamp, now: float) -> Seen:
        seen = self.seen.get(name)
        if seen is None or seen.stamp != stamp:
            return Seen(stamp, now)
        seen.looks += 1
        return seen

    def _wait(self, seen: Seen, now: float, quiet: Quiet, *, has_end: bool | None) -> float:
        age_s = now - seen.since
        if seen.stamp.bytes == 0:
            return quiet.empty_grace_s - age_s
        if quiet.settle_s <= 0:
            return 0.0
        # A second look is due even when the clock says that the time is over.
        wait_s = max(quiet.settle_s - age_s, quiet.settle_s if seen.looks < 2 else 0.0)
        if wait_s > 0:
            return wait_s
        if seen.has_end is None:
            seen.has_end = has_end
        return 0.0 if seen.has_end else quiet.settle_s * UNENDED_FACTOR - age_s
