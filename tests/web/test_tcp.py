"""The port: health says how it is, and clients cannot take more than their part of us."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from bulkgpt_watchd.web.tcp import MOST_CONNECTIONS, TAKEN_AT_ONCE, serve_tcp
from tests.web.site import TOKEN, serving


async def test_reasons_make_it_503() -> None:
    async with serving() as site:
        site.reasons = ["the loop stands"]
        answer = await site.ask("/healthz")

    assert (answer.status, answer.content) == (503, {"status": "failing", "reasons": ["the loop stands"]})


async def test_metrics_have_prometheus_s_type() -> None:
    async with serving() as site:
        answer = await site.ask("/metrics")

    assert (answer.content, answer.headers["Content-Type"]) == ("jobs 1\n", "text/plain; version=0.0.4")


@pytest.mark.fault("S28")
@pytest.mark.parametrize(
    "words",
    [
        b"garbage\x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",  # TLS
        b"GET / HTTP/1.1\r\nHost: \x01\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_and_cannot_fill_the_log(
    words: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as site:
        host, _, port = site.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(words)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert (await site.ask("/healthz")).status == 200

    assert answer == b"" or b" 400 Bad Request" in answer.partition(b"\r\n")[0]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, 400),
        ({}, 401),
        ({"Host": "evil.example"}, 403),
    ],
)
async def test_a_body_that_is_not_what_it_says_cannot_fill_the_log(
    headers: dict[str, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as site:
        wrong = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            url = f"http://{site.address}/api/v1/acts/scan"
            stated = {**wrong, **headers}
            async with session.post(url, data=b"abc", headers=stated, compress=False) as answer:
                told = (answer.status, answer.content_type)
        assert site.acts == []

    assert told == (status, "application/json")
    assert caplog.records == []


async def test_a_body_that_ends_early_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as site:
        host, _, port = site.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/v1/acts/scan HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
        assert (await site.ask("/healthz")).status == 200
        assert site.acts == []

    assert caplog.records == []


async def test_a_bug_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as site:
        answer = await site.act(body='{"route": "bug"}')

    assert (answer.status, answer.content["error"]["exit_code"], answer.headers["Cache-Control"]) == (
        500,
        1,
        "no-store",
    )
    [record] = caplog.records
    assert record.getMessage() == "POST /api/v1/acts/scan met a bug"
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", 9, 0, 0)) != errno.EADDRNOTAVAIL


async def test_it_listens_on_ipv6_too() -> None:
    if not has_ipv6():  # a container without it: then it must say so, and nothing else is to be seen here
        with pytest.raises(OSError, match="::1"):
            async with serving(host="::1"):
                pass
        return
    async with serving(host="::1") as site:
        assert site.address.startswith("[::1]:")
        assert (await site.ask("/healthz")).status == 200


async def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    async with serving() as site, AsyncExitStack() as stack:
        port = int(site.address.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await serve_tcp(stack, web.Application(), "127.0.0.1", port)
        assert (await site.ask("/healthz")).status == 200


async def test_a_port_is_free_again_when_the_stack_is_closed() -> None:
    async with serving() as site:
        host, _, port = site.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))

    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    async with AsyncExitStack() as stack:
        assert await serve_tcp(stack, web.Application(), host, int(port)) == site.address


async def test_silent_connections_give_way_so_that_files_keep_their_descriptors() -> None:
    async with serving() as site:
        host, _, port = site.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(MOST_CONNECTIONS + 5)]
        assert (await site.ask("/healthz")).status == 200
        assert await asyncio.wait_for(silent[0][0].read(), 5) == b""
        for _, writer in silent:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in silent), return_exceptions=True)


async def test_a_burst_of_connections_leaves_files_their_descriptors() -> None:
    async with serving() as site:
        host, _, port = site.address.rpartition(":")
        before = len(os.listdir("/proc/self/fd"))
        clients = [socket.socket() for _ in range(MOST_CONNECTIONS * 4)]
        for client in clients:  # while the loop stands still
            client.setblocking(False)
            client.connect_ex((host, int(port)))
        await asyncio.sleep(0.5)
        assert (await site.ask("/healthz")).status == 200
        await asyncio.sleep(0.1)
        ours = len(os.listdir("/proc/self/fd")) - before - len(clients)
        for client in clients:
            client.close()

    assert ours <= MOST_CONNECTIONS + TAKEN_AT_ONCE
