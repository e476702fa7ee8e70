"""Planned faults that change an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, answer
from bulkgpt_watchd.sandbox.vocabulary import CALLS, REPLIES
from tests.sandbox.conftest import COUNTERS, CSV, LARGE, Client, call


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("http_status", [302, 307, 401, 403, 408, 429, 499, 500, 502, 503, 504, 522])
async def test_any_http_status_with_any_headers(sandbox: Sandbox, client: Client, name: str, http_status: int) -> None:
    headers = {"Retry-After": "7", "Location": "http://127.0.0.1:1/", "Content-Type": "text/odd"}
    sandbox.plan(Fault(call=name, http_status=http_status, headers=headers, body="no"))
    response, body = await call(client, name)

    assert (response.status, body) == (http_status, b"no")
    assert {key: response.headers[key] for key in headers} == headers
    assert name != "submit" or not sandbox.accepted


@pytest.mark.parametrize("name", CALLS)
async def test_an_http_error_without_a_body_has_none(sandbox: Sandbox, client: Client, name: str) -> None:
    sandbox.plan(Fault(call=name, http_status=503))
    response, body = await call(client, name)

    assert (response.status, body) == (503, b"")


@pytest.mark.parametrize("at", ["start", "middle"])
@pytest.mark.parametrize("csv", [CSV, LARGE], ids=["small", "large"])
async def test_an_answer_may_come_before_the_body_was_read(
    sandbox: Sandbox, client: Client, csv: bytes, at: str
) -> None:
    sandbox.plan(Fault(call="submit", at=at, http_status=413, error="Too much."))
    response = await client.upload(csv)

    assert (response.status, await response.json()) == (413, {"error": "Too much."})
    assert (sandbox.ledger[0].whole, sandbox.ledger[0].http_status) == (False, 413)


@pytest.mark.parametrize("fault", [{"error": "No."}, {"accept": False}, {"http_status": 500}])
async def test_a_refusal_accepts_nothing(sandbox: Sandbox, client: Client, fault: dict[str, Any]) -> None:
    sandbox.plan(Fault(call="submit", **fault))
    await client.upload()

    assert not sandbox.accepted


@pytest.mark.parametrize(
    "fault", [{"http_status": 502, "accept": True}, {"reply": "garbage"}, {"http_status": 202}, {"omit": ["taskId"]}]
)
async def test_a_bad_answer_may_hide_an_accepted_submit(
    sandbox: Sandbox, client: Client, fault: dict[str, Any]
) -> None:
    sandbox.plan(Fault(call="submit", **fault))
    await client.upload()

    assert len(sandbox.accepted) == 1


async def test_a_task_id_may_come_with_an_http_error(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", http_status=500, reply="ordinary"))
    response = await client.upload()

    assert response.status == 500
    assert (await response.json())["taskId"] == sandbox.accepted[0].task_id


READY_MADE = {
    "garbage": (200, b"\x00\xff\xfe"),
    "html": (200, b"<!DOCTYPE html>"),
    "xml": (200, b"<?xml"),
    "empty": (200, b""),
    "truncated": (200, b"{"),
    "deep": (200, b"[[[["),
    "expired": (403, b"<?xml"),
    "ordinary": (200, b""),
    "redirect": (302, b""),
}


@pytest.mark.parametrize(("name", "reply"), [(name, reply) for reply, calls in REPLIES.items() for name in calls])
async def test_ready_made_answers(sandbox: Sandbox, client: Client, name: str, reply: str) -> None:
    sandbox.plan(Fault(call=name, reply=reply))
    response, body = await call(client, name)
    http_status, start = READY_MADE[reply]

    assert response.status == http_status
    assert body.startswith(start)
    assert (reply == "empty") == (http_status == 200 and not body)
    if reply == "truncated":
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(body)


async def test_a_redirect_leads_to_the_result(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="download", reply="redirect"))
    response = await client.session.get(await client.link())

    assert await response.read() == answer(CSV)
    assert len(response.history) == 1


@pytest.mark.parametrize("document", [{"taskId": 42}, {"taskId": None}, {}, [], "text", 7, {"status": "completed"}])
@pytest.mark.parametrize("name", ["submit", "status"])
async def test_json_of_wrong_types(sandbox: Sandbox, client: Client, name: str, document: object) -> None:
    sandbox.plan(Fault(call=name, json=document))
    response, body = await call(client, name)

    assert response.content_type == "application/json"
    assert json.loads(body) == document


async def test_keys_of_an_answer_are_replaced_or_left_out(sandbox: Sandbox, client: Client) -> None:
    task_id = await client.submit()
    sandbox.plan(
        Fault(call="submit", replace={"taskId": 42}),
        Fault(call="submit", omit=("taskId",)),
        Fault(call="status", omit=COUNTERS),
        Fault(call="status", replace={"status": "resting"}),
        Fault(call="status", replace={"numOfTasksCompleted": "many", "totalNumOfTasks": None}),
        Fault(call="status", omit=("downloadUrl",)),
        Fault(call="status", replace={"downloadUrl": "http://169.254.169.254/"}),
    )

    assert await (await client.upload()).json() == {"taskId": 42}
    assert await (await client.upload()).json() == {}
    assert set(await client.status(task_id)) == {"status", "downloadUrl"}
    assert (await client.status(task_id))["status"] == "resting"
    assert (await client.status(task_id))["totalNumOfTasks"] is None
    assert set(await client.status(task_id)) == {"status", *COUNTERS}
    assert (await client.status(task_id))["downloadUrl"] == "http://169.254.169.254/"
    assert set(await client.status(task_id)) == {"status", "downloadUrl", *COUNTERS}


@pytest.mark.parametrize(("link", "message"), [("expired", b"has expired"), ("forged", b"SignatureDoesNotMatch")])
async def test_a_link_may_be_bad_from_the_start(sandbox: Sandbox, client: Client, link: str, message: bytes) -> None:
    sandbox.plan(Fault(call="status", link=link))
    response, body = await client.fetch(await client.link())

    assert response.status == 403
    assert message in body
    assert await client.result() == answer(CSV)
