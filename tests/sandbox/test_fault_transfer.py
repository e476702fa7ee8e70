"""Planned faults that spoil how an answer is sent."""

from __future__ import annotations

import gzip
import time

import aiohttp
import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, SandboxOptions, answer
from bulkgpt_watchd.sandbox.vocabulary import CALLS, TRANSFERS
from tests.sandbox.conftest import CSV, LARGE, Client, call, client_of


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("transfer", TRANSFERS)
async def test_each_transfer_on_each_call(sandbox: Sandbox, name: str, transfer: str) -> None:
    sandbox.plan(Fault(call=name, transfer=transfer))
    never_ends = transfer in {"stalled", "dripping", "endless"}
    async with client_of(sandbox, timeout_s=0.3 if never_ends else 5) as client:
        if transfer in {"close_delimited", "chunked", "gzipped"}:
            response, body = await call(client, name)
            assert response.content_length is None
            assert response.headers.get("Content-Encoding") == ("gzip" if transfer == "gzipped" else None)
            assert (response.headers.get("Transfer-Encoding") == "chunked") == (transfer != "close_delimited")
            assert name != "download" or body == answer(CSV)
        elif transfer in {"truncated", "reset"}:
            with pytest.raises(aiohttp.ClientPayloadError, match="reset" if transfer == "reset" else "Not enough"):
                await call(client, name)
        else:
            with pytest.raises(TimeoutError):
                await call(client, name)


async def test_a_truncated_result_is_half_of_what_was_promised(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="download", transfer="truncated"))
    response = await client.session.get(await client.link())

    assert response.content_length == len(answer(CSV))
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()


@pytest.mark.parametrize("csv", [CSV, LARGE], ids=["small", "large"])
async def test_a_close_delimited_result_may_be_cut_anywhere(sandbox: Sandbox, client: Client, csv: bytes) -> None:
    sandbox.plan(Fault(call="download", transfer="close_delimited", answer_bytes=100))

    assert await client.result(csv) == answer(csv)[:100]


@pytest.mark.parametrize("transfer", ["chunked", "gzipped", "close_delimited"])
async def test_a_large_result_comes_whole(sandbox: Sandbox, client: Client, transfer: str) -> None:
    sandbox.plan(Fault(call="download", transfer=transfer))

    assert await client.result(LARGE) == answer(LARGE)


async def test_a_gzipped_result_is_gzip_on_the_wire(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, aiohttp.ClientSession(auto_decompress=False) as plain:
        sandbox.plan(Fault(call="download", transfer="gzipped"))
        body = await (await plain.get(await client.link())).read()

    assert gzip.decompress(body) == answer(CSV)


@pytest.mark.parametrize("csv", [CSV, LARGE], ids=["small", "large"])
async def test_an_endless_result_is_larger_than_any_limit(sandbox: Sandbox, client: Client, csv: bytes) -> None:
    sandbox.plan(Fault(call="download", transfer="endless"))
    response = await client.session.get(await client.link(csv))

    assert len(await response.content.readexactly(len(answer(csv)) + 1_000_000)) > 1_000_000
    response.close()


async def test_a_dripping_result_comes_byte_by_byte(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="download", transfer="dripping", bytes_per_s=200))
    started = time.monotonic()

    assert await client.result(b"n\n1\n") == answer(b"n\n1\n")
    assert time.monotonic() - started > len(answer(b"n\n1\n")) / 200


async def test_a_sandbox_closes_at_once_though_results_stall_drip_and_never_end() -> None:
    async with aiohttp.ClientSession() as session:
        async with Sandbox(SandboxOptions.instant()) as sandbox:
            client = Client(sandbox, session)
            url = await client.link(LARGE)
            sandbox.plan(*(Fault(call="download", transfer=each) for each in ("stalled", "dripping", "endless")))
            responses = [await session.get(url) for _ in range(3)]
            started = time.monotonic()
        assert time.monotonic() - started < 4
        for response in responses:
            response.close()
