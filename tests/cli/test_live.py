"""Sandbox, `run` and every command together, as on a person's machine."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest

from bulkgpt_watchd.sandbox import Fault, Sandbox, SandboxOptions, answer
from tests.cli.conftest import Bed
from tests.cli.live import PATIENCE_S, live, start


def is_done(row: dict[str, Any]) -> bool:
    return bool(row["state"] == "done")


def is_failed(row: dict[str, Any]) -> bool:
    return bool(row["state"] == "failed")


async def test_a_dropped_file_comes_back_and_every_command_says_so(bed: Bed) -> None:
    async with live(bed) as running:
        running.drop("orders.csv", "1", "2")
        row = await running.until("orders.csv", is_done)

        assert (row["rows"], row["rows_ok"], row["attempts"]) == (2, 2, 1)
        assert (bed.folder / "leads/outbox/orders.csv").read_bytes() == answer(b"Input_1\n1\n2\n")
        assert row["journal"][-1]["event"] == "archived"
        status = await running.json("status")
        assert (status["state"], status["running"], status["routes"][0]["done"]) == ("ok", True, 1)
        assert f"pid {running.process.pid}" in (await running.cli("status")).stdout
        assert [job["job"] for job in await running.json("jobs", "--since", "1h")] == [row["job"]]

        assert (await running.cli("redeliver", row["job"][:6])).exit_code == 0
        again = f"orders-{row['job']}.csv"
        await running.until("orders.csv", lambda row: is_done(row) and row["result"].endswith(again))
        assert len(running.sandbox.accepted) == 1
        refused = await running.json("retry", row["job"])
        assert refused["error"]["exit_code"] == 77
        assert await running.end() == 0

    stopped = json.loads(bed.cli("status", "--json").stdout)
    assert (stopped["running"], stopped["routes"][0]["done"]) == (False, 1)
    assert bed.cli("scan").exit_code == 69


async def test_a_pause_holds_files_until_it_is_ended(bed: Bed) -> None:
    async with live(bed) as running:
        assert (await running.cli("pause", "leads", "--for", "4h", "--reason", "month end")).exit_code == 0
        running.drop("orders.csv", "1")
        assert (await running.cli("scan", "leads")).stdout == "looking at leads\n"
        await running.until("orders.csv", lambda row: bool(row["state"] == "waiting"))
        assert (bed.inbox / "orders.csv").exists()
        assert "(month end)" in (await running.cli("status")).stdout
        assert (await running.cli("resume", "nope")).exit_code == 66
        assert (await running.cli("resume", "leads")).exit_code == 0
        await running.until("orders.csv", is_done)
        assert (await running.cli("adopt", "leads")).exit_code == 0


async def test_resume_without_a_route_says_which_routes_stay_paused(bed: Bed) -> None:
    async with live(bed) as running:
        await running.cli("pause", "leads", "--reason", "month end")
        await running.cli("pause")
        one = await running.cli("resume", "leads")
        assert one.stdout == "route leads is paused with all others; to go on: bulkgpt-watchd resume\n"
        await running.cli("pause", "leads", "--reason", "month end")

        ended = await running.cli("resume")
        again = await running.cli("resume", "--json")

        assert (ended.exit_code, ended.stdout) == (0, "going on: all routes\n")
        assert ended.stderr == "still paused: leads: month end\n"
        assert json.loads(again.stdout)["still_paused"] == {"leads": "month end"}
        assert again.stderr == ""
        assert "(month end)" in (await running.cli("status")).stdout
        last = await running.cli("resume", "leads")
        assert (last.exit_code, last.stderr) == (0, "")


async def test_a_doubt_is_never_submitted_again_until_a_person_answers(bed: Bed) -> None:
    async with live(bed) as running:
        for name, is_accepted in (("one", True), ("two", False), ("three", True)):
            running.sandbox.plan(Fault(call="submit", contains=name, reset=True, accept=is_accepted))
            running.drop(f"{name}.csv", name)
            await running.until(f"{name}.csv", is_failed)
            await running.cli("resume")
        one, two, three = [row["job"] for row in await running.json("jobs", "--state", "submission_unknown")]
        assert [row["job"] for row in (await running.json("status"))["doubts"]] == [three, two, one]

        left = await running.cli("retry", "--failed", "--pay-again")
        assert (left.exit_code, left.stdout, left.stderr.count("nobody knows whether job")) == (1, "", 3)
        assert (await running.cli("retry", one)).exit_code == 77
        assert (await running.cli("resolve", one, "--task-id", "nonsense")).exit_code == 77

        task_id = next(record.task_id for record in running.sandbox.accepted)
        assert (await running.cli("resolve", one, "--task-id", str(task_id))).exit_code == 0
        assert (await running.cli("resolve", two, "--not-submitted")).exit_code == 0
        assert (await running.cli("resolve", three, "--abandon")).exit_code == 0
        await running.until("one.csv", is_done)
        await running.until("two.csv", is_done)
        assert (await running.json("status"))["doubts"] == []
        assert (await running.json("jobs", "show", three))["is_closed"] is True
        assert (await running.cli("resolve", three, "--abandon")).exit_code in {0, 77}
        assert len(running.sandbox.accepted) == 3


async def test_what_ended_at_bulkgpt_is_paid_again_only_on_purpose(bed: Bed) -> None:
    async with live(bed) as running:
        running.sandbox.plan(Fault(call="submit", contains="first", task_end="error"))
        running.drop("orders.csv", "first")
        row = await running.until("orders.csv", is_failed)
        assert row["code"] == "task_error"

        assert (await running.cli("retry", row["job"])).exit_code == 77
        assert (await running.cli("retry", row["job"], "--pay-again")).exit_code == 0
        await running.until("orders.csv", is_done)
        assert len(running.sandbox.accepted) == 2


async def test_a_reload_takes_a_right_configuration_and_leaves_a_wrong_one(bed: Bed) -> None:
    async with live(bed) as running:
        right = bed.config.read_text()
        bed.config.write_text(right.replace("settle: 0", "settle: soon"))
        rejected = await running.cli("reload")
        assert rejected.exit_code == 78
        assert "settle: must be a duration" in rejected.stderr

        bed.config.write_text("routes: [\n")
        unreadable = await asyncio.to_thread(bed.cli, "reload", RUNTIME_DIRECTORY=str(bed.state.parent))
        assert unreadable.exit_code == 78, "under systemd the daemon is found without it"
        assert "the old configuration stays" in unreadable.stderr
        nowhere = await running.cli("reload")
        assert (nowhere.exit_code, nowhere.stdout) == (78, "")
        assert nowhere.stderr.endswith("1 mistake\n"), "without it nobody can tell where the daemon is"

        bed.config.write_text(right.replace("retry:", "timeout: 1m, retry:"))
        reloaded = await running.cli("reload")
        assert (reloaded.exit_code, reloaded.stdout) == (0, "reloaded; routes: leads\n")
        assert reloaded.stderr == "takes effect only after a restart: api.timeout\n"

        bed.config.write_text("routes: []\n")
        running.process.send_signal(signal.SIGHUP)
        await running.has_logged("config.rejected")
        bed.config.write_text(right)
        running.drop("orders.csv", "1")
        await running.until("orders.csv", is_done)
        assert await running.end(signal.SIGINT) == 0


async def test_two_daemons_cannot_have_one_state(bed: Bed) -> None:
    async with live(bed):
        second = await start(bed)
        assert await second.wait() == 12
    assert b"is held by another instance" in (bed.folder / "daemon.log").read_bytes()


@pytest.mark.parametrize(
    ("files", "key", "exit_code"),
    [
        ({}, "k", 0),
        ({"a.csv": "Input_1\n1\n", "b.csv": "Input_1\n2\n"}, "k", 0),
        ({"a.csv": "Input_1\n1\n", "b.csv": "Input_1\n"}, "k", 10),
        ({"a.csv": "Input_1\n1\n"}, "another", 77),
    ],
)
async def test_run_once_ends_with_what_came_of_the_files(
    bed: Bed, files: dict[str, str], key: str, exit_code: int
) -> None:
    for name, content in files.items():
        (bed.inbox / name).write_text(content)
    async with Sandbox(SandboxOptions.instant(key=key)) as sandbox:
        bed.config.write_text(bed.config.read_text().replace("http://127.0.0.1:9", sandbox.base_url))
        process = await start(bed, "--once", "--timeout", "20s")
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == exit_code
        assert len(list((bed.folder / "leads/outbox").iterdir())) == len(sandbox.accepted)
