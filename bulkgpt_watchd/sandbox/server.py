"""A local BulkGPT over real HTTP: two origins in the event loop that runs."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from bulkgpt_watchd.sandbox.api import Api
from bulkgpt_watchd.sandbox.backend import WILDCARDS, Backend, host_in_url
from bulkgpt_watchd.sandbox.control import Control
from bulkgpt_watchd.sandbox.downloads import Downloads
from bulkgpt_watchd.sandbox.fault import Fault
from bulkgpt_watchd.sandbox.ledger import Ledger, Record
from bulkgpt_watchd.sandbox.options import SandboxOptions

_READ_BUFFER_BYTES = 1 << 18
"""Of one connection: an upload of 1 GB arrives in few, large blocks."""

_SHUTDOWN_S = 0.2
"""For calls under way when it closes; those that hang go at once, those whose client stopped sending are cut."""


def _silent(_: str) -> None:
    """Report nothing."""


class Sandbox:
    """
    Run a sandbox: `async with Sandbox(options) as sandbox: ...`.

    Shape: *report* gets one line for each call.
    Errors: OSError, on entering: a port is taken, or the ledger's file cannot be opened.
    """

    def __init__(self, options: SandboxOptions | None = None, report: Callable[[str], None] = _silent) -> None:
        self.options = options or SandboxOptions()
        self._report = report
        self._runners: list[web.AppRunner] = []
        self.base_url = ""
        self.download_origin = ""
        self.is_loopback = True

    async def __aenter__(self) -> Self:
        self._backend = Backend(self.options, Ledger(self.options.ledger_file), self._report)
        api, control, downloads = Api(self._backend), Control(self._backend), Downloads(self._backend)
        try:
            self.base_url = await self._listen(
                self.options.port,
                web.post("/upload-trigger", api.upload_trigger),
                web.post("/status", api.status),
                web.post("/_sandbox/plan", control.add_faults),
                web.get("/_sandbox/plan", control.list_faults),
                web.delete("/_sandbox/plan", control.clear_faults),
                web.get("/_sandbox/ledger", control.read_ledger),
            )
            self.download_origin = await self._listen(
                self.options.download_port, web.route("*", "/{path:.*}", downloads.download)
            )
        except BaseException:
            await self._close()
            raise
        self._backend.download_origin = self.download_origin
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def api_key(self) -> str:
        return self.options.key

    @property
    def ledger(self) -> list[Record]:
        """Every POST seen on /upload-trigger, in order of arrival."""
        return self._backend.ledger.records

    @property
    def accepted(self) -> list[Record]:
        return self._backend.ledger.accepted

    @property
    def status_calls(self) -> int:
        return self._backend.ledger.status_calls

    @property
    def downloads(self) -> int:
        return self._backend.ledger.downloads

    @property
    def key_seen_at_download_origin(self) -> bool:
        return self._backend.ledger.key_seen_at_download_origin

    def plan(self, *faults: Fault) -> None:
        """Add faults behind those that are planned already."""
        self._backend.plan.add(*faults)

    def clear(self) -> None:
        """Drop every planned fault."""
        self._backend.plan.clear()

    async def _listen(self, port: int, *routes: web.RouteDef) -> str:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, read_bufsize=_READ_BUFFER_BYTES, shutdown_timeout=_SHUTDOWN_S)
        self._runners.append(runner)
        await runner.setup()
        # One address, even if the name has several: with port 0 each would get another port.
        found = await asyncio.get_running_loop().getaddrinfo(self.options.host, port, type=socket.SOCK_STREAM)
        host = str(found[0][4][0])
        await web.TCPSite(runner, host, port).start()
        self.is_loopback = ipaddress.ip_address(host.partition("%")[0]).is_loopback
        port = runner.addresses[0][1]
        return f"http://{host_in_url('127.0.0.1' if host in WILDCARDS else host)}:{port}"

    async def _close(self) -> None:
        self._backend.closing.set()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._backend.ledger.close()
        self._backend.spool.close()
