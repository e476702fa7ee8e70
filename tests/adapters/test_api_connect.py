"""Connections to BulkGPT: who gets the key, who is trusted, and what a person reads when there is none."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulkgpt_watchd.adapters.api import HttpApi
from bulkgpt_watchd.adapters.api_trouble import describe
from bulkgpt_watchd.core.errors import Denied, ReplyNotUnderstood, StateUnusable, Unavailable, WatchdError
from tests.adapters.conftest import KEY, PassPoint, make_api, upload_of
from tests.adapters.loopback import Exchange, Loopback

CSV = b"Input_1\n1\n"

Call = Callable[[HttpApi], Awaitable[Any]]


async def submit(api: HttpApi) -> str:
    return await api.submit(upload_of(CSV), PassPoint())


async def ask(api: HttpApi) -> str:
    return (await api.status("task-1")).word


both = pytest.mark.parametrize("call", [submit, ask])


async def be_bulkgpt(exchange: Exchange) -> None:
    await exchange.read()
    if "upload" in exchange.request_line:
        await exchange.reply(200, b'{"taskId": "task-1"}')
    else:
        await exchange.reply(200, b'{"status": {"status": "inProgress"}}')


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_status_call_carries_the_task_and_the_key() -> None:
    async with Loopback(be_bulkgpt) as server, make_api(server.url) as api:
        status = await api.status("MTcyNjAz/+==")

    (exchange,) = server.exchanges
    assert exchange.request_line == "POST /status HTTP/1.1"
    assert exchange.headers["x-api-key"] == KEY
    assert exchange.headers["content-type"] == "application/json"
    assert json.loads(exchange.body) == {"taskId": "MTcyNjAz/+=="}
    assert (status.word, status.phase, status.download_url) == ("inProgress", "running", None)


async def test_status_calls_keep_their_connection() -> None:
    async with Loopback(be_bulkgpt) as server, make_api(server.url) as api:
        for _ in range(3):
            await api.status("task-1")

    assert server.connections == 1


@pytest.mark.fault("F7")
@both
async def test_a_refused_connection_is_told_in_plain_words(call: Call) -> None:
    async with make_api(f"http://127.0.0.1:{unused_port()}") as api:
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1: connection refused$"):
            await call(api)


@pytest.mark.fault("F7")
@both
async def test_a_name_that_nobody_knows_is_told_in_plain_words(call: Call) -> None:
    async with make_api("http://bulkgpt.invalid") as api:
        with pytest.raises(Unavailable, match=r"^bulkgpt\.invalid: its name cannot be resolved$"):
            await call(api)


@both
async def test_a_server_without_tls_is_told_in_plain_words(call: Call) -> None:
    async def say_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(say_no, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, make_api(f"https://127.0.0.1:{port}") as api:
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1: TLS failed$"):
            await call(api)


def tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.fault("S24")
@both
async def test_a_certificate_that_nobody_vouches_for_is_refused(call: Call, certificate: Path) -> None:
    async with Loopback(be_bulkgpt, tls=tls_of(certificate)) as server, make_api(server.url) as api:
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1: its certificate is not trusted \(self"):
            await call(api)

    assert server.exchanges == []


@both
async def test_a_ca_file_makes_its_certificates_trusted(call: Call, certificate: Path) -> None:
    async with (
        Loopback(be_bulkgpt, tls=tls_of(certificate)) as server,
        make_api(server.url, ca_file=str(certificate)) as api,
    ):
        assert await call(api) in {"task-1", "inProgress"}


async def test_a_large_body_goes_through_tls_whole(certificate: Path) -> None:
    csv = bytes(range(256)) * 4096
    async with (
        Loopback(be_bulkgpt, tls=tls_of(certificate)) as server,
        make_api(server.url, ca_file=str(certificate)) as api,
    ):
        assert await api.submit(upload_of(csv), PassPoint()) == "task-1"

    assert json.loads(server.exchanges[0].body)


@pytest.mark.fault("S24")
async def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    async with (
        Loopback(be_bulkgpt, host="127.0.0.2", tls=tls_of(certificate)) as server,
        make_api(server.url, ca_file=str(certificate)) as api,
    ):
        with pytest.raises(Unavailable, match=r"certificate is not trusted \(IP address mismatch"):
            await api.status("task-1")


@pytest.mark.fault("S24")
async def test_a_tls_older_than_1_2_is_refused(certificate: Path) -> None:
    context = tls_of(certificate)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with Loopback(be_bulkgpt, tls=context) as server, make_api(server.url, ca_file=str(certificate)) as api:
        with pytest.raises(Unavailable, match=r"TLS failed|connection"):
            await api.status("task-1")


async def test_a_ca_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        async with make_api("https://127.0.0.1:1", ca_file=str(tmp_path / "none.pem")):
            pass


@pytest.mark.fault("S15")
@both
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_of_a_call_is_not_followed_with_the_key(call: Call, status: int) -> None:
    """Left to itself, aiohttp would take `x-api-key` along to another origin."""

    async def redirect(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.reply(status, headers={"Location": f"{other.url}/steal"})

    async with (
        Loopback(be_bulkgpt, host="127.0.0.2") as other,
        Loopback(redirect) as server,
        make_api(server.url) as api,
    ):
        with pytest.raises(Denied):
            await call(api)

    assert other.connections == 0


@pytest.mark.fault("S18")
@both
async def test_the_environment_names_no_proxy(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    async with Loopback(be_bulkgpt) as server, make_api(server.url) as api:
        await call(api)

    assert len(server.exchanges) == 1


@both
async def test_a_configured_proxy_is_used(call: Call) -> None:
    async with Loopback(be_bulkgpt) as proxy, make_api("http://bulkgpt.invalid", proxy=proxy.url) as api:
        await call(api)

    assert proxy.exchanges[0].request_line.startswith("POST http://bulkgpt.invalid/")


@both
async def test_a_proxy_that_refuses_is_told_in_plain_words(call: Call) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.reply(407)

    async with Loopback(refuse) as proxy:
        proxy_url = proxy.url.replace("//", "//user:proxy-password@")
        async with make_api("https://bulkgpt.invalid", proxy=proxy_url) as api:
            with pytest.raises(Unavailable, match=r"^bulkgpt\.invalid: the proxy answered 407$"):
                await call(api)

    assert proxy.exchanges[0].request_line == "CONNECT bulkgpt.invalid:443 HTTP/1.1"
    assert "x-api-key" not in proxy.exchanges[0].headers


@both
async def test_a_proxy_that_is_away_is_told_as_the_proxy(call: Call) -> None:
    async with make_api("https://bulkgpt.invalid", proxy=f"http://127.0.0.1:{unused_port()}") as api:
        with pytest.raises(Unavailable, match=r"^bulkgpt\.invalid: the proxy: connection refused$"):
            await call(api)


@pytest.mark.parametrize(
    "error", [ConnectionResetError(errno.ECONNRESET, "x"), ConnectionResetError(), aiohttp.ClientOSError(None, "x")]
)
def test_a_connection_that_broke_is_told_in_one_way(error: OSError) -> None:
    """Kernel, asyncio and aiohttp each see it first, by chance; another reason would be logged anew."""
    assert describe(error, 1) == "connection reset by peer"


async def test_a_status_call_that_hangs_is_given_up() -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    async with Loopback(hang) as server, make_api(server.url, timeout_s=0.2) as api:
        with pytest.raises(Unavailable, match=r"no progress for 0\.2 s"):
            await api.status("task-1")


@pytest.mark.fault("F18", "S20")
async def test_a_status_answer_that_drips_is_given_up() -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.head(200, {"Content-Length": "1000"})
        while True:
            await exchange.send(b" ")
            await asyncio.sleep(0.02)

    async with Loopback(drip) as server, make_api(server.url, timeout_s=0.2) as api:
        with pytest.raises(WatchdError):
            await api.status("task-1")


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"status": ' * 100_000, b"<html>", b"", b"\xff\xfe", b"9" * 5000])
async def test_an_answer_that_is_not_bulkgpts_is_not_understood(body: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.reply(200, body)

    async with Loopback(answer) as server, make_api(server.url) as api:
        with pytest.raises(ReplyNotUnderstood):
            await api.status("task-1")


@pytest.mark.fault("S18")
async def test_no_cookie_is_kept() -> None:
    async def bake(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.reply(200, b'{"status": {"status": "preparing"}}', {"Set-Cookie": "session=1"})

    async with Loopback(bake) as server, make_api(server.url) as api:
        await api.status("task-1")
        await api.status("task-1")

    assert "cookie" not in server.exchanges[1].headers


async def test_a_changed_key_is_used_from_the_next_call_on() -> None:
    keys, told = [KEY], list[str]()

    async with (
        Loopback(be_bulkgpt) as server,
        make_api(server.url, read_key=lambda: keys[-1], on_key=told.append) as api,
    ):
        await api.status("task-1")
        assert not await api.reload_key()
        keys.append("another-key-9876543210")
        assert await api.reload_key()
        await api.status("task-1")
        assert not await api.reload_key()

    assert [exchange.headers["x-api-key"] for exchange in server.exchanges] == keys
    assert set(told) == set(keys)


@pytest.mark.parametrize("error", [StateUnusable("not now"), FileNotFoundError(2, "away")])
async def test_a_key_that_cannot_be_read_leaves_the_old_one(error: Exception) -> None:
    is_away = False

    def read_key() -> str:
        if is_away:
            raise error
        return KEY

    async with Loopback(be_bulkgpt) as server, make_api(server.url, read_key=read_key) as api:
        is_away = True
        assert not await api.reload_key()
        await api.status("task-1")

    assert server.exchanges[0].headers["x-api-key"] == KEY


@pytest.mark.fault("S25")
@both
@pytest.mark.parametrize("fate", ["reset", "garbage", "hang", "status"])
async def test_no_exception_holds_the_key(call: Call, fate: str) -> None:
    """Not in the text, the repr, the traceback, nor in anything that is chained to it and would be shown."""

    async def fail(exchange: Exchange) -> None:
        await exchange.read()
        match fate:
            case "reset":
                exchange.reset()
            case "garbage":
                await exchange.send(b"no HTTP at all\r\n\r\n")
            case "hang":
                await exchange.hang()
            case "status":
                await exchange.reply(500)

    async with Loopback(fail) as server, make_api(server.url, timeout_s=0.2, answer_timeout_s=0.2) as api:
        assert KEY not in repr(api)
        with pytest.raises(WatchdError) as caught:
            await call(api)

    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told + repr(caught.value)
    assert "headers" not in told


@pytest.mark.fault("S25")
@both
async def test_no_exception_that_nobody_foresaw_holds_the_key(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is kept as the job's reason, and shown."""

    def fail(*_: object, headers: dict[str, str], **__: object) -> None:
        raise LookupError(headers)

    async with make_api("http://127.0.0.1:1") as api:
        monkeypatch.setattr("aiohttp.ClientSession.post", fail)
        with pytest.raises(LookupError, match=r"'x-api-key': '\*\*\*'") as caught:
            await call(api)

    assert KEY not in str(caught.value)
