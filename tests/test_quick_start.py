"""
Run what the README tells a newcomer to type, word for word, each block as it stands there.

Nobody has an account here, so the sandbox stands for BulkGPT: `api.base_url` is added to the configuration, and shorter
times, so that nobody waits. Packages come from the environment of the tests instead of a registry; the home folder is
an empty one. In what a command is shown to print, `…` stands for anything, and any run of blanks for any other.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import bulkgpt_watchd
from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions
from tests.pages import PAGES, README, ROOT, blocks, section
from tests.terminal import on_terminal

INSTALL, INIT, CONFIG, RUN, DROP, RESULT = blocks(section(README, "## Use it"), "console", "yaml")

HURRY = "web: {listen: off}\ndefaults: {settle: 500ms, scan_every: 100ms, poll: {min: 100ms, max: 100ms}}\n"

LONGEST_S = 30.0
"""The way of a file takes two seconds here; a machine under load may need ten times that."""

NEXT = "--- the next command ---"


def environment(home: Path) -> dict[str, str]:
    """Give the environment of a newcomer: nothing of ours is set."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


def commands(block: str) -> list[tuple[str, str]]:
    """Give the commands of a block, each with what it is shown to print."""
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in f"\n{block}".split("\n$ ")[1:]]


def script(block: str) -> str:
    return "set -eu\n" + f"echo '{NEXT}'\n".join(f"{command}\n" for command, _ in commands(block))


def is_as_shown(printed: str, shown: str) -> bool:
    printed, shown = (re.sub(" +", " ", text).strip() for text in (printed, shown))
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), printed) is not None


async def type_in(block: str, home: Path) -> None:
    """Type a block into a shell in ~/bulkgpt, and hold what it prints to what is shown."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script(block), cwd=home / "bulkgpt", env=environment(home), stdout=-1
    )
    output, _ = await process.communicate()
    printed = output.decode().split(f"{NEXT}\n")

    assert process.returncode == 0
    for (command, shown), words in zip(commands(block), printed, strict=True):
        assert not shown or is_as_shown(words, shown), f"$ {command}\n{words}"


async def answer(block: str, home: Path, answers: list[tuple[str, str]]) -> None:
    """Type a command that asks, and answer it."""
    command = ["bash", "-c", script(block)]
    code, _, shown = await asyncio.to_thread(on_terminal, command, answers, home / "bulkgpt", environment(home))

    assert code == 0, shown


async def as_cron(home: Path) -> int:
    """Do the line of the crontab that docs/operating.md has, with the little that cron gives a command."""
    (line,) = blocks(section(PAGES["docs/operating.md"], "## From cron, without a daemon"), "crontab")
    bare = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    command = line.split(maxsplit=5)[5].replace("\\%", "%")
    return await (await asyncio.create_subprocess_exec("sh", "-c", command, cwd=home, env=bare)).wait()


async def wait_for(text: str, file: Path) -> None:
    async with asyncio.timeout(LONGEST_S):
        while text not in file.read_text():  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.05)


async def start(home: Path, log: Path) -> asyncio.subprocess.Process:
    """Type the block that ends with the daemon, which stays in the foreground of its terminal."""
    with open(log, "wb") as stderr:
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", script(RUN)),
            cwd=home / "bulkgpt",
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )


async def test_what_the_readme_tells_to_type_takes_a_file_there_and_back(tmp_path: Path) -> None:
    """Without the lines of the installation, which the next test runs: the program is that of these tests."""
    program = tmp_path / "bulkgpt/venv/bin/bulkgpt-watchd"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m bulkgpt_watchd "$@"\n')
    program.chmod(0o755)
    await type_in("".join(f"$ {command}\n" for command, _ in commands(INSTALL) if "venv" not in command), tmp_path)
    workflow_id = yaml.safe_load(CONFIG)["routes"][0]["workflow_id"]
    await answer(INIT, tmp_path, [("workflow: ", workflow_id), ("[leads]: ", ""), ("later): ", "sandbox-key")])
    written = (tmp_path / "bulkgpt/config.yaml").read_text()
    assert written.partition("\n")[2] == CONFIG, "but for the comment in its first line"
    async with Sandbox(SandboxOptions.instant()) as sandbox:
        config = written.replace("api:\n", f"api:\n  base_url: {sandbox.base_url}\n", 1) + HURRY
        (tmp_path / "bulkgpt/config.yaml").write_text(config)
        daemon = await start(tmp_path, log := tmp_path / "log")
        try:
            await wait_for('"daemon.ready"', log)
            await type_in(DROP, tmp_path)
            await wait_for('"job.done"', log)
            await type_in(RESULT, tmp_path)
        finally:
            os.killpg(daemon.pid, signal.SIGINT)  # as Ctrl-C does
            output, _ = await daemon.communicate()

        assert daemon.returncode == 0
        (tmp_path / "bulkgpt/leads/inbox/by-cron.csv").write_text("Input_1\nthird\n")
        assert await as_cron(tmp_path) == 0

    assert (tmp_path / "bulkgpt/leads/outbox/by-cron.csv").read_text().endswith("third,Result for third\n")
    assert is_as_shown(output.decode().partition(NEXT)[0], commands(RUN)[0][1])
    assert (tmp_path / "bulkgpt/leads/outbox/orders.csv").read_text().endswith("second,Result for second\n")


@pytest.mark.timeout(180)  # five seconds of disk and processor alone, many times that beside the other tests
def test_what_the_readme_tells_to_type_installs_the_program(tmp_path: Path) -> None:
    offline = {
        "PYTHONPATH": sysconfig.get_path("purelib"),  # what is needed counts as installed
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say yes: build with the tools that are here
    }
    subprocess.run(["bash", "-c", script(INSTALL)], cwd=ROOT, env=environment(tmp_path) | offline, check=True)

    program = tmp_path / "bulkgpt/venv/bin/bulkgpt-watchd"
    version = subprocess.run([program, "--version"], env=offline, check=True, capture_output=True, text=True, cwd="/")
    assert version.stdout == f"bulkgpt-watchd {bulkgpt_watchd.__version__}\n"


def test_what_the_readme_tells_to_make_is_what_ci_makes() -> None:
    """CI runs both on a clean checkout; the demo has tests of its own."""
    (demo,) = blocks(section(README, "## Try it in a minute: no account"), "console")
    lines = (ROOT / ".ci/run").read_text().splitlines()

    assert demo == "$ make demo\n"
    assert "make demo" in lines
    assert "`make test`" in section(README, "## Development")
    assert any(line.startswith("make test ") for line in lines)


@pytest.mark.parametrize(
    ("printed", "shown", "is_right"),
    [
        ("ok, 1 route\n", "ok, 1 route\n", True),
        ("a  1\n\nb\n", "a 1\n\nb\n", True),
        ("pid 7  running 3s\ngate open\n", "pid …  running …\ngate open\n", True),
        ("ok, 2 routes\n", "ok, 1 route\n", False),
        ("gate SHUT\n", "gate open\n", False),
        ("pid 7\nx\ngate open\n", "pid …\ngate open\n", False),
    ],
)
def test_output_is_held_to_what_is_shown(printed: str, shown: str, is_right: bool) -> None:
    assert is_as_shown(printed, shown) is is_right
