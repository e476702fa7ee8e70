"""`bulkgpt-watchd demo`: sandbox, daemon and one file in a temporary folder, told as it goes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, TextIO

import click

from bulkgpt_watchd.cli.ending import TERMINATED
from bulkgpt_watchd.cli.options import examples
from bulkgpt_watchd.cli.screen import is_terminal
from bulkgpt_watchd.cli.story import Story
from bulkgpt_watchd.core.exit_codes import FAILED

LONGEST_S = 30.0
"""The way takes ten seconds on a slow machine; after this something is wrong, and the log says what."""

TASK_S = 6.0
"""How long the sandbox works: long enough to see a bar grow."""

ROWS = 24
"""The vendor's example input: a header `Input_1` and the rows 1 to 24."""

FILE = "example.csv"

KEY = "key-of-the-sandbox"

LOG_LINES = 15
"""Of the log, when it goes wrong: the failure and what led to it."""

RESULT_LINES = 4

CONFIG = """\
# Written by `bulkgpt-watchd demo`. `bulkgpt-watchd config example` has every key.
api:
  base_url: {base_url}
  api_key_file: api-key
state: {{path: state/state.db}}
web: {{listen: off}}
routes:
  - name: demo
    workflow_id: any-workflow
    folder: demo
    settle: 1s
    scan_every: 1s
    poll: {{min: 200ms, max: 1s}}
    min_free: 1MB
"""

PLACES = """\
Where it all is, in {folder}:
  demo/inbox/                             files are dropped here
  demo/outbox/{file}                 the result
  demo/archive/{file}                the original
  demo/archive/{file}.receipt.json   what was submitted, when, and what came of it
  state/state.db                          what the daemon remembers
  daemon.log                              its log
  config.yaml                             its configuration
"""

KEPT = """\
It stays there. To look at it:
  bulkgpt-watchd -c {config} jobs
  bulkgpt-watchd -c {config} jobs show {file}
"""

REMOVED = "It is removed now; `bulkgpt-watchd demo --keep` leaves it there to look at.\n"

NEXT = """\
For real:
  bulkgpt-watchd init ~/bulkgpt     asks for the ID of your workflow and for your API key"""


@click.command(epilog=examples("bulkgpt-watchd demo", "bulkgpt-watchd demo --keep"))
@click.option("--keep", is_flag=True, help="Leave the folder, and say how to look at it.")
def demo(keep: bool) -> int:
    """
    Watch a file go to a local BulkGPT and come back, in ten seconds.

    No account, no network, no cost: the sandbox stands for BulkGPT. All of it happens in a temporary folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="bulkgpt-watchd-demo-"))
    try:
        with open(folder / "daemon.log", "w+", encoding="utf-8") as log:
            return asyncio.run(_run(folder, log, keep=keep))
    except asyncio.CancelledError:
        return TERMINATED
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


async def _run(folder: Path, log: TextIO, *, keep: bool) -> int:
    from bulkgpt_watchd.config import load
    from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions
    from bulkgpt_watchd.service import Service

    _end_by_signal()
    config = folder / "config.yaml"
    story = Story(str(folder), is_terminal=is_terminal())
    events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
    async with Sandbox(SandboxOptions(key=KEY).with_task_seconds(TASK_S)) as sandbox:
        _write(folder, config, sandbox.base_url)
        service = Service(
            load(config),
            config,
            # What systemd, or a shell, set for the real daemon is not for this one.
            {},
            report=lambda event, facts: events.put_nowait((event, facts)),
            log_stream=log,
        )
        daemon = asyncio.create_task(service.run(has_signals=False))
        daemon.add_done_callback(lambda _: events.put_nowait(("daemon.ended", {})))
        try:
            async with asyncio.timeout(LONGEST_S):
                result = await _follow(events, story, folder)
        except TimeoutError:
            result = None
        finally:
            service.stop()
            [error] = await asyncio.gather(daemon, return_exceptions=True)
    if result is None:
        _tell_failure(folder, log, error, keep=keep)
        return FAILED
    _tell_result(folder, result, keep=keep)
    return 0


def _end_by_signal() -> None:
    """Clean up also when told to end; Ctrl-C is asyncio's own."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _write(folder: Path, config: Path, base_url: str) -> None:
    (folder / "demo/inbox").mkdir(parents=True)
    with open(os.open(folder / "api-key", os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as key:
        key.write(f"{KEY}\n")
    config.write_text(CONFIG.format(base_url=base_url), encoding="ascii")


async def _follow(events: asyncio.Queue[tuple[str, dict[str, Any]]], story: Story, folder: Path) -> str | None:
    """Tell events until the file's way has ended; give the path of the result, or None."""
    result: str | None = None
    while True:
        event, facts = await events.get()
        if event == "daemon.ready":
            rows = "".join(f"{number}\n" for number in range(1, ROWS + 1))
            (folder / "demo/inbox" / FILE).write_text(f"Input_1\n{rows}", encoding="ascii")
            story.tell("dropped", f"demo/inbox/{FILE}")
        story.hear(event, facts)
        if event == "job.delivered":
            result = str(facts["result"])
        if event in {"job.done", "job.failed", "daemon.ended"}:
            return result if event == "job.done" else None


def _tell_result(folder: Path, result: str, *, keep: bool) -> None:
    with open(result, encoding="utf-8") as lines:
        head = "".join(f"  {line}" for line, _ in zip(lines, range(RESULT_LINES), strict=False))
    click.echo(f"\nThe result begins with:\n{head}")
    click.echo(PLACES.format(folder=folder, file=FILE))
    click.echo(KEPT.format(config=folder / "config.yaml", file=FILE) if keep else REMOVED)
    click.echo(NEXT)


def _tell_failure(folder: Path, log: TextIO, error: object, *, keep: bool) -> None:
    click.echo("\nThe demo failed. The daemon's log ends with:", err=True)
    log.seek(0)
    click.echo("".join(log.readlines()[-LOG_LINES:]), err=True)
    if isinstance(error, BaseException):
        click.echo(f"{type(error).__name__}: {error}", err=True)
    if keep:
        click.echo(f"All of it is in {folder}", err=True)
