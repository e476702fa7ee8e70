"""Run a command as a person does who answers its questions on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ENDS_WITHIN_S = 30.0


def on_terminal(
    command: Sequence[str | Path],
    answers: Iterable[tuple[str, str]],
    cwd: Path,
    environ: dict[str, str] | None = None,
) -> tuple[int, str, str]:
    """
    Answer each question once it is asked; stdin and stderr are the terminal.

    Shape: *answers* are pairs of the end of a question and a line; gives exit code, stdout, and what was shown.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=cwd, env=environ, start_new_session=True
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        shown = ""
        for question, answer in answers:
            shown += _read(ours, question)
            os.write(ours, f"{answer}\n".encode())
        printed = process.stdout.read().decode()
        code = process.wait(ENDS_WITHIN_S)
        shown += _read(ours, None)
    os.close(ours)
    return code, printed, shown


def _read(terminal: int, end: str | None) -> str:
    """Read until a question is asked, or until nothing more can come."""
    read = b""
    while end is None or not read.endswith(end.encode()):
        try:
            read += os.read(terminal, 1)
        except OSError:  # nobody has the other side open
            break
    return read.decode()
