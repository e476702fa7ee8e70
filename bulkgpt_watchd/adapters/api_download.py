"""
Fetch results from links that came from outside.

Trusts neither the link nor the server behind it: where it leads is checked hop by hop, what comes is bounded in
bytes and in time, and whatever is wrong is a LinkBroken, since a fresh link is free. Whether the body is a result is
for others to judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from bulkgpt_watchd.adapters.api_guard import is_public_literal
from bulkgpt_watchd.adapters.api_trouble import NETWORK, describe
from bulkgpt_watchd.core.errors import LinkBroken
from bulkgpt_watchd.core.ports import Clock, Download

REDIRECTS = frozenset({301, 302, 303, 307, 308})

MAX_REDIRECTS = 3
"""What OWASP allows where redirects must be followed; object stores need one at most."""

MIN_BYTES_PER_S = 1024
"""A modem of 1990 was faster; slower, 2 GB take three weeks, longer than any link lives."""

BLOCK_BYTES = 256 * 1024
"""At most so much is handed on at once: what a thread writes while the next arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRules:
    """
    Bound where results may come from and how large they may be.

    Shape: *hosts* are names, or `*.example.com` for every host below example.com; None: any host.
    """

    hosts: tuple[str, ...] | None
    allow_private: bool
    allow_http: bool
    max_bytes: int


class Downloads:
    """Open result links in a session of their own, which knows no key and no cookie."""

    def __init__(self, session: aiohttp.ClientSession, rules: DownloadRules, timeout_s: float, clock: Clock) -> None:
        self._session = session
        self._rules = rules
        self._timeout_s = timeout_s
        self._clock = clock

    @asynccontextmanager
    async def open(self, url: str) -> AsyncGenerator[Download]:
        """
        Open a link and follow its redirects.

        Errors: LinkBroken, here and from the blocks.
        """
        response = await self._follow(url)
        try:
            yield self._judge(response)
        finally:
            response.close()

    async def _follow(self, url: str) -> aiohttp.ClientResponse:
        link = check_link(url, self._rules)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._get(link)
            if response.status not in REDIRECTS:
                return response
            response.close()
            link = check_link(response.headers.get("Location", ""), self._rules, base=link)
        raise LinkBroken(f"{link.host}: more than {MAX_REDIRECTS} redirects")

    async def _get(self, link: URL) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._session.get(link, allow_redirects=False, headers={"Accept-Encoding": "identity"})
        except (*NETWORK, ValueError) as error:
            reason = describe(error, self._timeout_s)
        raise LinkBroken(f"{link.host}: {reason}")

    def _judge(self, response: aiohttp.ClientResponse) -> Download:
        host = response.url.host
        if response.status in {401, 403, 404, 410}:
            raise LinkBroken(f"{host} answered {response.status}: the link has expired, or the result is gone")
        if response.status != 200:
            raise LinkBroken(f"{host} answered {response.status}")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise LinkBroken(f"{host} sent a compressed result, which was not asked for")
        is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        expected_bytes = None if is_chunked else response.content_length
        if expected_bytes is not None and expected_bytes > self._rules.max_bytes:
            raise self._too_large(host)
        return Download(is_chunked or expected_bytes is not None, self._blocks(response))

    async def _blocks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        host, received, waited_s = response.url.host, 0, 0.0
        while True:
            asked_at = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._timeout_s):
                    block = await response.content.read(BLOCK_BYTES)
            except NETWORK as error:
                reason = describe(error, self._timeout_s)
                break
            if not block:
                return
            received += len(block)
            # Only the time spent waiting for the peer: a slow disk of ours is not its fault.
            waited_s += self._clock.monotonic() - asked_at
            if received > self._rules.max_bytes:
                raise self._too_large(host)
            if waited_s > self._timeout_s and received < MIN_BYTES_PER_S * waited_s:
                reason = f"slower than {MIN_BYTES_PER_S} bytes a second"
                break
            yield block
        raise LinkBroken(f"{host}: {reason} (after {received} bytes)")

    def _too_large(self, host: str | None) -> LinkBroken:
        return LinkBroken(f"{host}: the result is larger than {self._rules.max_bytes} bytes (api.download.max_bytes)")


def check_link(url: str, rules: DownloadRules, base: URL | None = None) -> URL:
    """
    Judge a link by what it says; the addresses of its host are judged on connecting.

    Errors: LinkBroken, without the link's query.
    """
    try:
        # A signature covers the link as it is written; only one that no request line can hold is quoted anew.
        link = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
        if base is not None:
            link = base.join(link)
        host, _ = link.host, link.port
    except ValueError:
        raise LinkBroken("the result link is not a URL") from None
    if link.scheme not in {"http", "https"} or not host:
        raise LinkBroken("the result link is not an https URL")
    if link.scheme == "http" and not rules.allow_http:
        raise LinkBroken(f"{host}: the result link is not https (api.download.allow_http)")
    if link.raw_user is not None or link.raw_password is not None:
        raise LinkBroken(f"{host}: the result link holds a user name")
    if rules.hosts is not None and not _is_listed(host, rules.hosts):
        raise LinkBroken(f"{host}: not among the hosts that results may come from (api.download.hosts)")
    if not rules.allow_private and not is_public_literal(host):
        raise LinkBroken(f"{host}: it is a private or local address (api.download.allow_private)")
    return link


def _is_listed(host: str, hosts: tuple[str, ...]) -> bool:
    name = host.lower().rstrip(".")
    return any(name.endswith(entry[1:]) if entry.startswith("*.") else name == entry for entry in hosts)
