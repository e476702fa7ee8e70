"""A server on 127.0.0.1 that does with each request exactly what a test tells it, and remembers what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

NO_HEADERS: Mapping[str, str] = {}


class Exchange:
    """One request, and the means to answer it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, connection: int) -> None:
        self._reader = reader
        self._writer = writer
        self.connection = connection
        lines = head.split("\r\n")
        self.request_line = lines[0]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body = bytearray()
        self.is_closed = False

    @property
    def content_length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def is_whole(self) -> bool:
        return len(self.body) == self.content_length

    async def read(self, size: int | None = None) -> None:
        """Read until the body has *size* bytes, or is whole, or the client is gone."""
        size = self.content_length if size is None else size
        while len(self.body) < size:
            block = await self._reader.read(min(size - len(self.body), 1 << 20))
            if not block:
                self.is_closed = True
                return
            self.body += block

    async def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> None:
        length = {} if {"Content-Length", "Transfer-Encoding"} & set(headers) else {"Content-Length": str(len(body))}
        await self.head(status, {**length, **headers})
        await self.send(body)

    async def head(self, status: int, headers: Mapping[str, str] = NO_HEADERS) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        await self.send("\r\n".join(lines).encode())

    async def send(self, block: bytes) -> None:
        self._writer.write(block)
        await self._writer.drain()

    async def hang(self) -> None:
        """Do nothing until the client goes away."""
        await self.read(1 << 62)

    def close(self) -> None:
        """Hang up in good order."""
        self.is_closed = True
        self._writer.close()

    def reset(self) -> None:
        """Hang up with a reset."""
        self.is_closed = True
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


class Loopback:
    """Listen, run the script for each request, and keep connections until one side ends them."""

    def __init__(
        self,
        script: Script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        buffer_bytes: int | None = None,
    ) -> None:
        self._script = script
        self._host = host
        self._port = port
        self._tls = tls
        self._buffer_bytes = buffer_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.exchanges: list[Exchange] = []
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        sock = socket.socket()
        if self._buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        sock.bind((self._host, self._port))
        self._server = await asyncio.start_server(
            self._accept, sock=sock, ssl=self._tls, limit=self._buffer_bytes or 1 << 17
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # one that is closed politely lives until the other side reads on
        await asyncio.sleep(0.01)  # the loop turns: they are let go
        if error is None:
            assert self.failures == []

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._host}:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        self.connections += 1
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
                exchange = Exchange(reader, writer, head, number)
                self.exchanges.append(exchange)
                await self._script(exchange)
                if exchange.is_closed or not exchange.is_whole:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client, or the test, is done
        except Exception as error:  # noqa: BLE001  # told when the server is left
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the test's own timeout ends a wait that is in vain."""
    while not condition():  # noqa: ASYNC110  # what is waited for happens in a server's or a library's own time
        await asyncio.sleep(0.005)
