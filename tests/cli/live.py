"""Run the daemon as a user does, in a process of its own, beside a sandbox in the test's loop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions
from tests.cli.conftest import Bed

PATIENCE_S = 30.0
"""A machine under load is slow; what takes longer than this does not come."""

LOOKS_EVERY_S = 0.05


@dataclass
class Live:
    """Hold a running daemon, its bed and its BulkGPT."""

    bed: Bed
    sandbox: Sandbox
    process: asyncio.subprocess.Process

    async def cli(self, *arguments: str | Path) -> Result:
        """Run a command while the sandbox goes on."""
        return await asyncio.to_thread(self.bed.cli, *arguments)

    async def json(self, *arguments: str) -> Any:
        """Run a command and give what it says as JSON."""
        return json.loads((await self.cli(*arguments, "--json")).stdout)

    def drop(self, name: str, *cells: str) -> None:
        """Put a file into the inbox by a rename."""
        new = self.bed.folder / f".{name}"
        new.write_text("\n".join(["Input_1", *cells, ""]))
        new.rename(self.bed.inbox / name)

    async def until(self, file: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the latest job of a file is as wanted; give its row."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                row = await self.json("jobs", "show", file)
                if "job" in row and is_so(row):
                    return dict(row)
                await asyncio.sleep(LOOKS_EVERY_S)

    async def has_logged(self, event: str) -> None:
        """Wait for a line of the log."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if event in (self.bed.folder / "daemon.log").read_text():
                    return
                await asyncio.sleep(LOOKS_EVERY_S)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon by a signal and give its exit code."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


async def start(bed: Bed, *options: str) -> asyncio.subprocess.Process:
    """Start `run`; its log goes to daemon.log."""
    with open(bed.folder / "daemon.log", "ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bulkgpt_watchd", "--config", bed.config, "run", *options, stdout=log, stderr=log
        )


@asynccontextmanager
async def live(bed: Bed) -> AsyncIterator[Live]:
    """Run sandbox and daemon, until it is ready and as long as the block."""
    async with Sandbox(SandboxOptions.instant(key="k")) as sandbox:
        text = bed.config.read_text()
        bed.config.write_text(text.replace("http://127.0.0.1:9", sandbox.base_url))
        process = await start(bed)
        running = Live(bed, sandbox, process)
        try:
            await running.has_logged("daemon.ready")
            yield running
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
