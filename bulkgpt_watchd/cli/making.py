"""Make the files and folders of a new configuration: all of them, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.core.exit_codes import FAILED, REFUSED
from bulkgpt_watchd.core.names import printable

CONFIG_MODE = 0o644
"""Who may look at jobs needs to read where the state is; the key is in a file of its own."""

KEY_MODE = 0o600

STATE_MODE = 0o750
"""As the daemon would make it."""

FOLDER_MODE = 0o775
"""Less what the umask takes away; the world may write nowhere."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Hold a file with its content, or a folder (None), and its mode."""

    path: Path
    mode: int
    content: str | None = None


def make(things: Sequence[Thing]) -> None:
    """
    Make new files and folders, and the folders above them that are missing.

    Errors: Ended: one of them is there already, or cannot be made; then all is as it was.
    """
    refuse_to_overwrite([thing.path for thing in things])
    made: list[Thing] = []
    try:
        for thing in things:
            above = [folder for folder in thing.path.parents if not os.path.lexists(folder)]
            for each in (*(Thing(folder, FOLDER_MODE) for folder in reversed(above)), thing):
                _make(each, made)
    except OSError as error:
        for thing in reversed(made):
            with contextlib.suppress(OSError):
                (os.rmdir if thing.content is None else os.unlink)(thing.path)
        name = printable(os.fsdecode(error.filename or ""))
        raise Ended(f"nothing was made: {name or 'writing'}: {os.strerror(error.errno or 0)}", FAILED) from None


def _make(thing: Thing, made: list[Thing]) -> None:
    if thing.content is None:
        os.mkdir(thing.path, thing.mode)
        made.append(thing)
        return
    # O_EXCL follows no link either
    descriptor = os.open(thing.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, thing.mode)
    made.append(thing)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(thing.content)


def refuse_to_overwrite(paths: Sequence[Path]) -> None:
    """
    Look whether new things would be in the way of old ones.

    Errors: Ended: what is there.
    """
    there = [path for path in paths if os.path.lexists(path)]
    names = ", ".join(printable(str(path)) for path in there if path.parent not in there)
    if there:
        raise Ended(f"nothing was made, since nothing is overwritten; there is already: {names}", REFUSED)
