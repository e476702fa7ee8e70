"""A BulkGPT for a daemon in another process: the sandbox in a thread of its own, and a network before it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions

T = TypeVar("T")

BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
    b"<html>bad gateway</html>\r\n"
)


@contextmanager
def in_thread(open_it: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[tuple[T, asyncio.AbstractEventLoop]]:
    """Keep an asynchronous context open in the loop of another thread."""
    opened: Future[T] = Future()
    loop = asyncio.new_event_loop()
    closing = asyncio.Event()

    async def stay() -> None:
        try:
            async with open_it() as value:
                opened.set_result(value)
                await closing.wait()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            raise

    def turn() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(stay())

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield opened.result(10), loop
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by an error of its own
            loop.call_soon_threadsafe(closing.set)
        thread.join(10)


@contextmanager
def bulk(options: SandboxOptions) -> Iterator[Sandbox]:
    """Run a sandbox; its ledger and its faults may be used from here."""
    with in_thread(lambda: Sandbox(options)) as (sandbox, _):
        yield sandbox


class Front:
    """
    Stand before the sandbox as a network and a proxy do.

    Shape: `through` passes on, `refuse` does not listen, `bad_gateway` answers 502 to every whole request.
    """

    def __init__(self, port_behind: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._behind = port_behind
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.mode = "through"
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def switch(self, mode: str) -> None:
        """Be another from now on; connections that are open end."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._switch(mode), self._loop).result(10)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Front]:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await self._switch(self.mode)
        try:
            yield self
        finally:
            await self._switch("refuse")

    async def _switch(self, mode: str) -> None:
        self.mode = mode
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        act = self._relay if self.mode == "through" else self._refuse
        task = asyncio.ensure_future(self._guarded(act(reader, writer), writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, act: Awaitable[None], writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await act
        finally:
            writer.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(BAD_GATEWAY)
        await writer.drain()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        try:
            ways = [_pump(reader, behind_writer), _pump(behind_reader, writer)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            behind_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65536):
        writer.write(block)
        await writer.drain()


@contextmanager
def front(sandbox: Sandbox) -> Iterator[Front]:
    """Put a network and a proxy before a sandbox; the daemon asks at `front.url`."""
    port = int(sandbox.base_url.rsplit(":", 1)[1])
    with in_thread(lambda: Front(port).open()) as (opened, _):
        yield opened
