"""
Send an answer, whole or in one of the ways a network or a server spoils it.

What is ordinary goes through aiohttp's own responses; the rest is written by hand and ends with the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.http import RESPONSES, StreamWriter
from multidict import CIMultiDict

from bulkgpt_watchd.sandbox.fault import Fault
from bulkgpt_watchd.sandbox.spool import SMALL_BYTES, Stored

JSON = "application/json"

_DRIP_BYTES_PER_S = 16.0
"""Slow enough to outlast any patience, fast enough to see it move."""

_LOOK_S = 0.1
"""How often a call that hangs looks whether its client left."""

XML_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'
"""The body of S3's errors, less its request IDs."""

_READY_MADE = {
    "garbage": (200, JSON, b'\x00\xff\xfe\x80{"taskId": \x9c'),
    "html": (
        200,
        "text/html",
        b"<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n",
    ),
    "xml": (200, "application/xml", XML_ERROR.format("InternalError", "Please try again.").encode()),
    "empty": (200, JSON, b""),
    "deep": (200, JSON, b"[" * 200_000),  # Python's json ends with RecursionError, which is no ValueError
    "expired": (403, "application/xml", XML_ERROR.format("AccessDenied", "Request has expired").encode()),
}


_HALF = {"truncated", "stalled", "reset"}
_CHUNKED = {"chunked", "gzipped"}
_WITHOUT_LENGTH = {"close_delimited", "endless"}


class Closing(asyncio.Event):
    """Set once the sandbox closes: whoever waits then goes home."""

    async def pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wait()


@dataclass(slots=True)
class Reply:
    """An answer before it is sent; a *body* in the spool is streamed."""

    http_status: int
    body: bytes | Stored
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(http_status: int, document: Any) -> Reply:
    """Make an answer of JSON."""
    return Reply(http_status, json.dumps(document).encode(), {"Content-Type": JSON})


def spoiled(reply: Reply, fault: Fault | None) -> Reply:
    """Give the answer that the fault makes of an ordinary one, short of how it is sent."""
    if fault is None:
        return reply
    http_status, headers, body = reply.http_status, dict(reply.headers), reply.body
    if fault.reply in _READY_MADE:
        http_status, headers["Content-Type"], body = _READY_MADE[fault.reply]
    elif fault.reply == "truncated" and isinstance(body, bytes):
        body = body[: len(body) // 2]
    elif fault.error is not None or fault.json is not None:
        document = fault.json if fault.error is None else {"error": fault.error}
        http_status, headers["Content-Type"], body = 200, JSON, json.dumps(document).encode()
    elif fault.body is not None:
        http_status, body = 200, fault.body.encode(errors="surrogatepass")
    elif fault.http_status is not None and fault.http_status >= 300 and fault.reply != "ordinary":
        body = b""
    names = {name.lower() for name in fault.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in names}
    return Reply(fault.http_status or http_status, body, {**headers, **fault.headers})


async def send(request: web.Request, reply: Reply, fault: Fault | None, closing: Closing) -> web.StreamResponse:
    """Send the answer as the fault says; afterwards, if by hand, the connection is gone."""
    if fault is not None and fault.transfer is not None:
        with contextlib.suppress(ConnectionError):  # the client left, as it should
            await _send_by_hand(request, reply, fault, closing)
        return hang_up(request, reset=fault.transfer == "reset")
    if isinstance(reply.body, bytes) or reply.body.size_bytes <= SMALL_BYTES:
        body = reply.body if isinstance(reply.body, bytes) else reply.body.read()
        return web.Response(status=reply.http_status, body=body, headers=reply.headers)
    response = web.StreamResponse(status=reply.http_status, headers=reply.headers)
    response.content_length = reply.body.size_bytes
    with contextlib.suppress(ConnectionError):  # the client left; aiohttp finds out by itself
        await response.prepare(request)
        async for block in _blocks(reply.body, reply.body.size_bytes):
            await response.write(block)
    return response


async def hold(request: web.Request, closing: Closing) -> web.StreamResponse:
    """Never answer: wait until the client or the sandbox goes."""
    while not closing.is_set() and request.transport is not None and not request.transport.is_closing():
        await closing.pause(_LOOK_S)
    return hang_up(request)


def hang_up(request: web.Request, *, reset: bool = False) -> web.StreamResponse:
    """
    Close the connection, with a reset (RST) or after what was written.

    Shape: the response given back is for aiohttp, which finds no connection to send it on.
    Source: socket(7): with SO_LINGER on and a linger of 0 s, close() sends RST and drops what was not sent.
    """
    if request.transport is not None and reset:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    elif request.transport is not None:
        request.transport.close()
    return web.Response()


async def _send_by_hand(request: web.Request, reply: Reply, fault: Fault, closing: Closing) -> None:
    size = len(reply.body) if isinstance(reply.body, bytes) else reply.body.size_bytes
    limit = size // 2 if fault.transfer in _HALF else size
    if fault.answer_bytes is not None:
        limit = min(size, fault.answer_bytes)
    writer = await _head_by_hand(request, reply, fault, size)
    if fault.transfer == "dripping":
        await _drip(writer, reply.body, 1 / (fault.bytes_per_s or _DRIP_BYTES_PER_S), closing)
        return
    async for block in _blocks(reply.body, limit):
        await writer.write(block)
    if fault.transfer == "stalled":
        await hold(request, closing)
    while fault.transfer == "endless" and not closing.is_set():
        async for block in _blocks(reply.body if size else b"\n", limit or 1):
            await writer.write(block)
        await asyncio.sleep(0)  # a write into a buffer with room does not let the others run
    if fault.transfer in _CHUNKED:
        await writer.write_eof()


async def _head_by_hand(request: web.Request, reply: Reply, fault: Fault, size: int) -> StreamWriter:
    writer = StreamWriter(request.protocol, asyncio.get_running_loop())
    headers = CIMultiDict({**reply.headers, "Connection": "close"})
    if fault.transfer in _CHUNKED:
        headers["Transfer-Encoding"] = "chunked"
        writer.enable_chunking()
    elif fault.transfer not in _WITHOUT_LENGTH:
        headers["Content-Length"] = str(size)
    if fault.transfer == "gzipped":
        headers["Content-Encoding"] = "gzip"
        writer.enable_compression("gzip")
    phrase = RESPONSES.get(reply.http_status, ("", ""))[0]
    await writer.write_headers(f"HTTP/1.1 {reply.http_status} {phrase}", headers)
    writer.send_headers()
    return writer


async def _drip(writer: StreamWriter, body: bytes | Stored, every_s: float, closing: Closing) -> None:
    async for block in _blocks(body, len(body) if isinstance(body, bytes) else body.size_bytes):
        for at in range(len(block)):
            if closing.is_set():
                return
            await writer.write(block[at : at + 1])
            await closing.pause(every_s)


async def _blocks(body: bytes | Stored, limit: int) -> AsyncIterator[bytes]:
    """Read a body up to the limit; what is large, in a thread."""
    if isinstance(body, bytes):
        yield body[:limit]
        return
    blocks = body.blocks()
    while limit > 0:
        block = await asyncio.to_thread(next, blocks)
        yield block[:limit]
        limit -= len(block)
