"""Who may ask for what: everybody here may read, the token may act, and no foreign page may do either."""

from __future__ import annotations

import asyncio

import pytest

from tests.web.site import TOKEN, serving

READS = ("/healthz", "/readyz", "/metrics", "/api/v1/status")

BEARER = f"Bearer {TOKEN}"


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("token", [None, TOKEN])
async def test_everybody_on_this_machine_may_read(path: str, token: str | None) -> None:
    async with serving(token=token) as site:
        assert (await site.ask(path)).status == 200


@pytest.mark.parametrize("path", READS)
async def test_from_elsewhere_all_but_healthz_needs_the_token(path: str) -> None:
    async with serving(is_loopback=False) as site:
        bare = await site.ask(path, Host="watchd.example:8787")
        shown = await site.ask(path, Host="watchd.example:8787", Authorization=BEARER)

    assert (bare.status, shown.status) == (200 if path == "/healthz" else 401, 200)
    assert bare.headers.get("WWW-Authenticate") == (None if path == "/healthz" else "Bearer")


async def test_from_elsewhere_nothing_is_open_when_there_is_no_token() -> None:
    """The token file may be gone after a reload, while the address stays until a restart."""
    async with serving(is_loopback=False, token=None) as site:
        assert [(await site.ask(path)).status for path in READS] == [200, 401, 401, 401]
        assert (await site.ask("/metrics", Authorization="Bearer ")).status == 401
        assert (await site.act("None")).status == 401


@pytest.mark.parametrize("token", ["", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "ümlaut"])
async def test_a_wrong_token_is_told_even_where_none_is_needed(token: str) -> None:
    async with serving() as site:
        answer = await site.ask("/api/v1/status", Authorization=f"Bearer {token}")

    assert (answer.status, answer.content["error"]["exit_code"]) == (401, 77)
    assert site.refused == [answer.content["error"]["message"]]
    assert TOKEN not in str(answer.content)


async def test_what_a_proxy_sends_for_itself_is_no_token() -> None:
    async with serving() as site:
        assert (await site.ask("/metrics", Authorization="Basic dXNlcjpwYXNz")).status == 200
        assert (await site.act(None, Authorization="Basic dXNlcjpwYXNz")).status == 401


# --- acts -------------------------------------------------------------------------------------------------------------


async def test_the_token_acts_and_who_it_was_is_told() -> None:
    async with serving() as site:
        answer = await site.act()

    assert (answer.status, answer.content) == (200, {"ok": True, "routes": ["leads"]})
    assert site.acts == [("token over HTTP from 127.0.0.1", {"route": "leads"})]


@pytest.mark.fault("S27")
@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong-token-wrong", 401)])
async def test_nobody_acts_without_the_token(token: str | None, status: int) -> None:
    async with serving() as site:
        assert (await site.act(token)).status == status
        assert site.acts == []


async def test_nobody_acts_where_there_is_no_token() -> None:
    async with serving(token=None) as site:
        answer = await site.act(None)

    assert answer.status == 403
    assert "web.token_file" in answer.content["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "SELF"},
    ],
)
async def test_a_page_of_another_origin_may_not_act(headers: dict[str, str]) -> None:
    async with serving() as site:
        own = {name: value.replace("SELF", f"http://{site.address}") for name, value in headers.items()}
        assert (await site.act(**own)).status == 403
        assert site.acts == []


@pytest.mark.parametrize("headers", [{"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}, {"Origin": "SELF"}])
async def test_a_page_of_ours_may_act_with_the_token(headers: dict[str, str]) -> None:
    async with serving() as site:
        own = {name: value.replace("SELF", f"http://{site.address}") for name, value in headers.items()}
        assert (await site.act(**own)).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_an_act_is_json(kind: str) -> None:
    """What a form of a page can send is none."""
    async with serving() as site:
        assert (await site.act(Content_Type=kind)).status == 415
        assert site.acts == []


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("[]", 400, "wrong arguments: the body must be a JSON object"),
        ('{"route": 1}', 400, "wrong arguments: route must be a line of text"),
        ('{"route": "nope"}', 409, "there is no route 'nope'"),
        ("x" * 1_000_001, 413, "Request Entity Too Large"),
    ],
)
async def test_a_wrong_act_is_told(body: str, status: int, told: str) -> None:
    async with serving() as site:
        answer = await site.act(body=body)

    assert (answer.status, answer.content["error"]["message"], site.acts) == (status, told, [])


# --- foreign pages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8787", "10.0.0.1", "", "localhost.evil.example", "["]
)
async def test_a_name_that_leads_here_is_not_this_machine(path: str, host: str) -> None:
    """DNS rebinding: the page's own name suddenly points to us, and its browser takes us for the same origin."""
    async with serving() as site:
        answer = await site.ask(path, Host=host)
        shown = await site.ask(path, Host=host, Authorization=BEARER)

    assert (answer.status, shown.status) == (403, 200)


@pytest.mark.parametrize("host", ["localhost", "localhost:8787", "LOCALHOST", "127.0.0.1", "127.8.8.8:1", "[::1]:8787"])
async def test_every_name_of_this_machine_is_one(host: str) -> None:
    async with serving() as site:
        assert (await site.ask("/api/v1/status", Host=host)).status == 200


async def test_who_sends_no_name_is_no_browser() -> None:
    """A load balancer asks for health by HTTP/1.0."""
    async with serving() as site:
        host, _, port = site.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.0 200 OK")
        writer.close()


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH"])
async def test_nothing_says_that_another_origin_may_ask(method: str) -> None:
    headers = {"Origin": "http://evil.example", "Access_Control_Request_Method": "POST"}
    async with serving() as site:
        answers = [await site.ask("/api/v1/acts/scan", method, **headers), await site.ask("/metrics", **headers)]

    assert answers[0].status >= 400
    assert not [name for answer in answers for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", [*READS, "/nope", "/"])
async def test_an_answer_is_neither_kept_nor_guessed_at_nor_framed(path: str) -> None:
    async with serving() as site:
        headers = (await site.ask(path)).headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_what_is_not_there_is_told_as_all_else() -> None:
    async with serving() as site:
        assert ((await site.ask("/nope")).status, (await site.ask("/nope")).content["error"]["message"]) == (
            404,
            "Not Found",
        )
        wrong = await site.ask("/metrics", "POST", Authorization=BEARER, Content_Type="application/json")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "GET,HEAD")
