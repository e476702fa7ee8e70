"""Which call a planned fault hits, and which faults are none."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, SandboxOptions, WrongFault
from bulkgpt_watchd.sandbox.vocabulary import CALLS, KEYS
from tests.sandbox.conftest import LARGE, WORKFLOW, Client, call, client_of


@pytest.mark.parametrize(
    ("which", "hit"),
    [
        ({}, [1]),
        ({"nth": 3}, [3]),
        ({"times": 3}, [1, 2, 3]),
        ({"nth": 2, "times": 2}, [2, 3]),
        ({"nth": 4, "times": "always"}, [4, 5, 6]),
        ({"workflow": "even"}, [2]),
        ({"workflow": "even", "nth": 2, "times": "always"}, [4, 6]),
        ({"contains": "row 5"}, [5]),
        ({"sha256": hashlib.sha256(b"n\nrow 4\n").hexdigest()}, [4]),
        ({"workflow": "odd", "contains": "row 4"}, []),
    ],
)
async def test_a_fault_hits_the_calls_that_it_is_planned_for(
    sandbox: Sandbox, client: Client, which: dict[str, Any], hit: list[int]
) -> None:
    numbers = range(1, 7)
    sandbox.plan(Fault(call="submit", http_status=500, reply="ordinary", **which))
    uploads = [await client.upload(b"n\nrow %d\n" % each, "odd" if each % 2 else "even") for each in numbers]
    assert [number for number, response in zip(numbers, uploads, strict=True) if response.status == 500] == hit

    sandbox.clear()
    sandbox.plan(
        Fault(call="status", http_status=500, reply="ordinary", **which), Fault(call="download", reply="xml", **which)
    )
    answers = [await client.ask((await response.json())["taskId"]) for response in uploads]
    assert [number for number, response in zip(numbers, answers, strict=True) if response.status == 500] == hit

    links = [(await response.json())["status"]["downloadUrl"] for response in answers]
    results = [(await client.fetch(link))[1] for link in links]
    assert [number for number, result in zip(numbers, results, strict=True) if result.startswith(b"<?xml")] == hit


@pytest.mark.parametrize(("text", "hit"), [("row 59999,", True), ("row 30000,", True), ("row 60000,", False)])
@pytest.mark.parametrize("name", CALLS)
async def test_a_large_csv_is_searched_to_its_end(
    sandbox: Sandbox, client: Client, name: str, text: str, hit: bool
) -> None:
    sandbox.plan(Fault(call=name, contains=text, http_status=500))

    assert (await call(client, name, LARGE))[0].status == (500 if hit else 200)


async def test_the_first_fault_that_matches_acts_alone(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(
        Fault(call="submit", nth=2, http_status=502),
        Fault(call="submit", http_status=503, times=2),
        Fault(call="status", http_status=504),
    )

    assert [(await client.upload()).status for _ in range(4)] == [503, 502, 503, 200]


async def test_faults_may_strike_one_call_before_and_after_its_body(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(
        Fault(call="submit", at="start", delay_s=0.05),
        Fault(call="submit", at="middle", body_bytes=10, delay_s=0.05),
        Fault(call="submit", at="middle", body_bytes=20, workflow=WORKFLOW, delay_s=0.05),
        Fault(call="submit", at="middle", body_bytes=90, workflow=WORKFLOW, delay_s=0.05),
        Fault(call="submit", http_status=202),
    )
    started = time.monotonic()

    assert (await client.upload()).status == 202
    assert time.monotonic() - started >= 0.15  # not the third: it looks before the workflow can be known


async def test_a_fault_may_wait_for_a_status() -> None:
    options = SandboxOptions.instant(running_s=0.2)
    async with Sandbox(options) as sandbox, client_of(sandbox) as client:
        sandbox.plan(Fault(call="status", when="completed", omit=("downloadUrl",), times=2))
        task_id = await client.submit()
        seen = [await client.status(task_id)]
        while "downloadUrl" not in seen[-1]:
            seen.append(await client.status(task_id))

    assert [status["status"] for status in seen].count("completed") == 3


async def test_a_fault_may_end_when_the_task_has_some_age(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="status", error="Invalid Task ID.", until_s=0.5, times="always"))
    task_id = await client.submit()
    assert await (await client.ask(task_id)).json() == {"error": "Invalid Task ID."}
    await asyncio.sleep(0.51)

    assert (await client.status(task_id))["status"] == "completed"


async def test_a_fault_does_not_make_a_wrong_key_right(sandbox: Sandbox, client: Client) -> None:
    client.key = "wrong"
    sandbox.plan(Fault(call="submit", delay_s=0.001, accept=True))
    response = await client.upload()

    assert response.status == 401
    assert not sandbox.accepted


@pytest.mark.parametrize(
    ("values", "key", "words"),
    [
        ({"call": "upload", "hang": True}, "call", "submit, status or download"),
        ({"call": "submit"}, "call", "does nothing"),
        ({"call": "submit", "nth": 2, "name": "x"}, "call", "does nothing"),
        ({"call": "submit", "hang": True, "nth": 0}, "nth", "at least 1"),
        ({"call": "submit", "hang": True, "times": "ever"}, "times", "always"),
        ({"call": "submit", "hang": "yes"}, "hang", "true or false"),
        ({"call": "submit", "delay_s": -1}, "delay_s", "at least 0"),
        ({"call": "submit", "delay_s": float("nan")}, "delay_s", "at least 0"),
        ({"call": "submit", "delay_s": "1s"}, "delay_s", "a number"),
        ({"call": "submit", "http_status": 999}, "http_status", "200 to 599"),
        ({"call": "submit", "http_status": 500, "headers": {"a": None}}, "headers", "header names"),
        ({"call": "submit", "headers": ["a"]}, "headers", "header names"),
        ({"call": "submit", "headers": {"a": "b\r\nc: d"}}, "headers", "control characters"),
        ({"call": "submit", "json": {1, 2}}, "json", "what JSON can say"),
        ({"call": "submit", "error": 7}, "error", "quotes"),
        ({"call": "submit", "reply": "pdf"}, "reply", "garbage"),
        ({"call": "submit", "reply": "expired"}, "reply", "only with call: download"),
        ({"call": "download", "reply": "deep"}, "reply", "only with call: submit or status"),
        ({"call": "submit", "replace": ["a"]}, "replace", "names"),
        ({"call": "submit", "omit": "taskId"}, "omit", "list"),
        ({"call": "submit", "transfer": "carrier pigeon"}, "transfer", "truncated"),
        ({"call": "submit", "task_end": "happily"}, "task_end", "never"),
        ({"call": "submit", "rows_failed": "some"}, "rows_failed", "all"),
        ({"call": "submit", "link": "expired"}, "link", "only with status"),
        ({"call": "status", "task_end": "error"}, "task_end", "only with submit"),
        ({"call": "submit", "hang": True, "when": "completed"}, "when", "only with status or download"),
        ({"call": "download", "hang": True, "at": "start"}, "at", "only with submit or status"),
        ({"call": "submit", "hang": True, "at": "start", "workflow": "w"}, "workflow", "too early"),
        ({"call": "submit", "hang": True, "at": "middle", "sha256": "00"}, "sha256", "too early"),
        ({"call": "submit", "hang": True, "at": "middle", "accept": True}, "accept", "too early"),
        ({"call": "submit", "hang": True, "reset": True}, "hang", "together with reset"),
        ({"call": "submit", "hang": True, "http_status": 500}, "http_status", "together with hang"),
        ({"call": "submit", "error": "x", "body": "x"}, "body", "only one of body, error"),
        ({"call": "submit", "hang": True, "body_bytes": 5}, "body_bytes", "only with at: middle"),
        ({"call": "submit", "transfer": "chunked", "bytes_per_s": 5}, "bytes_per_s", "dripping"),
        ({"call": "submit", "transfer": "chunked", "answer_bytes": 5}, "answer_bytes", "truncated or close_delimited"),
    ],
)
def test_a_wrong_fault_is_told_by_its_key(values: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(WrongFault) as caught:
        Fault(**values)

    assert caught.value.key == key
    assert words in str(caught.value)


def test_each_key_has_a_field_and_a_meaning() -> None:
    assert list(KEYS) == list(Fault.__dataclass_fields__)
    assert all(key.meaning for key in KEYS.values())
