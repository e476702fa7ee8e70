"""The tracer that a kill sweep rests on: one count over all threads, and a kill exactly where it is asked for."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.calls import Calls
from tests.crash.tracer import Call, Tracer, why_not

HELD_S = 0.3
"""Longer than the rest of that process's life takes alone."""

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


FAILS = """
import os, sys
sys.stdin.readline()
told = []
for number in range(3):
    try:
        os.mkdir(f"made/{number}")
    except OSError as error:
        told.append(error.errno)
with open("made/short", "wb", buffering=0) as file:
    told.append(file.write(b"12345678"))
sys.exit(0 if told == [28, 4] else 1)
"""


def test_a_call_fails_or_is_short_as_asked_and_the_others_are_not(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    (tmp_path / "made").mkdir()
    script = FAILS.replace('"made', f'"{tmp_path}/made')
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, process_group=0) as process:
        assert process.stdin is not None
        tracer = Tracer(process)
        calls, results, began_at = Calls(tracer, tmp_path, ("made",)), list[int | None](), time.monotonic()

        def meet(call: Call) -> None:
            name = calls.any_name(call) or ""
            if call.result is not None:
                results.extend([call.result] if name.startswith("mkdir") else [])
            elif name.endswith("/1"):
                tracer.answer(call, -errno.ENOSPC)
            elif name.endswith("/2"):
                tracer.hold(call, lambda: time.monotonic() > began_at + HELD_S)
            elif name.startswith("write"):
                tracer.shorten(call, call.args[2] // 2)

        process.stdin.write(b"\n")
        process.stdin.flush()
        assert tracer.run(meet) == 0
    assert results == [0, -errno.ENOSPC, 0]
    assert sorted(os.listdir(tmp_path / "made")) == ["0", "2", "short"]
    assert time.monotonic() > began_at + HELD_S
