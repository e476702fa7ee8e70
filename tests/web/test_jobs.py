"""Jobs over HTTP: by filter and page, with the rows that the commands print."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.events import GaveUp
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.web.control import application
from bulkgpt_watchd.web.jobs import job_routes
from bulkgpt_watchd.web.tcp import serve_tcp
from tests.adapters.open_state import open_state
from tests.sample_jobs import sample_job, step

Get = Callable[[str], Awaitable[tuple[int, Any]]]

AT = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.fixture
async def get(tmp_path: Path) -> AsyncIterator[Get]:
    """Serve five jobs: 0 waits, 1 runs, 2 and 3 failed, 4 is of another route, which has another name now."""
    path = tmp_path / "state.db"
    store = await open_state(path)
    failed = {"state": State.FAILED, "file": "k\udce4ufer.csv"}
    jobs = [
        sample_job("job00000"),
        sample_job("job00001", state=State.SUBMITTED, task_id="t1"),
        sample_job("job00002", **failed, code="duplicate"),
        sample_job("job00003", **failed, code="submission_unknown", changed_at=AT),
        sample_job("job00004", route="old-name"),
    ]
    await store.add(jobs)
    await store.save(step(jobs[0], GaveUp("csv_invalid", "k\udce4ufer"), state=State.FAILING))
    await store.set_fact("names", {"leads": "leads", "old-name": "orders"})

    async def read(question: Callable[[StateReader], Any]) -> Any:
        if not path.exists():
            raise DiskTrouble("the disk is gone")
        with StateReader.open(path) as state:
            return question(state)

    async def status() -> dict[str, Any]:
        return {}

    async with AsyncExitStack() as stack:
        address = await serve_tcp(stack, application({}, status, job_routes(read)), "127.0.0.1", 0)

        async def get(path: str) -> tuple[int, Any]:
            async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as response:
                return response.status, json.loads(await response.text())

        yield get
        await store.close()


def numbers(content: dict[str, Any]) -> list[int]:
    return [int(row["job"][-1]) for row in content["jobs"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [4, 3, 2, 1, 0]),
        ("?state=failed", [3, 2]),
        ("?state=running", [1]),
        ("?state=duplicate", [2]),
        ("?state=done", []),
        ("?route=leads", [3, 2, 1, 0]),
        ("?route=orders", [4]),
        ("?route=old-name", []),
        ("?route=nobody", []),
        ("?since=2027-01-15T08:00:00Z", [3]),
        ("?since=2027-01-15T09:00:00%2B01:00&state=failed", [3]),
        ("?before=job00002", [1, 0]),
        ("?before=nonsense", []),
        ("?limit=2", [4, 3]),
    ],
)
async def test_jobs_are_found_by_everything_that_is_named(get: Get, query: str, found: list[int]) -> None:
    status, content = await get(f"/api/v1/jobs{query}")

    assert (status, numbers(content)) == (200, found)


async def test_pages_follow_one_another_until_all_was_shown(get: Get) -> None:
    seen, query = [], "?limit=2"
    while query:
        _, content = await get(f"/api/v1/jobs{query}")
        seen.append(numbers(content))
        query = f"?limit=2&before={content['next']}" if content["next"] else ""

    assert seen == [[4, 3], [2, 1], [0]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?stat=failed", "unknown parameter 'stat'"),
        ("?state=faild", "state must be one of waiting, submitting, running"),
        ("?limit=0", "limit must be a number from 1 to 1000"),
        ("?limit=1001", "limit must be"),
        ("?limit=many", "limit must be"),
        ("?since=yesterday", "since must be a time such as"),
        ("?since=2027-01-15T08:00:00", "its time zone"),
    ],
)
async def test_a_wrong_question_is_told(get: Get, query: str, told: str) -> None:
    status, content = await get(f"/api/v1/jobs{query}")

    assert status == 400
    assert told in content["error"]["message"]


async def test_one_job_has_its_history(get: Get) -> None:
    status, content = await get("/api/v1/jobs/job00000")

    assert (status, content["job"], content["route"]) == (200, "job00000", "leads")
    assert [(line["event"], line["facts"]["message"]) for line in content["journal"]] == [("gave_up", "k\\xe4ufer")]
    assert (await get("/api/v1/jobs/job00004"))[1]["route"] == "orders"


async def test_a_job_that_is_not_there_is_told(get: Get) -> None:
    status, content = await get("/api/v1/jobs/nonsense")

    assert (status, content["error"]["exit_code"]) == (404, 66)


async def test_a_state_that_cannot_be_read_is_told(get: Get, tmp_path: Path) -> None:
    (tmp_path / "state.db").rename(tmp_path / "away.db")
    status, content = await get("/api/v1/jobs")

    assert (status, content["error"]) == (503, {"message": "the disk is gone", "exit_code": 74})
