"""Hold the mistakes of a configuration: where each is, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.names import printable


@dataclass(frozen=True, slots=True)
class Mistake:
    """
    Hold one mistake.

    Shape: *path* is the key, such as `routes[leads].poll.min`, or empty. Without *line* and *column* (both from 1) the
        file as a whole is meant.
    """

    file: Path
    line: int | None
    column: int | None
    path: str
    message: str

    def __str__(self) -> str:
        place = printable(str(self.file)) + ("" if self.line is None else f":{self.line}:{self.column}")
        return ": ".join(part for part in (place, self.path, self.message) if part)

    def as_data(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {**asdict(self), "file": printable(str(self.file))}


class ConfigInvalid(WatchdError):
    """
    Say everything that is wrong with the configuration, in the order of the file; no secret is in it.

    Shape: included files lie in a folder beside the file that includes them, so they come after it, in name order.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=_place))
        super().__init__("\n".join(map(str, self.mistakes)))


def _place(mistake: Mistake) -> tuple[int, bytes, int, int]:
    return len(mistake.file.parts), os.fsencode(mistake.file), mistake.line or 0, mistake.column or 0
