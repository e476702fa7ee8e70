"""Starting, listening, load and closing."""

from __future__ import annotations

import asyncio
import socket
import time

import aiohttp
import pytest

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions, answer
from tests.sandbox.conftest import CSV, Client, client_of, until


async def test_many_calls_at_once_are_served_and_kept_apart(sandbox: Sandbox) -> None:
    """1,000 submits, polls and downloads, 16 at a time; the client is in the same loop."""
    async with client_of(sandbox, timeout_s=30) as client:

        async def work(numbers: range) -> None:
            for number in numbers:
                csv = b"name\nrow %d\n" % number
                assert await client.result(csv) == answer(csv)

        await asyncio.gather(*(work(range(start, 1000, 16)) for start in range(16)))

    assert len({record.task_id for record in sandbox.accepted}) == 1000


async def test_two_sandboxes_cannot_share_a_port() -> None:
    async with Sandbox() as sandbox:
        port = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await Sandbox(SandboxOptions(port=port)).__aenter__()
        with pytest.raises(OSError, match="address already in use"):
            await Sandbox(SandboxOptions(download_port=port)).__aenter__()


@pytest.mark.parametrize("host", ["localhost", "::1", "0.0.0.0"])
async def test_it_listens_on_other_addresses(host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with Sandbox(SandboxOptions.instant(host=host)) as sandbox, client_of(sandbox) as client:
        assert await client.result() == answer(CSV)
        assert sandbox.is_loopback == (host != "0.0.0.0")


async def test_it_closes_at_once_though_a_client_holds_a_connection_and_another_sends_no_more() -> None:
    async with aiohttp.ClientSession() as session:
        async with Sandbox(SandboxOptions.instant()) as sandbox:
            await Client(sandbox, session).submit()
            host, port = sandbox.base_url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /upload-trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
            await until(lambda: len(sandbox.ledger) == 2)
            started = time.monotonic()
        writer.close()
        assert time.monotonic() - started < 4
        assert sandbox.ledger[1].reason == "the sandbox was closed"
