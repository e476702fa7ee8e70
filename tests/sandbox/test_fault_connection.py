"""Planned faults that reset, hang or delay a call."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, SandboxOptions
from bulkgpt_watchd.sandbox.vocabulary import CALLS
from tests.sandbox.conftest import LARGE, Client, call, client_of, until


@pytest.mark.parametrize("name", CALLS)
async def test_a_reset_after_the_request_looks_like_one(sandbox: Sandbox, client: Client, name: str) -> None:
    sandbox.plan(Fault(call=name, reset=True, times=2 if name == "download" else 1))  # aiohttp repeats a GET by itself

    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await call(client, name)
    assert (await call(client, name))[0].status == 200


@pytest.mark.parametrize(
    ("at", "accept", "body_bytes"), [("start", None, 0), ("middle", None, 66), ("end", False, 132), ("end", True, 132)]
)
async def test_the_ledger_tells_how_far_the_body_came_and_whether_it_was_accepted(
    sandbox: Sandbox, client: Client, at: str, accept: bool | None, body_bytes: int
) -> None:
    sandbox.plan(Fault(call="submit", at=at, reset=True, accept=accept, name="cut"))
    body = json.dumps({"workflowId": "w", "csvBase64": "QUFB" * 23 + "YQ=="}).encode()
    assert len(body) == 132
    with pytest.raises(aiohttp.ClientOSError):
        await client.post_bytes("/upload-trigger", body)

    record = sandbox.ledger[0]
    assert (record.body_bytes, record.whole, record.accepted) == (body_bytes, at == "end", bool(accept))
    assert (record.http_status, record.fault) == (None, "cut")
    assert (record.task_id is not None) == bool(accept)


async def test_a_large_upload_may_be_reset_before_it_is_read(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", at="start", reset=True))
    with pytest.raises(aiohttp.ClientOSError):
        await client.upload(LARGE)

    assert sandbox.ledger[0].body_bytes == 0


async def test_a_large_upload_is_cut_where_the_fault_says(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", at="middle", body_bytes=1_000_000, reset=True, contains="row 77,"))
    with pytest.raises(aiohttp.ClientOSError):
        await client.upload(LARGE)

    assert sandbox.ledger[0].body_bytes == 1_000_000


@pytest.mark.parametrize("name", CALLS)
async def test_a_hang_never_answers_and_does_not_hold_up_the_end(sandbox: Sandbox, name: str) -> None:
    sandbox.plan(Fault(call=name, hang=True, times="always"))
    async with client_of(sandbox, timeout_s=0.2) as client:
        with pytest.raises(TimeoutError):
            await call(client, name)


@pytest.mark.parametrize(
    ("at", "accept", "accepted"), [("start", None, 0), ("middle", None, 0), ("end", None, 0), ("end", True, 1)]
)
async def test_a_submit_hangs_with_or_without_being_accepted(
    sandbox: Sandbox, at: str, accept: bool | None, accepted: int
) -> None:
    sandbox.plan(Fault(call="submit", at=at, hang=True, accept=accept))
    async with client_of(sandbox, timeout_s=0.2) as client:
        with pytest.raises(TimeoutError):
            await client.upload()
    await until(lambda: sandbox.ledger and sandbox.ledger[0].fault)

    assert len(sandbox.accepted) == accepted
    assert sandbox.ledger[0].http_status is None


async def test_calls_that_hang_when_the_sandbox_closes_are_let_go() -> None:
    async with aiohttp.ClientSession() as session:
        async with Sandbox(SandboxOptions.instant()) as sandbox:
            sandbox.plan(Fault(call="submit", hang=True, times="always"))
            client = Client(sandbox, session)
            hanging = [asyncio.create_task(client.upload()) for _ in range(3)]
            await until(lambda: [record.whole for record in sandbox.ledger] == [True] * 3)
            started = time.monotonic()
        assert time.monotonic() - started < 4
        assert all(
            isinstance(each, aiohttp.ClientError) for each in await asyncio.gather(*hanging, return_exceptions=True)
        )


@pytest.mark.parametrize("name", CALLS)
async def test_a_delay_only_delays(sandbox: Sandbox, client: Client, name: str) -> None:
    sandbox.plan(Fault(call=name, delay_s=0.15))
    started = time.monotonic()

    assert (await call(client, name))[0].status == 200
    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize(("at", "accepted"), [("start", 0), ("middle", 0), ("end", 1)])
async def test_a_submit_is_accepted_before_a_delay_at_the_end_only(
    sandbox: Sandbox, client: Client, at: str, accepted: int
) -> None:
    sandbox.plan(Fault(call="submit", at=at, delay_s=0.5))
    under_way = asyncio.create_task(client.submit())
    await until(lambda: sandbox.ledger and (at == "start" or sandbox.ledger[0].body_bytes))
    await until(lambda: len(sandbox.accepted) == accepted)
    assert not under_way.done()

    await under_way
    assert len(sandbox.accepted) == 1
