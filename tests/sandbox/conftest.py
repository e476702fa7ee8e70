"""A sandbox whose tasks are complete at once, and a client that speaks to it over HTTP, by the vendor's README."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions

WORKFLOW = "v0#Workflow#6b056f598d994d1ca98821cca221d07e#1721762149339"
CSV = b"Input_1\n" + b"".join(b"%d\n" % number for number in range(1, 25))
"""The vendor's example input."""
LARGE = b"name,text\n" + b"".join(b"row %d,0123456789012345678901234567890123456789\n" % row for row in range(60_000))
"""More than is handled in memory: 2.9 MB."""
COUNTERS = ("numOfTasksCompleted", "numOfTaskSuccess", "totalNumOfTasks")


class Client:
    """What the vendor's example does, less the patience."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self.session = session
        self.key: str | None = sandbox.api_key

    async def post(self, path: str, document: object) -> aiohttp.ClientResponse:
        return await self.post_bytes(path, json.dumps(document).encode())

    async def post_bytes(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json"} | ({} if self.key is None else {"x-api-key": self.key})
        data = io.BytesIO(body)  # aiohttp warns of bytes above 1 MiB
        url = self._sandbox.base_url + path
        response = await self.session.post(url, data=data, headers=headers, allow_redirects=False)
        await response.read()
        return response

    async def upload(self, csv: bytes = CSV, workflow: str = WORKFLOW) -> aiohttp.ClientResponse:
        encoded = base64.b64encode(csv).decode()
        return await self.post("/upload-trigger", {"workflowId": workflow, "csvBase64": encoded})

    async def submit(self, csv: bytes = CSV, workflow: str = WORKFLOW) -> str:
        return str((await (await self.upload(csv, workflow)).json())["taskId"])

    async def ask(self, task_id: str) -> aiohttp.ClientResponse:
        return await self.post("/status", {"taskId": task_id})

    async def status(self, task_id: str) -> dict[str, Any]:
        status: dict[str, Any] = (await (await self.ask(task_id)).json())["status"]
        return status

    async def fetch(self, url: str) -> tuple[aiohttp.ClientResponse, bytes]:
        response = await self.session.get(url, allow_redirects=False)
        return response, await response.read()

    async def link(self, csv: bytes = CSV) -> str:
        return str((await self.status(await self.submit(csv)))["downloadUrl"])

    async def result(self, csv: bytes = CSV) -> bytes:
        return (await self.fetch(await self.link(csv)))[1]


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the sandbox notices in its own time."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the sandbox is not ours to give an event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def client_of(sandbox: Sandbox, timeout_s: float = 5) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session:
        yield Client(sandbox, session)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions.instant()) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with client_of(sandbox) as speaking:
        yield speaking


async def call(client: Client, name: str, csv: bytes = CSV) -> tuple[aiohttp.ClientResponse, bytes]:
    """Make one call of this kind, after whatever it needs."""
    if name == "submit":
        response = await client.upload(csv)
    elif name == "status":
        response = await client.ask(await client.submit(csv))
    else:
        return await client.fetch(await client.link(csv))
    return response, await response.read()
