"""Both calls, the life of a task, and the results on their own origin, with no fault planned."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions, answer
from tests.sandbox.conftest import CSV, WORKFLOW, Client, client_of, until

WRONG_UPLOAD = {"error": "Invalid workflow ID or CSV file."}


async def test_the_vendors_example_works(sandbox: Sandbox, client: Client) -> None:
    task_id = await client.submit()
    status = await client.status(task_id)
    response, result = await client.fetch(status.pop("downloadUrl"))

    assert status == {
        "status": "completed",
        "numOfTasksCompleted": 24,
        "numOfTaskSuccess": 24,
        "totalNumOfTasks": 24,
    }
    assert (response.status, response.content_type, response.content_length) == (200, "text/csv", len(result))
    assert result == answer(CSV)
    assert sandbox.download_origin != sandbox.base_url
    assert str(response.url).startswith(sandbox.download_origin)


async def test_task_ids_have_the_vendors_form_and_are_unique(client: Client) -> None:
    task_ids = [await client.submit() for _ in range(5)]

    assert len(set(task_ids)) == 5
    for task_id in task_ids:
        second, _, stamp = base64.b64decode(task_id, validate=True).decode().partition("_")
        assert stamp == time.strftime("%Y-%m-%d-%H:%M:%S", time.gmtime(int(second)))


@pytest.mark.parametrize("key", ["wrong", None])
async def test_a_wrong_key_is_refused_on_both_calls_and_accepts_nothing(
    sandbox: Sandbox, client: Client, key: str | None
) -> None:
    task_id = await client.submit()
    client.key = key
    for response in (await client.upload(), await client.ask(task_id), await client.ask("unknown")):
        assert (response.status, await response.json()) == (401, {"error": "Invalid API key."})

    assert [record.accepted for record in sandbox.ledger] == [True, False]
    assert sandbox.ledger[1].reason == "wrong key"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[1, 2]",
        b"[" * 10_000,
        b'{"workflowId": "w"}',
        b'{"csvBase64": "YQ=="}',
        b'{"workflowId": "", "csvBase64": "YQ=="}',
        b'{"workflowId": 7, "csvBase64": "YQ=="}',
        b'{"workflowId": "w", "csvBase64": ""}',
        b'{"workflowId": "w", "csvBase64": "YQ="}',
        b'{"workflowId": "w", "csvBase64": "Y Q="}',
        b'{"workflowId": "w", "csvBase64": "\\ud800"}',
        b'{"workflowId": "w", "csvBase64": "' + b"YQ==" * 100_000 + b'"}',
        b'{"workflowId": "w", "csvBase64": "' + b"YWF\\n" * 100_000 + b'"}',
        b'{"workflowId": "' + b"YWFh" * 100_000 + b'", "csvBase64": "YQ=="}',
        b'{"workflowId": "' + b"YWFh" * 100_000 + b'", "csvBase64": "' + b"YWFh" * 100_000 + b'"}',
        b'{"workflowId": "w", "csvBase64": "YQ==", "more": [' + b"1," * 1_000_000 + b"1]}",
        b'{"workflowId": "w", "csvBase64": "' + b"YWFh" * 100_000,
    ],
    ids=lambda body: repr(body[:24] + body[-24:]),
)
async def test_what_is_no_submit_is_refused(sandbox: Sandbox, client: Client, body: bytes) -> None:
    response = await client.post_bytes("/upload-trigger", body)

    assert (response.status, await response.json()) == (400, WRONG_UPLOAD)
    assert not sandbox.accepted
    assert sandbox.ledger[0].whole
    assert sandbox.ledger[0].reason


@pytest.mark.parametrize("rows", [3, 60_000], ids=["small", "large"])
@pytest.mark.parametrize("form", ["compact", "indented", "csv first", "more keys", "php"])
async def test_any_form_of_json_is_read(sandbox: Sandbox, client: Client, form: str, rows: int) -> None:
    csv = b"name,text\n" + b"".join(
        b"%d,\xff\xff\xff\xbe?\n" % number for number in range(rows)
    )  # encodes with / and +
    document: dict[str, object] = {"workflowId": WORKFLOW, "csvBase64": base64.b64encode(csv).decode()}
    body = {
        "compact": json.dumps(document, separators=(",", ":")),
        "indented": json.dumps(document, indent=4),
        "csv first": json.dumps(dict(reversed(document.items()))),
        "more keys": json.dumps({"quote": 'a "b\\', "list": [1, {"csvBase64": 1}], **document, "end": None}),
        "php": json.dumps(document).replace("/", "\\/"),
    }[form]
    response = await client.post_bytes("/upload-trigger", body.encode())
    status = await client.status((await response.json())["taskId"])

    assert sandbox.ledger[0].sha256 == hashlib.sha256(csv).hexdigest()
    assert sandbox.ledger[0].workflow_id == WORKFLOW
    assert status["totalNumOfTasks"] == rows
    assert (await client.fetch(status["downloadUrl"]))[1] == answer(csv)


async def test_a_body_without_a_length_is_read(sandbox: Sandbox, client: Client) -> None:
    async def chunks() -> object:
        yield b'{"workflowId": "w", "csvBase64": "'
        yield base64.b64encode(CSV)
        yield b'"}'

    await client.session.post(
        f"{sandbox.base_url}/upload-trigger", data=chunks(), headers={"x-api-key": sandbox.api_key}
    )

    assert sandbox.accepted[0].content_length is None
    assert sandbox.accepted[0].sha256 == hashlib.sha256(CSV).hexdigest()


@pytest.mark.parametrize("task_id", ["unknown", "", 7, None, ["x"]])
async def test_an_unknown_task_is_told_in_the_vendors_words(client: Client, task_id: object) -> None:
    response = await client.post("/status", {"taskId": task_id})

    assert (response.status, await response.json()) == (400, {"error": "Invalid Task ID."})


async def test_a_known_list_of_workflows_refuses_the_others_with_the_status_of_choice() -> None:
    options = SandboxOptions.instant(workflows=("known",), refusal_http_status=200)
    async with Sandbox(options) as sandbox, client_of(sandbox) as client:
        response = await client.upload(workflow="other")
        await client.submit(workflow="known")

        assert (response.status, await response.json()) == (200, WRONG_UPLOAD)
        assert [record.workflow_id for record in sandbox.accepted] == ["known"]


async def test_a_csv_above_the_limit_is_answered_with_413_and_one_at_the_limit_is_taken() -> None:
    async with Sandbox(SandboxOptions.instant(max_upload_bytes=100)) as sandbox, client_of(sandbox) as client:
        at_the_limit, above = await client.upload(b"x" * 100), await client.upload(b"x" * 101)

        assert (at_the_limit.status, above.status) == (200, 413)
        assert "error" in await above.json()
        assert [record.csv_bytes for record in sandbox.accepted] == [100]


async def test_a_large_csv_above_the_limit_is_not_kept() -> None:
    csv = b"name\n" + b"x\n" * 1_000_000
    async with Sandbox(SandboxOptions.instant(max_upload_bytes=100_000)) as sandbox, client_of(sandbox) as client:
        response = await client.upload(csv)

        assert response.status == 413
        assert (sandbox.ledger[0].csv_bytes, sandbox.ledger[0].sha256) == (len(csv), hashlib.sha256(csv).hexdigest())


async def test_a_task_lives_through_every_status_with_growing_counters() -> None:
    options = SandboxOptions(preparing_s=0.4, running_s=0.6, finalizing_s=0.3)
    async with Sandbox(options) as sandbox, client_of(sandbox) as client:
        task_id = await client.submit()
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["status"] != "completed":
            seen.append(await client.status(task_id))
            await asyncio.sleep(0.01)

    words = list(dict.fromkeys(status["status"] for status in seen))
    counts = [status["numOfTasksCompleted"] for status in seen if status["status"] == "inProgress"]
    assert words == ["preparing", "inProgress", "finalizing", "completed"]
    assert seen[0] == {"status": "preparing"}
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert all(("downloadUrl" in status) == (status["status"] == "completed") for status in seen)


async def test_rows_per_second_set_how_long_a_task_runs() -> None:
    options = SandboxOptions.instant(rows_per_s=10.0, running_s=0.0)
    async with Sandbox(options) as sandbox, client_of(sandbox) as client:
        short, long = await client.submit(b"n\n"), await client.submit(CSV)

        assert (await client.status(short))["status"] == "completed"
        assert (await client.status(long))["status"] == "inProgress"


async def test_links_expire_and_a_fresh_one_works() -> None:
    async with Sandbox(SandboxOptions.instant(link_ttl_s=0.5)) as sandbox, client_of(sandbox) as client:
        task_id = await client.submit()
        old = (await client.status(task_id))["downloadUrl"]
        await asyncio.sleep(0.51)
        response, body = await client.fetch(old)
        fresh = await client.fetch((await client.status(task_id))["downloadUrl"])

        assert (response.status, response.content_type) == (403, "application/xml")
        assert b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in body
        assert fresh[1] == answer(CSV)


@pytest.mark.parametrize(
    ("pattern", "replacement", "http_status", "code"),
    [
        (r"Signature=..", "Signature=00", 403, b"SignatureDoesNotMatch"),
        (r"Expires=\d", "Expires=9", 403, b"SignatureDoesNotMatch"),
        (r"\?.*", "", 403, b"SignatureDoesNotMatch"),
        (r"/results/0", "/results/1", 404, b"NoSuchKey"),
        (r"/results/.*", "/", 404, b"NoSuchKey"),
    ],
)
async def test_a_link_that_was_changed_is_refused_as_an_object_store_does(
    client: Client, pattern: str, replacement: str, http_status: int, code: bytes
) -> None:
    response, body = await client.fetch(re.sub(pattern, replacement, await client.link()))

    assert response.status == http_status
    assert body.startswith(b"<?xml")
    assert code in body


async def test_the_key_is_noticed_at_the_download_origin(sandbox: Sandbox, client: Client) -> None:
    url = await client.link()
    await client.fetch(url)
    assert not sandbox.key_seen_at_download_origin

    await client.session.get(url, headers={"X-API-Key": "any"})
    assert sandbox.key_seen_at_download_origin


async def test_the_ledger_tells_what_came(sandbox: Sandbox, client: Client) -> None:
    before = time.time()
    task_id = await client.submit(b'a,b\n"x ""1""",\xe9\n')
    await client.link()
    record = sandbox.ledger[0]

    assert before <= record.at <= time.time()
    assert (record.accepted, record.task_id, record.workflow_id) == (True, task_id, WORKFLOW)
    assert (record.csv_bytes, record.rows, record.first_row) == (16, 1, '"x ""1""",�')
    assert record.body_bytes == record.content_length
    assert (record.whole, record.http_status, record.fault, record.reason) == (True, 200, "", "")
    assert (sandbox.status_calls, sandbox.downloads) == (1, 0)


async def test_a_client_that_leaves_in_the_middle_of_the_body_submits_nothing(sandbox: Sandbox) -> None:
    host, port = sandbox.base_url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /upload-trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 600)
    await writer.drain()
    await until(lambda: sandbox.ledger and sandbox.ledger[0].body_bytes == 600)
    writer.close()
    await writer.wait_closed()
    await until(lambda: sandbox.ledger[0].reason)

    record = sandbox.ledger[0]
    assert (record.accepted, record.whole, record.body_bytes, record.content_length) == (False, False, 600, 1000)
    assert record.http_status is None
