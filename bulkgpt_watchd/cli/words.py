"""Write numbers and times as people read them, and paths as they type them."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path

from bulkgpt_watchd.core.names import printable

BAR_WIDTH = 24
"""Characters of a progress bar: with its numbers it leaves half of an 80-column line to the file's name."""

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def count(number: int, what: str) -> str:
    """Say how many: `1 route`, `1,204 jobs`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def span(seconds: float) -> str:
    """Say how long, in the two largest units: `3d 4h`, `18m 5s`, `0s`."""
    left, parts = max(round(seconds), 0), list[str]()
    for unit, size in UNITS:
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0")) or "0s"


def at_s(rfc3339: str) -> float:
    """Read a time that `core.shown.rfc3339` wrote: Unix seconds."""
    return datetime.fromisoformat(rfc3339).timestamp()


def local(at: float) -> str:
    """Write Unix seconds as this machine's clock on the wall shows them."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def bar(done: int, total: int) -> str:
    """Draw how far it is: `█████░░░ 5 of 8`."""
    filled = BAR_WIDTH * min(done, total) // total if total else 0
    return f"{'█' * filled}{'░' * (BAR_WIDTH - filled)} {done:,} of {total:,}"


def typed_path(path: Path) -> str:
    """Write a path as a shell takes it, on one line whatever is in it."""
    name = str(path)
    if printable(name) == name:
        return shlex.quote(name)
    return "$'" + printable(name.replace("\\", "\\\\").replace("'", "\\'")) + "'"
