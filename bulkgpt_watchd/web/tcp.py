"""Listen on a TCP port, with a bound on what clients can take of us."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

MOST_CONNECTIONS = 64
"""Beyond so many the oldest gives way: each is a descriptor, and files need them more. Scrapers and pages need few."""

TAKEN_AT_ONCE = 16
"""Connections of one turn of the loop, by which that bound may be passed for a moment; others wait in the kernel."""

IDLE_S = 15.0
"""How long a connection may say nothing; Prometheus opens a new one where it was closed."""

END_S = 1.0
"""How long an answer that is being written may hold up a stop."""


class _FaultsOfClients(logging.Filter):
    """Pass over what is not HTTP: whoever can reach us could fill the log with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError))


_logger = logging.getLogger("aiohttp.server.tcp")
_logger.addFilter(_FaultsOfClients())


async def serve_tcp(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> str:
    """
    Listen until the stack is closed; give the address, with the port that was taken for 0.

    Errors: OSError: the port is taken, the address is not there, or it may not be used; nothing is left open.
    """
    async with AsyncExitStack() as opening:
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE_S,
            shutdown_timeout=END_S,
            logger=_logger,
        )
        await runner.setup()
        opening.push_async_callback(runner.cleanup)
        server = runner.server
        if server is None:
            raise RuntimeError("a runner that is set up has a server")

        def connection() -> asyncio.Protocol:
            for oldest in server.connections[: -(MOST_CONNECTIONS - 1)]:
                if isinstance(oldest.transport, asyncio.Transport):
                    oldest.transport.abort()  # a close would wait for a client that does not read
            return server()

        listener = await asyncio.get_running_loop().create_server(connection, host, port, backlog=TAKEN_AT_ONCE)
        opening.callback(listener.close)
        taken = listener.sockets[0].getsockname()
        stack.push_async_callback(opening.pop_all().aclose)
    return f"[{taken[0]}]:{taken[1]}" if ":" in taken[0] else f"{taken[0]}:{taken[1]}"
