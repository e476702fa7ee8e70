"""Hold the mistakes of a configuration: where each is, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bulkgpt_watchd.core.errors import WatchdError


def shown(text: str | Path) -> str:
    r"""Make a name safe to print: bytes that are not UTF-8 become `\xNN`, and no control character survives."""
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in os.fspath(text))


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte that os.fsdecode could not read
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return ascii(letter)[1:-1]


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
        place = shown(self.file) if self.line is None else f"{shown(self.file)}:{self.line}:{self.column}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigInvalid(WatchdError):
    """Say everything that is wrong with the configuration, in the order of the file; no secret is in it."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.line or 0, mistake.column or 0)))
        super().__init__("\n".join(map(str, self.mistakes)))
