"""A sender who waits for the disk, and stands still while its power is gone."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from tests.crash.processes import Dropper
from tests.power.disk import sync


class DurableDropper(Dropper):
    """
    Drop files as a sender does who wants to be sure: bytes, then name, both brought to disk.

    Shape: only those that are on disk with their names count as *dropped*; *begun* has all. A cut comes between any two
        of the steps, and is what *power* is held for: nobody may be told by a dying disk that all is well.
    """

    def __init__(self, folders: Path, chance: random.Random) -> None:
        super().__init__(folders, chance)
        self.begun: dict[str, bytes] = {}
        self.power = threading.Lock()
        self.cuts = 0

    def _waiting(self) -> int:
        with self.power:
            return super()._waiting()

    def put(self, route: str, name: str, content: bytes) -> None:
        inbox = self.folders / route / "inbox"
        part = inbox / f".{name}"
        self.begun[f"{route}/{name}"] = content
        cuts = self.cuts
        for step in (lambda: write(part, content), lambda: part.rename(part.with_name(name)), lambda: sync(inbox)):
            with self.power:
                if self.cuts != cuts:
                    return
                step()
        self.dropped[f"{route}/{name}"] = content


def write(path: Path, content: bytes) -> None:
    """Write a file, and bring its bytes to disk."""
    path.write_bytes(content)
    sync(path)
