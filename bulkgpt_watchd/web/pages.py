"""Serve health, readiness and metrics: what other programs ask for all the time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bulkgpt_watchd.web.control import as_json

Answer = Callable[[], Awaitable[dict[str, Any]]]


def pages(alive: Answer, ready: Answer, metrics: Callable[[], Awaitable[tuple[bytes, str]]]) -> list[web.RouteDef]:
    """
    Give /healthz, /readyz and /metrics.

    Shape: *alive* and *ready* give `{"status", "reasons"}`, and reasons mean 503; *metrics* gives text and its type.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return _told(await alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _told(await ready())

    async def exposition(_request: web.Request) -> web.Response:
        body, content_type = await metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)]


def _told(content: dict[str, Any]) -> web.Response:
    return as_json(content, http_status=503 if content["reasons"] else 200)
