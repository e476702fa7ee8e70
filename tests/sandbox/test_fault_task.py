"""Planned faults that stay with a task."""

from __future__ import annotations

import asyncio
import base64
import time

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, answer
from tests.sandbox.conftest import COUNTERS, CSV, Client


async def test_two_submits_may_get_one_task_id(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", nth=2, task_id="previous"))
    first, second, third = await client.submit(b"n\n1\n"), await client.submit(b"n\n2\n"), await client.submit()

    assert first == second != third
    assert [record.task_id for record in sandbox.accepted] == [first, first, third]
    assert (await client.fetch((await client.status(first))["downloadUrl"]))[1] == answer(b"n\n2\n")


async def test_no_task_gets_an_id_that_was_planned_for_another(sandbox: Sandbox, client: Client) -> None:
    """As where a sandbox is told of the tasks of one before it."""
    seconds = [int(time.time()) + ahead for ahead in range(60)]
    stamps = [f"{second}_{time.strftime('%Y-%m-%d-%H:%M:%S', time.gmtime(second))}" for second in seconds]
    planned = [base64.b64encode(stamp.encode()).decode() for stamp in stamps]
    sandbox.plan(*(Fault(call="submit", task_id=task_id) for task_id in planned))

    assert [await client.submit() for _ in planned] == planned
    assert not {await client.submit(), await client.submit()} & {*planned}


async def test_a_task_may_get_any_id(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", task_id="../+/\x00\u202e"))
    task_id = await client.submit()

    assert task_id == "../+/\x00\u202e"
    assert (await client.status(task_id))["status"] == "completed"


@pytest.mark.parametrize("word", ["error", "canceled"])
async def test_a_task_may_end_badly(sandbox: Sandbox, client: Client, word: str) -> None:
    sandbox.plan(Fault(call="submit", task_end=word))
    status = await client.status(await client.submit())

    assert status["status"] == word
    assert "downloadUrl" not in status


async def test_a_task_may_never_end(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", task_end="never"))
    task_id = await client.submit()
    await asyncio.sleep(0.05)

    assert await client.status(task_id) == {
        "status": "inProgress",
        "numOfTasksCompleted": 23,
        "numOfTaskSuccess": 23,
        "totalNumOfTasks": 24,
    }


@pytest.mark.parametrize(("failed", "succeeded"), [(3, 21), (24, 0), (100, 0), ("all", 0)])
async def test_rows_may_fail(sandbox: Sandbox, client: Client, failed: int | str, succeeded: int) -> None:
    sandbox.plan(Fault(call="submit", rows_failed=failed))
    status = await client.status(await client.submit())
    _, result = await client.fetch(status["downloadUrl"])

    assert [status[counter] for counter in COUNTERS] == [24, succeeded, 24]
    assert result == answer(CSV, rows_failed=100 if failed == "all" else int(failed))
    assert result.count(b"Result for") == succeeded


async def test_a_result_may_have_too_few_or_too_many_rows(sandbox: Sandbox, client: Client) -> None:
    sandbox.plan(Fault(call="submit", rows_missing=2), Fault(call="submit", rows_extra=2))

    assert (await client.result()).count(b"\n") == 23
    assert (await client.result()).count(b"\n") == 27
