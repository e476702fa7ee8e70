"""The calls under /_sandbox, and the ledger's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, SandboxOptions
from tests.sandbox.conftest import Client, client_of, until


async def test_faults_are_planned_listed_and_cleared(sandbox: Sandbox, client: Client) -> None:
    url = f"{sandbox.base_url}/_sandbox/plan"
    one = await client.session.post(url, json={"call": "submit", "http_status": 503})
    faults = [{"call": "status", "hang": True}, {"call": "submit", "nth": 2, "error": "x"}]
    more = await client.session.post(url, json=faults)
    assert (await one.json(), await more.json()) == ({"planned": 1}, {"planned": 2})

    assert [(await client.upload()).status for _ in range(2)] == [503, 200]
    assert await (await client.session.get(url)).json() == [
        {"call": "submit", "http_status": 503, "seen": 1, "hits": 1},
        {"call": "status", "hang": True, "seen": 0, "hits": 0},
        {"call": "submit", "nth": 2, "error": "x", "seen": 1, "hits": 0},
    ]

    assert await (await client.session.delete(url)).json() == {"planned": 0}
    assert await (await client.session.get(url)).json() == []
    assert (await client.upload()).status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no", "Expecting value"),
        (b"5", "one fault as an object"),
        (b'["submit"]', "one fault as an object"),
        (b"[" * 100_000, "recursion"),
        (b'{"call": "submit", "hangs": true}', "hangs: unknown, did you mean hang; known: call, nth"),
        (b'[{"call": "submit", "hang": true}, {"call": "submit"}]', "does nothing"),
    ],
)
async def test_a_wrong_plan_is_refused_whole(sandbox: Sandbox, client: Client, body: bytes, words: str) -> None:
    response = await client.session.post(f"{sandbox.base_url}/_sandbox/plan", data=body)

    assert response.status == 400
    assert words in (await response.json())["error"]
    assert await (await client.session.get(f"{sandbox.base_url}/_sandbox/plan")).json() == []


async def test_the_ledger_is_read_over_http_and_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    options = SandboxOptions.instant(ledger_file=str(path))
    async with Sandbox(options) as sandbox, client_of(sandbox) as client:
        sandbox.plan(Fault(call="submit", nth=2, http_status=500))
        await client.result()
        await client.upload()
        over_http = await (await client.session.get(f"{sandbox.base_url}/_sandbox/ledger")).json()
        in_the_file = [json.loads(line) for line in path.read_text().splitlines()]

    assert over_http == {
        "submits": in_the_file,
        "accepted": 1,
        "status_calls": 1,
        "downloads": 1,
        "key_seen_at_download_origin": False,
    }
    assert [line["accepted"] for line in in_the_file] == [True, False]


async def test_what_is_accepted_is_in_the_file_before_it_is_answered(tmp_path: Path) -> None:
    """Another process can trust the file at any moment, however the sandbox or its client ends."""
    path = tmp_path / "ledger.jsonl"
    options = SandboxOptions.instant(ledger_file=str(path))
    async with Sandbox(options) as sandbox, client_of(sandbox, timeout_s=0.2) as client:
        sandbox.plan(Fault(call="submit", hang=True, accept=True))
        with pytest.raises(TimeoutError):
            await client.upload()
        await until(path.read_text)
        line = json.loads(path.read_text())

    assert (line["accepted"], line["task_id"], line["http_status"]) == (True, sandbox.ledger[0].task_id, None)


async def test_a_ledger_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for _ in range(2):
        async with Sandbox(SandboxOptions.instant(ledger_file=str(path))) as sandbox, client_of(sandbox) as client:
            await client.submit()

    assert len(path.read_text().splitlines()) == 2
