"""
Serve HTTP over TCP for as long as the daemon runs.

Files matter more than who watches them: an address that cannot be used ends nothing. It is told, once, in log and
status, and tried again until it can be used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bulkgpt_watchd.adapters import log as logs
from bulkgpt_watchd.config import Settings, address_of, read_token
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.ports import Clock
from bulkgpt_watchd.scheduler.telling import Log
from bulkgpt_watchd.web.access import Access
from bulkgpt_watchd.web.tcp import serve_tcp

AGAIN_S = 5.0
"""How often a busy address is tried again: it is often one that a daemon before us is about to leave."""

TELLS_EVERY_S = 60.0
"""A refused request is a warning once in so long; others are debug, so that nobody can fill the log."""


@dataclass
class Serving:
    """Hold the address, the token and what was told of them."""

    settings: Settings
    clock: Clock
    log: Log
    remember: Callable[[str, Any], Awaitable[None]]
    access: Access = field(init=False)
    _told_at: float = float("-inf")

    def __post_init__(self) -> None:
        address = address_of(self.settings.web.listen)
        self.access = Access(address is None or address.is_loopback, None, self._refused)
        self.take_token(self.settings)

    def take_token(self, settings: Settings) -> None:
        """
        Read the token again.

        Errors: ConfigInvalid.
        """
        token = read_token(settings.document, settings.web)
        self.access.token = None if token is None else token.value
        if token is not None:
            logs.hide(token.value)
        for warning in () if token is None else token.warnings:
            self.log("token.warning", "warning", reason=warning)

    async def open(self, stack: AsyncExitStack, app: web.Application) -> None:
        """Listen where the configuration says, now or as soon as that is possible."""
        address = address_of(self.settings.web.listen)
        if address is None:
            await self._note(None)
            return
        listen = self.settings.web.listen
        is_asked_for = self.settings.document.is_given(("web", "listen"))

        async def attempt(last_reason: str | None) -> str | None:
            try:
                taken = await serve_tcp(stack, app, address.host, address.port)
            except OSError as error:
                code = error.errno or 0
                reason = os.strerror(code).lower() if code > 0 else str(error)
                if reason != last_reason:
                    level = "error" if is_asked_for else "warning"
                    self.log("web.unavailable", level, address=listen, reason=reason)
                    await self._note({"address": listen, "reason": reason, "is_asked_for": is_asked_for})
                return reason
            self.log("web.listening", "info", address=taken)
            await self._note({"address": taken, "reason": None, "is_asked_for": is_asked_for})
            return None

        async def insist(reason: str | None) -> None:
            while reason is not None:
                await self.clock.sleep(AGAIN_S)
                reason = await attempt(reason)

        if (reason := await attempt(None)) is not None:
            insisting = asyncio.create_task(insist(reason))
            stack.push_async_callback(_end, insisting)

    async def _note(self, content: dict[str, Any] | None) -> None:
        with suppress(DiskTrouble):  # it is in the log, too
            await self.remember("web", content)

    def _refused(self, reason: str, address: str) -> None:
        now = self.clock.monotonic()
        is_first = now - self._told_at >= TELLS_EVERY_S
        self._told_at = now if is_first else self._told_at
        self.log("web.refused", "warning" if is_first else "debug", reason=reason, address=address)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
