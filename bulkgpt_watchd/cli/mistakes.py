"""Show mistakes of a configuration to a person: where, what, and the line itself without its secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.words import count
from bulkgpt_watchd.config import Mistake
from bulkgpt_watchd.core.exit_codes import CONFIG_WRONG

EXCERPT_WIDTH = 100
"""Letters of a source line that are shown; a terminal of 120 columns holds them with the line number."""

LONGEST_LINE = 2000
"""Letters of a line that is shown at all; looking for secrets takes time with the square of it."""

SECRET_KEYS = ("api_key", "api_key_file", "key", "proxy", "token", "secret", "password")
"""Keys, misspelt ones included, whose value is not shown."""

_KEY = re.compile(r"""([\w-]+)["']?\s*:\s*""")
_LONG_RUN = re.compile(r"[\w+=.~-]{24,}")  # may be an API key on a wrong line; paths have a slash now and then


class Misconfigured(Ended):
    """
    End a command that cannot go by its configuration.

    Shape: *stays* says beforehand what a daemon goes on with.
    """

    def __init__(self, mistakes: Sequence[Mistake], stays: str = "") -> None:
        words = list(map(str, mistakes))
        super().__init__("\n".join([stays, *words] if stays else words), CONFIG_WRONG, mistakes=words)
        self.mistakes = mistakes
        self.stays = stays

    def lines(self) -> str:
        """Show each mistake with its line, and their number."""
        return f"bulkgpt-watchd: {self.stays}\n{_shown(self.mistakes)}" if self.stays else told(self.mistakes)


def told(mistakes: Sequence[Mistake]) -> str:
    """Show each mistake with its line, and their number; where there is no configuration, say how to get one."""
    if any(os.path.lexists(mistake.file) for mistake in mistakes):
        return _shown(mistakes)
    return "\n".join(
        [*map(str, mistakes), "name another configuration with --config, or make one with: bulkgpt-watchd init DIR"]
    )


def _shown(mistakes: Sequence[Mistake]) -> str:
    lines_of = cache(_lines)
    lines = [line for mistake in mistakes for line in (str(mistake), *_excerpt(mistake, lines_of))]
    return "\n".join([*lines, count(len(mistakes), "mistake")])


def _excerpt(mistake: Mistake, lines_of: Callable[[Path], list[str]]) -> list[str]:
    """Show the line of a mistake, with a mark under its column."""
    lines = lines_of(mistake.file) if mistake.line else []
    if mistake.line is None or mistake.column is None or mistake.line > len(lines):
        return []
    if len(lines[mistake.line - 1]) > LONGEST_LINE:
        return []
    line = "".join(letter if letter.isprintable() else " " for letter in lines[mistake.line - 1])
    caret = len(_without_secrets(line[: mistake.column - 1]))
    start = 0 if caret < EXCERPT_WIDTH else caret - EXCERPT_WIDTH // 2
    text = _without_secrets(line)[start : start + EXCERPT_WIDTH]
    return [f"  {mistake.line} | {text}", f"  {' ' * len(str(mistake.line))} | {' ' * (caret - start)}^"]


def _lines(file: Path) -> list[str]:
    try:
        with open(file, encoding="utf-8-sig", errors="replace", newline="") as source:
            return re.split("\r\n|[\n\r\x85\u2028\u2029]", source.read())  # what ends a line for PyYAML
    except OSError:  # the daemon may read what the user may not, or it is gone since
        return []


def _without_secrets(line: str) -> str:
    for found in _KEY.finditer(line):
        if get_close_matches(found[1].lower(), SECRET_KEYS, n=1, cutoff=0.65):
            line = line[: found.end()] + "…" * (found.end() < len(line))
            break
    return _LONG_RUN.sub("…", line)
