"""Ask BulkGPT a free question, about a task that cannot be, and read from the answer whether a submit could work."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from bulkgpt_watchd.adapters.api import DownloadRules, HttpApi
from bulkgpt_watchd.adapters.clock import SystemClock
from bulkgpt_watchd.cli.doctor.finding import Finding, fail, ok, warn
from bulkgpt_watchd.config import ApiSettings
from bulkgpt_watchd.core.errors import Denied, ReplyNotUnderstood, TaskNotKnown, Unavailable
from bulkgpt_watchd.core.names import printable

TASK_ID = "bulkgpt-watchd-doctor-no-such-task"
"""No task of BulkGPT: its IDs are base64 of a time. Asking about a task is free."""

PATIENCE_S = 20.0
"""How long a person waits for an answer; the daemon itself waits for `api.timeout`."""


def check_online(api: ApiSettings, key: str) -> Iterator[Finding]:
    """Tell how far a call gets: name, connection, TLS, BulkGPT, key."""
    address = urlsplit(api.base_url)
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    if api.proxy is None:
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except OSError as error:
            text = f"the name {host} cannot be resolved: {error.strerror}"
            yield fail("dns", text, "correct api.base_url, /etc/resolv.conf or the network; or set api.proxy")
            return
        yield ok("dns", f"{host} is {', '.join(sorted(found))}")
    else:
        yield ok("dns", "left to api.proxy")
    yield asyncio.run(_ask(api, key, address.scheme))


async def _ask(api: ApiSettings, key: str, scheme: str) -> Finding:
    download = DownloadRules(hosts=None, allow_private=False, allow_http=False, max_bytes=0)
    settings = {
        "base_url": api.base_url,
        "timeout_s": min(api.timeout, PATIENCE_S),
        "answer_timeout_s": min(api.timeout, PATIENCE_S),
    }
    try:
        async with HttpApi(
            **settings,  # type: ignore[arg-type]  # plain values by their names
            read_key=lambda: key,
            download=download,
            clock=SystemClock(),
            proxy=api.proxy,
            ca_file=None if api.ca_file is None else str(api.ca_file),
        ) as bulkgpt:
            return await _answer(bulkgpt, api, "TLS and key" if scheme == "https" else "key")
    except OSError as error:
        return fail("api", f"api.ca_file cannot be used: {error.strerror or error}", "correct api.ca_file")


async def _answer(bulkgpt: HttpApi, api: ApiSettings, fine: str) -> Finding:
    where = printable(api.base_url)
    try:
        await bulkgpt.status(TASK_ID)
    except TaskNotKnown as error:
        return ok("api", f"{where} answers, {fine} accepted (asked about no task, free; it says: {error})")
    except Denied as denied:
        if denied.http_status in {401, 403} or denied.api_message is not None:
            return fail(
                "api", f"the key or the account is refused: {denied}", "put the right key where `api key` above is from"
            )
        text = f"{where} answers as if it were not BulkGPT: {denied}"
        return fail("api", text, "correct api.base_url, or the proxy in between")
    except ReplyNotUnderstood as error:
        return fail("api", f"{where} is not BulkGPT: {error}", "correct api.base_url, or the proxy in between")
    except Unavailable as error:
        return fail("api", str(error), _fix_of(str(error)))
    return warn("api", f"{where} answers, but knows a task that cannot be; is it BulkGPT?")


def _fix_of(reason: str) -> str:
    if "certificate" in reason or "TLS" in reason:
        return "set api.ca_file if a company's proxy signs; else correct the clock or api.base_url"
    return "look at the network, a firewall, api.proxy; BulkGPT itself may be down: the daemon waits and tries again"
