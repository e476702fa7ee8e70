"""Serve the API over TCP as the daemon does, on a port of its own, and ask it with the bytes that a client sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bulkgpt_watchd.core.errors import CommandRefused
from bulkgpt_watchd.web.access import Access
from bulkgpt_watchd.web.control import application
from bulkgpt_watchd.web.pages import pages
from bulkgpt_watchd.web.tcp import serve_tcp

TOKEN = "0123456789abcdef"


@dataclass
class Answer:
    """Hold an answer; *content* is its JSON, or its text where it is none."""

    status: int
    headers: dict[str, str]
    content: Any


@dataclass
class Site:
    """Hold a server and what stands behind it."""

    access: Access
    address: str = ""
    acts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)  # why it does not live

    async def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """Send one request; headers are named with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.address}{path}", data=body, headers=named) as response,
        ):
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(response.status, dict(response.headers), json.loads(text) if is_json else text)

    async def act(self, token: str | None = TOKEN, body: str | None = '{"route": "leads"}', **headers: str) -> Answer:
        """Send an act as a script does."""
        usual = {"Content_Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return await self.ask("/api/v1/acts/scan", "POST", body, **{**usual, **headers})


def acting(site: Site) -> Callable[..., Awaitable[dict[str, Any]]]:
    async def scan(by: str, route: str = "") -> dict[str, Any]:
        if route == "nope":
            raise CommandRefused("there is no route 'nope'", exit_code=66)
        if route == "bug":
            raise LookupError(route)
        site.acts.append((by, {"route": route}))
        return {"routes": [route]}

    return scan


@asynccontextmanager
async def serving(
    *, is_loopback: bool = True, token: str | None = TOKEN, host: str = "127.0.0.1"
) -> AsyncIterator[Site]:
    """Serve until the block ends; *is_loopback* is what the configuration says, whatever the test listens on."""

    def told(reason: str, address: str) -> None:
        assert address in {"127.0.0.1", "::1"}
        site.refused.append(reason)

    async def status() -> dict[str, Any]:
        return {"state": "ok"}

    async def alive() -> dict[str, Any]:
        return {"status": "failing" if site.reasons else "ok", "reasons": site.reasons}

    async def metrics() -> tuple[bytes, str]:
        return b"jobs 1\n", "text/plain; version=0.0.4"

    site = Site(Access(is_loopback, token, told))
    async with AsyncExitStack() as stack:
        app = application({"scan": acting(site)}, status, pages(alive, alive, metrics), [site.access.middleware])
        site.address = await serve_tcp(stack, app, host, 0)
        yield site
