"""Downloads: what is fetched, what is refused, and that the key stays at home."""

from __future__ import annotations

import asyncio
import gzip
import socket
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bulkgpt_watchd.adapters.api import DownloadRules, HttpApi
from bulkgpt_watchd.adapters.api_download import Downloads
from bulkgpt_watchd.adapters.api_guard import public_socket
from bulkgpt_watchd.adapters.clock import SystemClock
from bulkgpt_watchd.core.errors import LinkBroken
from tests.adapters.conftest import EVERYTHING, KEY, make_api
from tests.adapters.loopback import Exchange, Loopback, Script

RESULT = b"Input_1,Output_1\n1,one\n"
NOTHING = DownloadRules(hosts=None, allow_private=False, allow_http=True, max_bytes=1_000_000)
QUERY = "/r.csv?X-Amz-Signature=secret"
HOME = "https://127.0.0.1:1"  # the API's address, which no download goes to


async def fetch(api: HttpApi, url: str) -> bytes:
    async with api.download(url) as download:
        return b"".join([block async for block in download.blocks])


def serve(status: int, body: bytes = b"", **headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    return script


@pytest.mark.fault("S18")
async def test_a_result_is_fetched_without_key_or_cookie() -> None:
    async with Loopback(serve(200, RESULT, Set_Cookie="a=1")) as store, make_api(HOME) as api:
        for _ in range(2):
            async with api.download(f"{store.url}/r.csv?X-Amz-Signature=a%2Fb%20c%2b") as download:
                assert download.is_delimited
                assert b"".join([block async for block in download.blocks]) == RESULT

    for exchange in store.exchanges:
        assert exchange.request_line == "GET /r.csv?X-Amz-Signature=a%2Fb%20c%2b HTTP/1.1"
        assert exchange.headers["accept-encoding"] == "identity"
        assert not {"x-api-key", "cookie", "authorization"} & exchange.headers.keys()
        assert KEY not in str(exchange.headers)


async def test_a_link_that_no_request_line_can_hold_is_quoted() -> None:
    async with Loopback(serve(200, RESULT)) as store, make_api(HOME) as api:
        assert await fetch(api, f"{store.url}/Ergebnis für A.csv") == RESULT

    assert store.exchanges[0].request_line == "GET /Ergebnis%20f%C3%BCr%20A.csv HTTP/1.1"


async def test_a_chunked_result_has_an_end_but_no_length() -> None:
    chunks = b"3\r\na,b\r\n1\r\n\n\r\n0\r\n\r\n"
    script = serve(200, chunks, Transfer_Encoding="chunked")
    async with Loopback(script) as store, make_api(HOME) as api, api.download(store.url) as download:
        assert download.is_delimited
        assert b"".join([block async for block in download.blocks]) == b"a,b\n"


@pytest.mark.fault("F16")
async def test_a_result_without_length_is_told_as_such() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head(200)
        await exchange.send(RESULT)
        exchange.close()

    async with Loopback(script) as store, make_api(HOME) as api, api.download(store.url) as download:
        assert not download.is_delimited
        assert b"".join([block async for block in download.blocks]) == RESULT


async def test_an_empty_result_is_left_to_others_to_judge() -> None:
    async with Loopback(serve(200)) as store, make_api(HOME) as api:
        assert await fetch(api, store.url) == b""


@pytest.mark.fault("F14")
@pytest.mark.parametrize("status", [403, 404, 410])
async def test_an_expired_link_is_told(status: int) -> None:
    async with Loopback(serve(status, b"<Error/>")) as store, make_api(HOME) as api:
        with pytest.raises(LinkBroken, match=rf"^127\.0\.0\.1 answered {status}: the link has expired"):
            await fetch(api, f"{store.url}/r.csv?X-Amz-Signature=secret")


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 429, 500, 503])
async def test_any_other_answer_than_200_is_no_result(status: int) -> None:
    async with Loopback(serve(status)) as store, make_api(HOME) as api:
        with pytest.raises(LinkBroken, match=f"answered {status}"):
            await fetch(api, store.url)


@pytest.mark.fault("S19")
async def test_a_compressed_result_is_refused_before_a_byte_is_read() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with Loopback(serve(200, bomb, Content_Encoding="gzip")) as store, make_api(HOME) as api:
        with pytest.raises(LinkBroken, match="compressed"):
            await fetch(api, store.url)


async def cut(exchange: Exchange) -> None:
    await exchange.head(200, {"Content-Length": "100"})
    await exchange.send(RESULT)
    exchange.close()


async def cut_chunks(exchange: Exchange) -> None:
    await exchange.head(200, {"Transfer-Encoding": "chunked"})
    await exchange.send(b"3\r\na,b\r\n")
    exchange.close()


async def reset(exchange: Exchange) -> None:
    await exchange.head(200, {"Content-Length": "100"})
    await exchange.send(RESULT)
    await asyncio.sleep(0.05)
    exchange.reset()


async def stall(exchange: Exchange) -> None:
    await exchange.head(200, {"Content-Length": "100"})
    await exchange.send(RESULT)
    await exchange.hang()


async def drip(exchange: Exchange) -> None:
    await exchange.head(200, {"Content-Length": "100000"})
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


async def hang(exchange: Exchange) -> None:
    await exchange.hang()


async def drip_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X-A: b\r\n")
        await asyncio.sleep(0.05)


async def endless_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X-A: b\r\n" * 1000)


async def endless(exchange: Exchange) -> None:
    await exchange.head(200)
    while True:
        await exchange.send(b"x" * 100_000)


async def announce_much(exchange: Exchange) -> None:
    await exchange.head(200, {"Content-Length": "1000001"})
    await exchange.hang()


async def no_http(exchange: Exchange) -> None:
    await exchange.send(b"220 ready\r\n\r\n")
    await exchange.hang()


@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (cut, "the answer was cut short (after 23 bytes)"),
        (cut_chunks, "the answer was cut short (after 3 bytes)"),
        (reset, "(after 23 bytes)"),
        (stall, "no progress for 0.3 s (after 23 bytes)"),
        (drip, "slower than 1024 bytes a second"),
        (hang, "no progress for 0.3 s"),
        (drip_headers, "no progress for 0.3 s"),
        (endless_headers, "the answer is not HTTP"),
        (endless, "larger than 1000000 bytes"),
        (announce_much, "larger than 1000000 bytes"),
        (no_http, "the answer is not HTTP"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_body_that_does_not_come_whole_breaks_the_link(script: Script, words: str) -> None:
    async with Loopback(script) as store, make_api(HOME, timeout_s=0.3) as api:
        with pytest.raises(LinkBroken) as caught:
            await fetch(api, store.url + QUERY)

    assert str(caught.value).startswith("127.0.0.1: ")
    assert words in str(caught.value)
    assert QUERY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


async def test_a_slow_reader_of_ours_does_not_break_the_link() -> None:
    """Only the time that the peer lets us wait counts."""
    body = b"x" * 900_000
    async with Loopback(serve(200, body)) as store, make_api(HOME, timeout_s=0.1) as api:
        received = 0
        async with api.download(store.url) as download:
            async for block in download.blocks:
                received += len(block)
                await asyncio.sleep(0.05)

    assert received == len(body)


async def test_what_the_reader_raises_arrives_as_it_is() -> None:
    async with Loopback(serve(200, RESULT)) as store, make_api(HOME) as api:
        with pytest.raises(KeyError):
            async with api.download(store.url):
                raise KeyError


async def test_redirects_are_followed_by_hand_without_the_key() -> None:
    async def script(exchange: Exchange) -> None:
        hop = int(exchange.request_line.split()[1].strip("/") or 0)
        if hop < 3:
            target = f"/{hop + 1}" if hop else f"{other.url}/1"
            await exchange.reply(302, headers={"Location": target})
        else:
            await exchange.reply(200, RESULT)

    async with Loopback(script, host="127.0.0.2") as other, Loopback(script) as store, make_api(HOME) as api:
        assert await fetch(api, store.url) == RESULT

    assert len(other.exchanges) == 3
    assert all("x-api-key" not in exchange.headers for exchange in other.exchanges + store.exchanges)


async def test_more_than_three_redirects_break_the_link() -> None:
    async with Loopback(serve(302, Location="/again")) as store, make_api(HOME) as api:
        with pytest.raises(LinkBroken, match="more than 3 redirects"):
            await fetch(api, store.url)

    assert len(store.exchanges) == 4


STRANGE = [
    ("file:///etc/passwd", "not an https URL"),
    ("gopher://example.com/", "not an https URL"),
    ("ftp://example.com/r.csv", "not an https URL"),
    ("//example.com/r.csv", "not an https URL"),
    ("/etc/passwd", "not an https URL"),
    ("", "not an https URL"),
    ("https://", "not a"),
    ("https:///r.csv", "not a"),
    ("https://[::1", "not a URL"),
    ("https://example.com:99999/", "not a URL"),
    ("https://example.com:port/", "not a URL"),
    ("javascript:alert(1)", "not an https URL"),
    ("data:text/csv,a", "not an https URL"),
    ("http://example.com/r.csv?sig=secret", "example.com: the result link is not https"),
    ("https://user:secret@example.com/", "example.com: the result link holds a user name"),
    ("https://api.bulkgpt.ai@example.com/", "example.com: the result link holds a user name"),
    ("https://example.com\\@evil.example/", "not a URL"),
    ("https://:@example.com/", "holds a user name"),
]


@pytest.mark.fault("S16")
@pytest.mark.parametrize(("url", "words"), STRANGE)
async def test_a_link_that_is_no_plain_https_url_is_refused(url: str, words: str) -> None:
    async with make_api(HOME, download=replace(NOTHING, allow_http=False)) as api:
        with pytest.raises(LinkBroken) as caught:
            await fetch(api, url)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.fault("S16")
@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://example.com/", "https://a@example.com/", ""])
async def test_a_redirect_is_judged_like_a_link(target: str) -> None:
    rules = replace(EVERYTHING, hosts=("127.0.0.1",))
    async with Loopback(serve(302, Location=target)) as store, make_api(HOME, download=rules) as api:
        with pytest.raises(LinkBroken):
            await fetch(api, store.url)

    assert len(store.exchanges) in {1, 4}  # an empty target leads to the same place


PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[2002:7f00:1::]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[2001:db8::1]",
]


@pytest.mark.fault("S16")
@pytest.mark.parametrize("host", PRIVATE)
async def test_no_result_is_fetched_from_a_private_or_local_address(host: str) -> None:
    async with make_api(HOME, download=NOTHING, timeout_s=1) as api:
        with pytest.raises(LinkBroken, match="private or local address"):
            await fetch(api, f"http://{host}/latest/meta-data/")


@pytest.mark.fault("S16")
@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "localhost", "localhost."]
)
async def test_no_other_spelling_of_a_local_address_is_reached(host: str) -> None:
    async with Loopback(serve(200, RESULT)) as store, make_api(HOME, download=NOTHING, timeout_s=1) as api:
        with pytest.raises(LinkBroken):
            await fetch(api, f"http://{host}:{store.port}/")

    assert store.connections == 0


async def test_a_redirect_to_a_host_that_is_not_listed_is_refused() -> None:
    rules = replace(EVERYTHING, hosts=("127.0.0.1",))
    async with (
        Loopback(serve(200, RESULT), host="127.0.0.2") as inside,
        Loopback(serve(302, Location=inside.url)) as store,
        make_api(HOME, download=rules) as api,
    ):
        with pytest.raises(LinkBroken, match=r"127\.0\.0\.2: not among the hosts"):
            await fetch(api, store.url)

    assert inside.connections == 0


class Rebinding(AbstractResolver):
    """Answer with a public address first, with a local one ever after, as a hostile name server would."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        address = self.addresses[min(self.asked, len(self.addresses)) - 1]
        result = ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
        return [result]

    async def close(self) -> None:
        pass


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Downloads, Rebinding]]:
    resolver = Rebinding("127.0.0.1")
    connector = aiohttp.TCPConnector(socket_factory=public_socket, resolver=resolver, use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Downloads(session, NOTHING, 0.3, SystemClock()), resolver


@pytest.mark.fault("S17")
async def test_a_name_is_judged_by_the_address_that_is_connected_to(guarded: tuple[Downloads, Rebinding]) -> None:
    """Checked while the socket is made, so that no second answer of the name's server comes in between."""
    downloads, resolver = guarded
    async with Loopback(serve(200, RESULT)) as inside:
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "::1", "fe80::1%1"):
            resolver.addresses = [address]
            with pytest.raises(LinkBroken, match=r"^store\.example: it leads to a private or local address$"):
                async with downloads.open(f"http://store.example:{inside.port}/r.csv?sig=secret"):
                    pass

    assert inside.connections == 0
    assert resolver.asked == 4


@pytest.mark.parametrize(
    ("host", "hosts", "is_listed"),
    [
        ("127.0.0.1", ("127.0.0.1",), True),
        ("localhost", ("127.0.0.1",), False),
        ("LOCALHOST", ("localhost",), True),
        ("localhost", ("*.localhost",), False),
        ("localhost", ("host", "local"), False),
        ("localhost", (), False),
    ],
)
async def test_only_listed_hosts_are_asked(host: str, hosts: tuple[str, ...], *, is_listed: bool) -> None:
    rules = replace(EVERYTHING, hosts=hosts)
    async with Loopback(serve(200, RESULT)) as store, make_api(HOME, download=rules) as api:
        if is_listed:
            assert await fetch(api, f"http://{host}:{store.port}/") == RESULT
        else:
            with pytest.raises(LinkBroken, match="not among the hosts"):
                await fetch(api, f"http://{host}:{store.port}/")

    assert store.connections == is_listed


@pytest.mark.parametrize(
    ("host", "is_listed"),
    [
        ("store.example.com", True),
        ("STORE.example.com.", True),
        ("a.b.example.com", True),
        ("example.com", False),
        ("evilexample.com", False),
        ("example.com.evil", False),
    ],
)
def test_a_pattern_lists_what_is_below_a_name(host: str, *, is_listed: bool) -> None:
    from bulkgpt_watchd.adapters.api_download import check_link

    rules = replace(NOTHING, hosts=("*.example.com",))
    if is_listed:
        assert check_link(f"https://{host}/", rules).host == host.lower()
    else:
        with pytest.raises(LinkBroken, match="not among the hosts"):
            check_link(f"https://{host}/", rules)


async def test_a_proxy_is_asked_for_results_too_but_never_for_a_private_literal() -> None:
    """Behind a proxy only the proxy knows the address; its own is usually private."""
    async with Loopback(serve(200, RESULT)) as proxy, make_api(HOME, download=NOTHING, proxy=proxy.url) as api:
        assert await fetch(api, "http://store.example/r.csv") == RESULT
        with pytest.raises(LinkBroken, match="private or local"):
            await fetch(api, "http://169.254.169.254/latest/")

    assert [exchange.request_line for exchange in proxy.exchanges] == ["GET http://store.example/r.csv HTTP/1.1"]


async def test_a_large_result_comes_in_bounded_blocks() -> None:
    body = bytes(range(256)) * 3000
    sizes: list[int] = []

    async def read(download: Any) -> bytes:
        whole = b""
        async for block in download.blocks:
            sizes.append(len(block))
            whole += block
        return whole

    async with Loopback(serve(200, body)) as store, make_api(HOME) as api, api.download(store.url) as download:
        assert await read(download) == body

    assert max(sizes) <= 256 * 1024
