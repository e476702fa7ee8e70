"""
Speak with BulkGPT over HTTP; `core.wire` knows what the bytes mean.

Three sessions. Submits: a connection that was idle for longer than a second is not used, since a server that closes
it just then would look like a lost answer. Status calls: connections are kept. Downloads: no key, no cookies, and the
checks of `api_guard`. No session reads the environment, none follows a redirect by itself, and the key is added to
each call of the API, so that nothing else can carry it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from bulkgpt_watchd import __version__
from bulkgpt_watchd.adapters.api_download import DownloadRules, Downloads
from bulkgpt_watchd.adapters.api_guard import public_socket
from bulkgpt_watchd.adapters.api_trouble import NETWORK, describe
from bulkgpt_watchd.adapters.api_upload import UploadBody
from bulkgpt_watchd.core.errors import OutcomeUnknown, Unavailable, WatchdError
from bulkgpt_watchd.core.names import hidden
from bulkgpt_watchd.core.ports import Clock, Download, PassPoint, Upload
from bulkgpt_watchd.core.wire import (
    KEY_HEADER,
    MAX_REPLY_BYTES,
    STATUS_PATH,
    UPLOAD_PATH,
    Reply,
    TaskStatus,
    read_status_reply,
    read_submit_reply,
    status_request,
)

__all__ = ["DownloadRules", "HttpApi"]

SUBMIT_IDLE_S = 1.0
"""How long a submit's connection may have been idle; the shortest idle close of common servers is 5 s."""


class HttpApi:
    """
    Be `core.ports.Api` over aiohttp.

    Shape: *read_key* gives the API key; it may block. *on_key* is told each key that was read, so that the log can
        hide it. *ca_file* replaces the system's certificate authorities.
    Units: *timeout_s*: no progress on one request for so long; *answer_timeout_s*: for the answer to a submit.
    """

    def __init__(  # noqa: PLR0913  # plain values, each by its name
        self,
        *,
        base_url: str,
        read_key: Callable[[], str],
        timeout_s: float,
        answer_timeout_s: float,
        download: DownloadRules,
        clock: Clock,
        proxy: str | None = None,
        ca_file: str | None = None,
        on_key: Callable[[str], None] = lambda _key: None,
    ) -> None:
        self._base_url = base_url
        self._host = URL(base_url).host
        self._read_key = read_key
        self._timeout_s = timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._rules = download
        self._clock = clock
        self._proxy = proxy
        self._ca_file = ca_file
        self._on_key = on_key
        self._key = ""
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """
        Read the key and open the sessions.

        Errors: what *read_key* raises; OSError: the CA file cannot be used.
        """
        await self._take_key()
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._submits = await self._open(aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=SUBMIT_IDLE_S))
        self._statuses = await self._open(aiohttp.TCPConnector(ssl=context, limit=0))
        # Through a proxy we connect to the proxy alone, often at a private address: it is the one that can check.
        is_guarded = self._proxy is None and not self._rules.allow_private
        connector = aiohttp.TCPConnector(ssl=context, limit=0, socket_factory=public_socket if is_guarded else None)
        session = await self._open(connector, is_api=False)
        self._downloads = Downloads(session, self._rules, self._timeout_s, self._clock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def submit(self, upload: Upload, pass_point: PassPoint) -> str:
        """See `core.ports.Api`."""
        body = UploadBody(upload, self._timeout_s)
        call = asyncio.create_task(self._post_upload(body))
        try:
            ends: set[asyncio.Future[Any]] = {call, body.at_point}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not call.done() and not body.is_answered:
                # In our own task: what it raises arrives unwrapped, and the connection's end does not cut it short.
                await pass_point()
                body.release()
            await asyncio.wait({call}, timeout=self._answer_timeout_s)
            reply = self._outcome(call, body)
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            if call.cancelled() or call.exception() is not None:
                body.abort()
        return read_submit_reply(reply, passed=body.has_passed, now=self._clock.now())

    async def status(self, task_id: str) -> TaskStatus:
        """See `core.ports.Api`."""
        try:
            with self._discretion():
                call = self._post(self._statuses, STATUS_PATH, status_request(task_id))
                async with asyncio.timeout(self._timeout_s), call as response:
                    reply = await self._read_reply(response)
        except NETWORK as error:
            reason = describe(error, self._timeout_s)
        else:
            return read_status_reply(reply, now=self._clock.now())
        raise Unavailable(f"{self._host}: {reason}")

    def download(self, url: str) -> AbstractAsyncContextManager[Download]:
        """See `core.ports.Api`."""
        return self._downloads.open(url)

    async def reload_key(self) -> bool:
        """See `core.ports.Api`."""
        old = self._key
        try:
            await self._take_key()
        except (WatchdError, OSError):
            return False
        return self._key != old

    async def _take_key(self) -> None:
        self._key = await asyncio.to_thread(self._read_key)
        self._on_key(self._key)

    async def _open(self, connector: aiohttp.TCPConnector, *, is_api: bool = True) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Only ours: for whole transfers there is no sensible limit, so each step is bounded where it is awaited.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._timeout_s),
            proxy=self._proxy,
            auto_decompress=is_api,
            headers={"User-Agent": f"bulkgpt-watchd/{__version__}"} if is_api else None,
        )
        return await self._closing.enter_async_context(session)

    def _post(
        self, session: aiohttp.ClientSession, path: str, data: bytes | UploadBody
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {KEY_HEADER: self._key, "Accept-Encoding": "identity", "Content-Type": "application/json"}
        return session.post(self._base_url + path, data=data, headers=headers, allow_redirects=False)

    async def _post_upload(self, body: UploadBody) -> Reply:
        with self._discretion():
            async with self._post(self._submits, UPLOAD_PATH, body) as response:
                body.is_answered = True
                return await self._read_reply(response)

    @contextmanager
    def _discretion(self) -> Iterator[None]:
        """Take the key out of an exception that nobody foresaw: its text is kept as the job's reason."""
        try:
            yield
        except (*NETWORK, WatchdError):
            raise  # told in words of ours
        except Exception as error:
            error.args = (hidden(str(error), self._key),)
            raise

    async def _read_reply(self, response: aiohttp.ClientResponse) -> Reply:
        """Read a reply, or as much as there is of it: its code alone often says enough."""
        body, is_cut = bytearray(), False
        try:
            async with asyncio.timeout(self._timeout_s):
                while len(body) <= MAX_REPLY_BYTES and (block := await response.content.readany()):
                    body += block
        except NETWORK:
            is_cut = True
        headers = {name.lower(): value for name, value in response.headers.items()}
        is_cut = is_cut or len(body) > MAX_REPLY_BYTES
        key = response.request_info.headers[KEY_HEADER]  # self._key may be another by now
        return Reply(response.status, headers, bytes(body[:MAX_REPLY_BYTES]), truncated=is_cut, secret=key)

    def _outcome(self, call: asyncio.Task[Reply], body: UploadBody) -> Reply:
        """
        Give the reply to a submit, or why there is none.

        Errors: Unavailable, OutcomeUnknown, and what `read` raised.
        """
        error = call.exception() if call.done() else TimeoutError()
        if error is None:
            return call.result()
        if body.has_passed:
            patience_s = self._timeout_s if call.done() else self._answer_timeout_s
            cause = None if isinstance(error, NETWORK) else error  # a bug of ours is worth its traceback
            raise OutcomeUnknown(f"{self._host}: the file was sent, but {describe(error, patience_s)}") from cause
        if body.failure is not None:
            raise body.failure
        if isinstance(error, NETWORK):
            raise Unavailable(f"{self._host}: {describe(error, self._timeout_s)}")
        raise error
