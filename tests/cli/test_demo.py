"""The demo is what a newcomer runs first: it ends by itself, says everything, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import invoke

PATIENCE_S = 50.0
"""It gives up by itself after 30 s."""


async def start_demo(folder: Path, *options: str, **environ: str) -> asyncio.subprocess.Process:
    folder.mkdir()
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bulkgpt_watchd",
        "demo",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder), "RUNTIME_DIRECTORY": "/nowhere", **environ},
    )


async def test_it_shows_the_way_of_a_file_and_what_is_where_and_removes_it_all(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path / "tmp")
    out, err = await asyncio.wait_for(demo.communicate(), PATIENCE_S)

    assert (demo.returncode, err) == (0, b"")
    told = out.decode()
    assert "\x1b" not in told
    assert "\r" not in told
    way = [line.split()[2] for line in told.split("\n\n")[0].splitlines()]
    titles = ["dropped", "found", "claimed", "checked", "submitted", "working", "complete", "delivered", "archived"]
    assert list(dict.fromkeys(way)) == titles
    assert way.count("working") > 1
    assert "The result begins with:\n  Input_1,Output_1\n  1,Result for 1\n" in told
    assert "demo/archive/example.csv.receipt.json" in told
    assert "bulkgpt-watchd init ~/bulkgpt" in told
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_what_is_kept_can_be_looked_at_with_the_commands_that_it_names(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path / "tmp", "--keep")
    out, _ = await asyncio.wait_for(demo.communicate(), PATIENCE_S)
    [folder] = (tmp_path / "tmp").iterdir()

    assert f"bulkgpt-watchd -c {folder}/config.yaml jobs\n" in out.decode()
    [row] = json.loads((await asyncio.to_thread(invoke, "-c", folder / "config.yaml", "jobs", "--json")).stdout)
    assert (row["file"], row["state"], row["rows"]) == ("example.csv", "done", 24)
    checked = await asyncio.to_thread(invoke, "-c", folder / "config.yaml", "config", "check")
    assert (checked.exit_code, checked.stderr) == (0, "")
    for line in (folder / "daemon.log").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_interrupted_it_cleans_up_and_shows_no_traceback(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    demo = await start_demo(tmp_path / "tmp")
    assert demo.stdout is not None
    assert b"dropped" in await asyncio.wait_for(demo.stdout.readline(), PATIENCE_S)
    demo.send_signal(number)
    _, err = await asyncio.wait_for(demo.communicate(), PATIENCE_S)

    assert demo.returncode == code
    assert b"Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_where_it_cannot_work_it_says_why_and_ends_with_1(tmp_path: Path) -> None:
    """SQLite takes no path of more than 512 bytes."""
    folder = tmp_path / ("d" * 250)
    folder.mkdir()
    demo = await start_demo(folder / ("e" * 250))
    out, err = await asyncio.wait_for(demo.communicate(), PATIENCE_S)

    assert (demo.returncode, out) == (1, b"")
    assert err.startswith(b"\nThe demo failed. The daemon's log ends with:\n{")
    assert err.splitlines()[-1].startswith(b"StateUnusable: the state ")
    assert b"Traceback" not in err
    assert list((folder / ("e" * 250)).iterdir()) == []
