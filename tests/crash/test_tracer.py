"""The tracer that a kill sweep rests on: one count over all threads, and a kill exactly where it is asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.calls import Calls
from tests.crash.tracer import Call, Tracer, why_not

MAKES_FOLDERS = """
import os, pathlib, sys, threading
def make(names):
    for name in names:
        os.stat("made")
        os.mkdir("made/" + name)
        os.mkdir("not counted/" + name)
sys.stdin.readline()
for names in "abc", "def":
    thread = threading.Thread(target=make, args=(names,))
    thread.start()
    thread.join()
make("ghi")
sys.exit(3)
"""


@contextmanager
def child(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that waits for a line, and then makes nine folders in three threads."""
    if reason := why_not():
        pytest.skip(reason)
    for name in ("made", "not counted"):
        (folder / name).mkdir()
    script = MAKES_FOLDERS.replace('"made', f'"{folder}/made')
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stdin=subprocess.PIPE, process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def trace(process: subprocess.Popen[bytes], folder: Path, at: int, *, is_after: bool) -> tuple[list[str], int]:
    """Trace it to its end; give the counted calls and the exit code."""
    tracer = Tracer(process)
    calls, steps = Calls(tracer, folder, ("made",)), list[str]()

    def meet(call: Call) -> None:
        if (step := calls.name(call)) is None:
            return
        if call.result is None:
            steps.append(step)
        if len(steps) == at and is_after is (call.result is not None):
            os.kill(process.pid, signal.SIGKILL)

    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    return steps, tracer.run(meet)


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", [1, 5, 9])
def test_a_kill_comes_before_or_after_the_nth_call_of_all_threads(tmp_path: Path, at: int, is_after: bool) -> None:
    with child(tmp_path) as process:
        steps, code = trace(process, tmp_path, at, is_after=is_after)
    assert code == -signal.SIGKILL
    assert steps == [f"mkdir made/{name}" for name in "abcdefghi"[:at]]
    assert "".join(sorted(os.listdir(tmp_path / "made"))) == "abcdefghi"[: at if is_after else at - 1]


def test_an_untouched_process_ends_as_it_likes(tmp_path: Path) -> None:
    with child(tmp_path) as process:
        steps, code = trace(process, tmp_path, 100, is_after=False)
    assert code == 3
    assert len(steps) == 9
