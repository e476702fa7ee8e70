"""Acting goes over the daemon's socket: who answers, who does not, and who may not ask."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from types import MethodType
from typing import Any

import pytest

from bulkgpt_watchd.cli.words import local
from bulkgpt_watchd.core.errors import CommandRefused, DiskTrouble
from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.service.daemon import Service
from bulkgpt_watchd.web.control import application, serve_socket
from tests.cli.conftest import Bed
from tests.sample_jobs import sample_job

Act = Callable[..., Awaitable[dict[str, Any]]]

Answer = dict[str, Any] | Exception | list[dict[str, Any]]

JOB = {"job": "a1000000", "route": "leads", "file": "x.csv", "error": "/srv/error/x.csv"}


class Daemon:
    """Stand where the daemon stands, and keep what it was asked; a list has an answer for each time."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def act(self, name: str) -> Act:
        """Give an act that may be asked what the daemon's may."""

        @wraps(Service.reload if name == "reload" else getattr(Acts, name))
        async def act(_self: Any, _by: str, **arguments: Any) -> dict[str, Any]:
            self.asked.append((name, arguments))
            answer = self.answer.pop(0) if isinstance(self.answer, list) else self.answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return MethodType(act, self)


@asynccontextmanager
async def listening(path: Path, answer: Answer) -> Any:
    """Serve the control API on a socket."""
    daemon = Daemon(answer)
    names = ("retry", "resolve", "redeliver", "adopt", "pause", "resume", "scan", "reload", "prune")

    async def status() -> dict[str, Any]:
        return {}

    runner = await serve_socket(
        application({name: daemon.act(name) for name in names}, status), str(path.parent), path.name
    )
    try:
        yield daemon
    finally:
        await asyncio.sleep(0.05)  # a connection that came and went is accepted first: closing would lose it
        await runner.cleanup()


@pytest.mark.parametrize(
    ("arguments", "act", "asked", "answer", "told"),
    [
        (
            ("retry", "a1000000"),
            "retry",
            {"jobs": ["a1000000"], "failed": False, "route": None, "pay_again": False},
            {"jobs": [JOB], "left": []},
            "job a1000000 (leads/x.csv) goes on\n",
        ),
        (
            ("retry", "--failed", "--route", "leads", "--pay-again"),
            "retry",
            {"jobs": [], "failed": True, "route": "leads", "pay_again": True},
            {"jobs": [JOB], "left": []},
            "job a1000000 (leads/x.csv) goes on\n",
        ),
        (
            ("resolve", "a1000000", "--task-id", "t1"),
            "resolve",
            {"job_id": "a1000000", "task_id": "t1", "not_submitted": False, "abandon": False},
            {"job": JOB},
            "job a1000000 (leads/x.csv) goes on with task t1\n",
        ),
        (
            ("resolve", "a1000000", "--not-submitted"),
            "resolve",
            {"job_id": "a1000000", "task_id": None, "not_submitted": True, "abandon": False},
            {"job": JOB},
            "job a1000000 (leads/x.csv) goes on: it is sent anew\n",
        ),
        (
            ("resolve", "a1000000", "--abandon"),
            "resolve",
            {"job_id": "a1000000", "task_id": None, "not_submitted": False, "abandon": True},
            {"job": JOB},
            "job a1000000 (leads/x.csv) is closed; its file stays at /srv/error/x.csv\n",
        ),
        (
            ("redeliver", "a1000000"),
            "redeliver",
            {"job_id": "a1000000"},
            {"job": JOB},
            "job a1000000 (leads/x.csv): its result is being fetched; see `bulkgpt-watchd jobs show a1000000`\n",
        ),
        (
            ("pause", "leads", "--for", "4h", "--reason", "month end"),
            "pause",
            {"route": "leads", "for_s": 14400.0, "reason": "month end"},
            {"until": None},
            "paused: route leads, until `bulkgpt-watchd resume`\n",
        ),
        (
            ("resume",),
            "resume",
            {"route": None, "over_budget": False},
            {"route": None},
            "going on: all routes\n",
        ),
        (
            ("resume", "leads", "--over-budget"),
            "resume",
            {"route": "leads", "over_budget": True},
            {"route": "leads", "over_budget_until": "2026-11-25T00:00:00.000Z"},
            f"going on: route leads, over budget until {local(1_795_564_800.0)}\n",
        ),
        (("scan",), "scan", {"route": None}, {"routes": ["leads", "b"]}, "looking at leads, b\n"),
        (("adopt", "leads"), "adopt", {"route": "leads"}, {"route": "leads"}, "adopted: route leads\n"),
        (("reload",), "reload", {}, {"routes": ["leads"], "needs_restart": []}, "reloaded; routes: leads\n"),
    ],
)
async def test_an_act_is_asked_and_its_answer_told(
    bed: Bed, arguments: tuple[str, ...], act: str, asked: dict[str, Any], answer: dict[str, Any], told: str
) -> None:
    async with listening(bed.folder / "state/control.sock", answer) as daemon:
        ran = await asyncio.to_thread(bed.cli, *arguments)
        as_json = await asyncio.to_thread(bed.cli, *arguments, "--json")

    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, told, "")
    assert daemon.asked == [(act, asked)] * 2
    assert json.loads(as_json.stdout) == {"ok": True, **answer}


async def test_beginnings_of_ids_are_completed_and_what_is_unclear_is_not_asked(bed: Bed) -> None:
    await asyncio.to_thread(bed.remember, sample_job("a1000000"), sample_job("a2000000", file="x.csv"))
    async with listening(bed.folder / "state/control.sock", {"jobs": [], "left": []}) as daemon:
        assert (await asyncio.to_thread(bed.cli, "retry", "a1", "a2")).exit_code == 0
        assert daemon.asked[0][1]["jobs"] == ["a1000000", "a2000000"]
        assert (await asyncio.to_thread(bed.cli, "retry", "a")).exit_code == 66
        ran = await asyncio.to_thread(bed.cli, "retry", "x.csv")

    assert (ran.exit_code, len(daemon.asked)) == (66, 1)
    assert ran.stderr == "bulkgpt-watchd: there is no job 'x.csv'; the latest job of that file is a2000000\n"


async def test_a_long_history_is_pruned_in_parts_and_each_is_told(bed: Bed) -> None:
    await asyncio.to_thread(bed.remember)
    answers = [
        {"forgotten": {"done": 10_000}, "kept": {"with an open question": 1}, "more": True},
        {"forgotten": {"done": 2, "failed": 1}, "kept": {"with an open question": 2}, "more": False},
    ]
    async with listening(bed.folder / "state/control.sock", answers) as daemon:
        ran = await asyncio.to_thread(bed.cli, "state", "prune")

    assert (ran.exit_code, ran.stderr) == (0, "forgot 10,000 jobs so far\n")
    assert ran.stdout.splitlines() == [
        "forgot 10,003 jobs older than `keep.history`: 10,002 done, 1 failed",
        "kept: 2 jobs with an open question",
    ]
    assert daemon.asked == [("prune", {"older_than_s": None, "dry_run": False})] * 2


async def test_a_daemon_from_before_an_upgrade_prunes_all_at_once(bed: Bed) -> None:
    await asyncio.to_thread(bed.remember)
    async with listening(bed.folder / "state/control.sock", {"forgotten": {"done": 2}, "kept": {}}):
        ran = await asyncio.to_thread(bed.cli, "state", "prune")

    assert (ran.exit_code, ran.stdout) == (0, "forgot 2 jobs older than `keep.history`: 2 done\n")


async def test_what_retry_had_to_leave_is_told_and_ends_with_1(bed: Bed) -> None:
    left = {"jobs": [JOB], "left": [{"job": "a2000000", "reason": "job a2000000 may be billed"}]}
    async with listening(bed.folder / "state/control.sock", left):
        ran = await asyncio.to_thread(bed.cli, "retry", "--failed")

    assert (ran.exit_code, ran.stderr) == (1, "left: job a2000000 may be billed\n")


@pytest.mark.parametrize(
    ("error", "exit_code", "told"),
    [
        (CommandRefused("it is done"), 77, "it is done"),
        (CommandRefused("there is no route 'x'", exit_code=66), 66, "there is no route 'x'"),
        (DiskTrouble("the disk is full"), 74, "the disk is full"),
        (RuntimeError("bug"), 1, "the daemon met a bug of its own; its log has the traceback"),
    ],
)
async def test_what_the_daemon_refuses_is_told_with_its_exit_code(
    bed: Bed, error: Exception, exit_code: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(bed.folder / "state/control.sock", error):
        ran = await asyncio.to_thread(bed.cli, "resume")
        as_json = await asyncio.to_thread(bed.cli, "resume", "--json")

    assert (ran.exit_code, ran.stdout, ran.stderr) == (exit_code, "", f"bulkgpt-watchd: {told}\n")
    assert json.loads(as_json.stdout) == {"error": {"message": told, "exit_code": exit_code}}
    assert as_json.stderr == ""
    caplog.clear()


async def test_a_reload_tells_every_mistake_and_what_needs_a_restart(bed: Bed) -> None:
    before_the_key = bed.config.read_text().partition("key,")[0]
    here = {"file": str(bed.config), "line": 1, "column": 2, "path": "api", "message": "wrong"}
    mistakes = [here, {**here, "file": "/c", "line": None, "path": "log"}]
    wrong = CommandRefused("the old configuration stays:\nall of it", exit_code=78, mistakes=mistakes)
    async with listening(bed.folder / "state/control.sock", wrong):
        ran = await asyncio.to_thread(bed.cli, "reload")
        as_json = await asyncio.to_thread(bed.cli, "reload", "--json")
    assert (ran.exit_code, ran.stdout) == (78, "")
    assert ran.stderr == (
        "bulkgpt-watchd: the old configuration stays:\n"
        f"{bed.config}:1:2: api: wrong\n  1 | {before_the_key}…\n    |  ^\n"
        "/c: log: wrong\n2 mistakes\n"
    )
    assert json.loads(as_json.stdout)["error"]["mistakes"] == [f"{bed.config}:1:2: api: wrong", "/c: log: wrong"]

    here["file"] = "/gone"
    async with listening(bed.folder / "state/control.sock", CommandRefused("wrong", exit_code=78, mistakes=[here])):
        ran = await asyncio.to_thread(bed.cli, "reload")
    assert ran.stderr == "bulkgpt-watchd: the old configuration stays:\n/gone:1:2: api: wrong\n1 mistake\n"

    async with listening(bed.folder / "state/control.sock", {"routes": ["leads"], "needs_restart": ["api.proxy"]}):
        ran = await asyncio.to_thread(bed.cli, "reload")
    assert (ran.exit_code, ran.stderr) == (0, "takes effect only after a restart: api.proxy\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry",),
        ("retry", "a1000000", "--failed"),
        ("retry", "a1000000", "--route", "leads"),
        ("resolve", "a1000000"),
        ("resolve", "a1000000", "--abandon", "--not-submitted"),
        ("resolve", "--abandon"),
        ("redeliver",),
        ("adopt",),
        ("pause", "--for", "a while"),
    ],
)
def test_what_contradicts_itself_is_a_mistake_of_usage(bed: Bed, arguments: tuple[str, ...]) -> None:
    assert bed.cli(*arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [("resume",), ("retry", "a1000000")])
def test_without_a_daemon_it_says_where_it_asked_and_what_to_start(bed: Bed, arguments: tuple[str, ...]) -> None:
    ran = bed.cli(*arguments)

    assert (ran.exit_code, ran.stdout) == (69, "")
    assert ran.stderr == (
        f"bulkgpt-watchd: the daemon is not running (no answer at {bed.folder}/state/control.sock); "
        f"start it with `systemctl start bulkgpt-watchd` or `bulkgpt-watchd -c {bed.config} run`\n"
    )


def test_a_reload_after_another_state_path_says_that_it_takes_a_restart(bed: Bed) -> None:
    ran = bed.cli("reload")
    bed.remember()
    as_ever = bed.cli("reload")

    hint = "; no daemon has run with this `state.path` yet: one that was started with another listens beside that"
    assert (ran.exit_code, hint in ran.stderr) == (69, True)
    assert (as_ever.exit_code, "is not running" in as_ever.stderr, hint in as_ever.stderr) == (69, True, False)


def test_a_socket_that_a_dead_daemon_left_is_no_daemon(bed: Bed) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(bed.folder / "state/control.sock"))
    dead.close()

    assert bed.cli("resume").exit_code == 69


def test_a_daemon_that_hangs_up_or_hangs_is_told_as_that(bed: Bed) -> None:
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(bed.folder / "state/control.sock"))
        hanging.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(bed.folder / "state/control.sock"))
        ran = bed.cli("resume")
        bed.remember()
        assert json.loads(bed.cli("status", "--json").stdout)["running"] is True
        waiting.close()

    assert ran.exit_code == 69
    assert "the daemon does not answer; it may still carry this out" in ran.stderr


async def test_a_daemon_that_ends_before_it_answered_is_told_as_that(bed: Bed) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, bed.folder / "state/control.sock"):
        ran = await asyncio.to_thread(bed.cli, "resume")

    assert ran.exit_code == 69
    assert ran.stderr == "bulkgpt-watchd: the daemon ended before it answered; look again when it runs\n"


async def test_a_path_longer_than_sockets_may_have_is_reached(bed: Bed) -> None:
    folder = "d" * 150
    (bed.folder / folder).mkdir()
    bed.config.write_text(bed.config.read_text().replace("state/state.db", f"{folder}/state.db"))
    async with listening(bed.folder / folder / "control.sock", {"route": None}):
        assert (await asyncio.to_thread(bed.cli, "resume")).exit_code == 0


async def test_the_socket_that_the_daemon_noted_is_found_where_only_it_knows_its_folder(bed: Bed) -> None:
    """Under systemd the socket lies in $RUNTIME_DIRECTORY, which a person's shell does not have."""
    runtime = bed.folder / "run"
    runtime.mkdir()
    noted = {"daemon": {"socket": str(runtime / "control.sock"), "pid": os.getpid(), "started_at": None}}
    await asyncio.to_thread(bed.remember, facts=noted)
    async with listening(runtime / "control.sock", {"route": None}) as daemon:
        assert (await asyncio.to_thread(bed.cli, "resume")).exit_code == 0
        assert len(daemon.asked) == 1
    assert (await asyncio.to_thread(bed.cli, "resume")).exit_code == 69


async def test_a_state_restored_elsewhere_does_not_command_the_daemon_it_was_copied_from(bed: Bed) -> None:
    runtime = bed.folder / "run"
    runtime.mkdir()
    await asyncio.to_thread(bed.remember, facts={"daemon": {"socket": str(runtime / "control.sock"), "pid": 1}})
    async with listening(runtime / "control.sock", {"route": None}) as daemon:
        assert (await asyncio.to_thread(bed.cli, "resume")).exit_code == 69
        assert daemon.asked == []


@pytest.fixture
def public() -> Iterator[Bed]:
    """Give a bed that other users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="bulkgpt-watchd-test-"))
    folder.chmod(0o755)
    bed = Bed(folder)
    bed.configure()
    yield bed
    shutil.rmtree(folder)


AS_ANOTHER = """
import contextlib, grp, io, os, pwd, sys
import bulkgpt_watchd.cli.routes
from bulkgpt_watchd.cli import main, root

if os.getuid() == 0:
    # Another user may not be able to read this Python: whatever it imports on the way is imported before.
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        root.main([*sys.argv[1:3], "status"])
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main()
"""


def as_another(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who has no rights; who is not root already is one for files that deny all."""
    return subprocess.run([sys.executable, "-c", AS_ANOTHER, *arguments], capture_output=True, text=True, check=False)


def test_who_may_not_use_the_socket_is_told_who_may(public: Bed) -> None:
    path = public.folder / "state/control.sock"
    noted = {"socket": str(path), "pid": os.getpid(), "started_at": None, "version": "1", "config": str(public.config)}
    public.remember(facts={"daemon": noted})
    public.state.chmod(0o644)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        asked = as_another("-c", public.config, "resume")
        looked = as_another("-c", public.config, "status", "--json")

    assert (asked.returncode, asked.stdout) == (77, "")
    assert asked.stderr == (
        f"bulkgpt-watchd: you may not use the control socket {path}: only user {path.owner()} and "
        f"group {path.group()} may; join that group, or use sudo\n"
    )
    assert json.loads(looked.stdout)["running"] is True
