"""`bulkgpt-watchd sandbox` as a person runs it: a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from bulkgpt_watchd.sandbox import answer


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "bulkgpt_watchd", "sandbox", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await start("--port", "0", *arguments)
    assert process.stdout
    try:
        yield process, (await process.stdout.readuntil(b"api_key: ")).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stop(process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, told = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode()


async def test_it_prints_what_goes_into_the_configuration() -> None:
    process = await start("--port", "0", "--key", 'a "key": #1')
    assert process.stdout
    printed = b"".join([await process.stdout.readline() for _ in range(5)]).decode()
    code, told = await stop(process)

    api = yaml.safe_load(printed)["api"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", api["base_url"])
    assert api["api_key"] == 'a "key": #1'
    assert f"# BulkGPT sandbox at {api['base_url']}, results at http://127.0.0.1:" in printed
    assert (code, told) == (0, "")


async def test_it_tells_each_call_with_one_line_and_keeps_a_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text('faults: [{call: submit, nth: 2, http_status: 503, name: "bad\\nday"}]')
    arguments = ("--task-seconds", "0", "--ledger", str(ledger), "--scenario", str(scenario), "--max-upload-bytes", "9")
    async with running(*arguments) as (process, printed), aiohttp.ClientSession() as session:
        url = printed.split()[4].rstrip(",")
        key = {"x-api-key": "sandbox-key"}
        upload = {"workflowId": "w", "csvBase64": "bgoxCg=="}
        submitted = await session.post(f"{url}/upload-trigger", json=upload, headers=key)
        asked = await session.post(f"{url}/status", json=await submitted.json(), headers=key)
        result = await session.get((await asked.json())["status"]["downloadUrl"])
        assert await result.read() == answer(b"n\n1\n")
        await session.post(f"{url}/upload-trigger", json=upload, headers=key)
        upload["csvBase64"] = "MDEyMzQ1Njc4OQ=="
        large = await session.post(f"{url}/upload-trigger", json=upload, headers=key)
        assert large.status == 413
        code, told = await stop(process, signal.SIGINT)

    task_id = json.loads(ledger.read_text().splitlines()[0])["task_id"]
    assert told.splitlines() == [
        f"submit 200 accepted task={task_id} rows=1 bytes=4",
        f"status 200 completed 1/1 task={task_id}",
        f"download 200 task={task_id}",
        r"submit 503 not accepted: a planned fault bytes=4 fault: bad\nday",
        "submit 413 not accepted: too large bytes=10",
    ]
    assert [json.loads(line)["accepted"] for line in ledger.read_text().splitlines()] == [True, False, False]
    assert code == 0


async def test_a_link_lives_as_long_as_it_is_told() -> None:
    async with running("--task-seconds", "0", "--link-ttl", "0") as (_, printed), aiohttp.ClientSession() as session:
        url = printed.split()[4].rstrip(",")
        key = {"x-api-key": "sandbox-key"}
        upload = {"workflowId": "w", "csvBase64": "bgoxCg=="}
        submitted = await session.post(f"{url}/upload-trigger", json=upload, headers=key)
        asked = await session.post(f"{url}/status", json=await submitted.json(), headers=key)
        assert (await session.get((await asked.json())["status"]["downloadUrl"])).status == 403


async def test_it_ends_though_a_call_hangs(tmp_path: Path) -> None:
    (scenario := tmp_path / "scenario.yaml").write_text("faults: [{call: status, hang: true}]")
    async with running("--scenario", str(scenario)) as (process, printed), aiohttp.ClientSession() as session:
        url = printed.split()[4].rstrip(",")
        hanging = asyncio.create_task(session.post(f"{url}/status", json={}))
        assert process.stderr
        assert (await process.stderr.readline()).startswith(b"status hang")
        code, _ = await stop(process)
        with pytest.raises(aiohttp.ClientError):
            await hanging

    assert code == 0


@pytest.mark.parametrize("option", ["--port", "--download-port"])
async def test_a_busy_port_ends_with_one_clear_line(option: str) -> None:
    async with running() as (_, printed):
        port = printed.split()[4].rstrip(",").rpartition(":")[2]
        process = await start("--port", "0", option, port)
        _, told = await process.communicate()

    assert process.returncode == 1
    assert re.fullmatch(
        rf"bulkgpt-watchd: cannot listen: .*{port}.*in use; give another --host, --port or --download-port\n",
        told.decode(),
    )


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--scenario", "TMP/absent.yaml"], 78, "TMP/absent.yaml: cannot be read: No such file or directory"),
        (
            ["--scenario", "TMP/wrong.yaml"],
            78,
            "TMP/wrong.yaml:1:25: hangs: unknown, did you mean hang; known: call, nth, .*",
        ),
        (["--ledger", "TMP/no/such/folder"], 1, "TMP/no/such/folder: No such file or directory; give another --ledger"),
        (["--host", "not.a.host.invalid"], 1, "cannot listen: .*; give another --host, --port or --download-port"),
    ],
)
async def test_what_cannot_start_ends_with_one_clear_line(
    tmp_path: Path, arguments: list[str], code: int, line: str
) -> None:
    (tmp_path / "wrong.yaml").write_text("faults: [{call: submit, hangs: true}]")
    process = await start("--port", "0", *(each.replace("TMP", str(tmp_path)) for each in arguments))
    printed, told = await process.communicate()

    assert process.returncode == code
    assert re.fullmatch(f"bulkgpt-watchd: {line}\n".replace("TMP", str(tmp_path)), told.decode())
    assert printed == b""


async def test_another_host_than_loopback_is_warned_of() -> None:
    process = await start("--port", "0", "--host", "0.0.0.0")
    assert process.stdout
    printed = b"".join([await process.stdout.readline() for _ in range(6)]).decode()
    code, told = await stop(process)

    assert yaml.safe_load(printed)["api"]["download"] == {"allow_private": True, "allow_http": True}
    assert told == "warning: others can reach this sandbox; it is a toy and guards nothing\n"
    assert code == 0
