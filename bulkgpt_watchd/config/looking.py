"""
Look at paths without being held up by a hung share.

Looking is done in a thread that is left behind when it does not come back: a share that hangs must not keep the routes
on other file systems from starting.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

PATIENCE_S = 2.0
"""How long a look at one path may take: long for any share that answers at all."""

MOST_HUNG = 4
"""After so many hung looks the rest is not looked at: a start is held up for 8 s at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """
    Hold what stands at a path.

    Shape: *kind* is folder, missing, other (not a folder), hung, or the kernel's words for why it cannot be told.
    """

    real: str
    kind: str
    device: int | None = None


def look(path: Path) -> Place:
    """Look at one path; it blocks as long as its file system does."""
    real = os.path.realpath(path)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Place(real, "missing")
    except OSError as error:
        return Place(real, os.strerror(error.errno or 0))
    return Place(real, "folder" if stat.S_ISDIR(status.st_mode) else "other", status.st_dev)


def look_at(
    paths: Iterable[Path], looker: Callable[[Path], Place] = look, patience_s: float = PATIENCE_S
) -> dict[Path, Place]:
    """Look at many paths, and wait for none of them for longer than *patience_s*."""
    waiting = list(dict.fromkeys(paths))
    found: dict[Path, Place] = {}
    for _ in range(MOST_HUNG):
        seen: dict[Path, Place] = {}
        thread = Thread(target=_look_in_turn, args=(waiting, looker, seen), daemon=True)
        thread.start()
        looks = -1
        while thread.is_alive() and len(seen) > looks:
            looks = len(seen)
            thread.join(patience_s)
        found.update((path, seen[path]) for path in waiting if path in seen)
        waiting = [path for path in waiting if path not in found]
        if not waiting:
            break
        found[waiting[0]] = _unseen(waiting[0])
        waiting = waiting[1:]
    return found | {path: _unseen(path) for path in waiting}


def _look_in_turn(paths: Sequence[Path], looker: Callable[[Path], Place], seen: dict[Path, Place]) -> None:
    for path in paths:
        seen[path] = looker(path)


def _unseen(path: Path) -> Place:
    return Place(os.path.normpath(path), "hung")
