"""
Stream one CSV as the body of a submit, and hold its last block back.

The last block ends the JSON, so without it the server has nothing that it could accept. It is written only when
everything before it has arrived, the bytes that were read are the checked ones, and `release` was called; and not
where the server has answered or hung up meanwhile.

"Arrived" is what the peer's machine confirmed, not what our kernel took: its buffers hold megabytes, and a network
that went down would make a doubt of each file that fits in there.
Source: performance measurements: 60 MB sent this way cost half a megabyte of memory, as one JSON 300.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import math
import termios
from array import array
from binascii import b2a_base64
from typing import cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_writer import StreamWriter

from bulkgpt_watchd.core.errors import SourceChanged
from bulkgpt_watchd.core.ports import Upload
from bulkgpt_watchd.core.wire import body_bytes, submit_envelope

READ_BYTES = 90 * 1024
"""
Bytes of CSV read at once: a multiple of 3, so that base64 of the pieces is base64 of the whole.

Hashing and encoding so many holds the loop for a quarter of a millisecond, and their base64 is no large block of memory
(`memory.LARGE_BYTES`); fewer make the hop to the thread count.
"""

LOOK_S = (0.001, 0.05)
"""First and longest pause between two looks at what has arrived: a local network's answer, a far one's."""

SMALL_BYTES = 64 * 1024
SMALL_PATIENCE_S = 0.01
"""
What goes out in one go is waited for only so long: time enough for a near server to hang up in the middle.

A confirmation of so little may be held back for 40 ms and more by the peer's kernel (delayed ACK, RFC 1122); that would
cost a minute for a thousand small files. The connection was made, or answered, within the last second.
"""


class EndedEarly(ConnectionError):
    """Stop a body whose last block must not go out any more; seen by aiohttp only."""


class UploadBody(aiohttp.Payload):
    """
    Be the body of one submit.

    Shape: *at_point* is done when only the last block is held back. *failure*: why the body was not finished, where
        that was not the connection. *has_passed* is true from the moment before the last block is written.
    """

    _size: int

    def __init__(self, upload: Upload, timeout_s: float) -> None:
        super().__init__(None, content_type="application/json")
        self._size = body_bytes(upload.workflow_id, upload.bytes)
        self._upload = upload
        self._timeout_s = timeout_s
        loop = asyncio.get_running_loop()
        self.at_point: asyncio.Future[None] = loop.create_future()
        self._released: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self.failure: Exception | None = None
        self.is_answered = False
        self.has_passed = False

    def release(self) -> None:
        """Let the last block go, unless the connection has ended meanwhile."""
        if not self._released.done():
            self._released.set_result(None)

    def abort(self) -> None:
        """Cut the connection of a call that failed: closed politely, it lives until a peer that stalls reads on."""
        if self._transport is not None:
            self._transport.abort()

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  # Payload's signature: it is known from the start
    ) -> None:
        """
        Write all, with the wait in it.

        Errors: all that is raised here ends the connection, so a body that is not whole is never taken for one.
        """
        self._transport = cast("StreamWriter", writer).transport
        try:
            last = await self._write_all_but_last(writer)
            is_small = self._size - len(last) <= SMALL_BYTES
            await self._arrive(cast("StreamWriter", writer), SMALL_PATIENCE_S if is_small else math.inf)
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            raise
        except Exception as error:
            self.failure = error  # aiohttp wraps it
            raise
        self.at_point.set_result(None)
        await self._released
        self._go_on(cast("StreamWriter", writer))
        self.has_passed = True
        await writer.write(last)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # Payload's signature
        raise TypeError("a body that is streamed has no text")

    async def _write_all_but_last(self, writer: AbstractStreamWriter) -> bytes:
        """Write up to the last block of base64 and give that, with the end of the JSON."""
        prefix, suffix = submit_envelope(self._upload.workflow_id)
        await self._write(writer, prefix)
        digest, count, rest, held = hashlib.sha256(), 0, b"", b""
        while count <= self._upload.bytes and (block := await self._upload.read(READ_BYTES)):
            digest.update(block)
            count += len(block)
            await self._write(writer, held)
            block = rest + block
            whole = len(block) - len(block) % 3
            held, rest = b2a_base64(block[:whole], newline=False), block[whole:]
        if count != self._upload.bytes or digest.hexdigest() != self._upload.sha256:
            raise SourceChanged("the file changed while it was being sent; nothing was submitted")
        return held + b2a_base64(rest, newline=False) + suffix

    async def _arrive(self, writer: StreamWriter, enough_s: float) -> None:
        """
        Wait until the peer has confirmed all that was written, or for *enough_s*.

        Errors: TimeoutError: none of it for so long; EndedEarly.
        """
        loop = asyncio.get_running_loop()
        least, patient_until, pause_s, ends_at = math.inf, 0.0, LOOK_S[0], loop.time() + enough_s
        while (left := _unconfirmed_bytes(self._go_on(writer))) and loop.time() < ends_at:
            if left < least:
                least, patient_until = left, loop.time() + self._timeout_s
            elif loop.time() > patient_until:
                raise TimeoutError
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_S[1])

    def _go_on(self, writer: StreamWriter) -> asyncio.Transport:
        """Give the transport, where the server has neither answered nor hung up."""
        # What was read in this very turn of the loop is known to the protocol only.
        protocol = cast("ResponseHandler", writer.protocol)
        if self.is_answered or protocol.should_close or protocol.transport is None or protocol.transport.is_closing():
            raise EndedEarly
        return protocol.transport

    async def _write(self, writer: AbstractStreamWriter, block: bytes) -> None:
        # aiohttp knows no timeout for a peer that stops reading.
        async with asyncio.timeout(self._timeout_s):
            await writer.write(block)
            await writer.drain()


def _unconfirmed_bytes(transport: asyncio.Transport) -> int:
    """Count what waits in the transport, and in the kernel until the peer confirms it (SIOCOUTQ of tcp(7))."""
    count = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count)
    return transport.get_write_buffer_size() + count[0]
