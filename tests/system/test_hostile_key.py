"""The key goes to `base_url`; whatever goes wrong, it is found nowhere else."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.adapters.loopback import Exchange
from tests.system.bed import KEY, Bed
from tests.system.hostile import Act, Hostile, saw_key, served
from tests.system.hostile_answers import answers, hangs, resets, sends
from tests.system.process import Daemon, wait

Record = Callable[[str, object], None]

ROOT = Path(__file__).parents[2]

FORMS = {
    "the key": KEY.encode(),
    "the key in base64": base64.b64encode(KEY.encode()).rstrip(b"=")[:-1],
    "the key in hexadecimal": KEY.encode().hex().encode(),
    "the end of the key": KEY[7:].encode(),
}
"""How it may stand somewhere; no other text of ours looks like the last."""


def traces(content: bytes) -> list[str]:
    return [name for name, form in FORMS.items() if form in content]


TOLD_BY_KERNEL = ("cmdline", "environ", "status", "comm", "maps", "mountinfo", "limits", "cgroup")


def of_processes(pids: Iterable[int]) -> list[str]:
    """Look in what the kernel tells of processes, but for their memory."""
    found = []
    for pid in pids:
        for name in TOLD_BY_KERNEL:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:  # it is gone, or not ours
                found += [f"{name} of {pid}: {form}" for form in traces(file.read())]
        with contextlib.suppress(OSError):
            links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
            found += [f"a descriptor of {pid}: {form}" for form in traces(os.fsencode(" ".join(links)))]
    return found


def places_of_the_key(bed: Bed) -> list[str]:
    """Look for the key in all files of a bed but its own, in their names, and in what the kernel tells."""
    found = of_processes(int(name) for name in os.listdir("/proc") if name.isdecimal())
    for path in bed.folder.rglob("*"):
        found += [f"the name {path}: {form}" for form in traces(os.fsencode(path))]
        if path.is_file() and path != bed.key_file:
            found += [f"{path}: {form}" for form in traces(path.read_bytes())]
    return found


def is_refused_to_strangers(daemon: Daemon, bed: Bed) -> None:
    """Ask as a user without rights for what would hold the key."""
    if os.geteuid() != 0:
        return  # another user is needed
    for path in (f"/proc/{daemon.pid}/environ", f"/proc/{daemon.pid}/mem", bed.key_file, bed.folder / "state/state.db"):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "head", "-c1", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert "Permission denied" in done.stderr, path


def echoes(code: int, body: dict[str, object]) -> Act:
    """Repeat the key that came with the call."""

    async def act(exchange: Exchange) -> None:
        await exchange.read()
        key = exchange.headers["x-api-key"]
        await exchange.reply(code, json.dumps(body).replace("KEY", key).encode(), {"Content-Type": f"text/{key}"})

    return act


def escaped(exchange_key: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in exchange_key)


@pytest.fixture
def bed(world: Hostile, bed: Bed) -> Bed:
    bed.api |= {"base_url": world.api.url, "timeout": "1s", "answer_timeout": "2s"}
    bed.api["retry"] = {"min": "50ms", "max": "200ms"}
    return bed


ECHOES: dict[str, tuple[str, Act, str | None]] = {
    "refused": ("submits", echoes(400, {"error": "Bad column in request of KEY"}), "rejected"),
    "escaped": ("submits", answers(b'{"error": "Bad column for %s"}' % escaped(KEY).encode()), "rejected"),
    "as-task": ("submits", echoes(200, {"taskId": "KEY"}), "submission_unknown"),
    "no-json": ("submits", echoes(500, {}), "submission_unknown"),
    "word": ("statuses", echoes(200, {"status": {"status": "waiting for KEY"}}), "task_timeout"),
    "unknown": ("statuses", echoes(404, {"error": "Invalid Task ID of KEY."}), "task_unknown"),
}


@pytest.mark.fault("S25")
def test_a_key_that_bulkgpt_repeats_is_told_to_nobody(bed: Bed, world: Hostile) -> None:
    for name, (call, act, _) in ECHOES.items():
        getattr(world, call)[name] = act
        bed.route(name, task_timeout="1s")
        bed.drop("a.csv", b"a\n%s\n" % name.encode(), name)
    daemon = bed.start()

    def go_on() -> bool:
        if len(daemon.told("gate.shut", needs_resume=True)) > len(daemon.told("audit.recorded")):
            bed.does("resume")
        return daemon.ends() == len(ECHOES)

    wait(go_on, "all end", daemon=daemon)
    jobs = {job["route"]: job for job in bed.jobs()}
    assert {name: job["code"] for name, job in jobs.items()} == {name: code for name, (_, _, code) in ECHOES.items()}
    assert jobs["refused"]["api_message"] == "Bad column in request of ***"
    assert "waiting for ***" in jobs["word"]["message"]
    assert places_of_the_key(bed) == []


@pytest.mark.fault("S18", "S25")
def test_a_link_with_the_key_in_it_is_not_followed(bed: Bed, world: Hostile) -> None:
    link = "https://store.example/result.csv?for=KEY"
    world.statuses["leads"] = echoes(200, {"status": {"status": "completed", "downloadUrl": link}})
    bed.route(task_timeout="1s")
    bed.drop("a.csv")
    bed.start()
    [job] = bed.wait_ended(1)
    assert (job["code"], job["message"]) == (
        "result_unavailable",
        "BulkGPT says that the task is complete but gives no link.",
    )
    assert places_of_the_key(bed) == []


BUG = """
import aiohttp

real = aiohttp.ClientSession.post

def post(self, url, *, data, headers, allow_redirects):
    if b"buggy" in (data if isinstance(data, bytes) else data._upload.workflow_id.encode()):
        raise LookupError(f"a library that tells all: {headers}")
    return real(self, url, data=data, headers=headers, allow_redirects=allow_redirects)

aiohttp.ClientSession.post = post
"""
"""Breaks aiohttp in the daemon's own process: it fails with the request's headers in its words."""

COMMANDS = (
    ("config", "show"),
    ("config", "show", "--json"),
    ("config", "check"),
    ("config", "schema"),
    ("config", "systemd"),
    ("doctor",),
    ("doctor", "--online"),
    ("status",),
    ("status", "--json"),
    ("jobs",),
    ("jobs", "--json"),
    ("report", "--json"),
    ("state", "check"),
    ("run", "--dry-run"),
    ("retry", "--failed"),
    ("resume",),
    ("reload",),
    ("submit", "missing.csv", "--route", "leads"),
)


@pytest.mark.fault("S15", "S18", "S25")
@pytest.mark.system
@pytest.mark.timeout(300)  # some thirty commands, a second each, on a machine that has other things to do
def test_after_all_kinds_of_faults_the_key_is_found_nowhere(bed: Bed, world: Hostile, record_property: Record) -> None:
    """Faults with the key at hand, the daemon's worst log, every command; then a search of all there is."""
    site = bed.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BUG)
    bed.is_broken = True
    bed.api["max_concurrent_submits"] = 1

    async def serve(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.reply(200, answer(b"a\nforbidden\n"))

    with served(serve, host="127.0.0.3") as elsewhere:
        away = f"Location: {elsewhere.url}/upload-trigger\r\nContent-Length: 0\r\n\r\n".encode()
        faults: dict[str, Act] = {
            "key-refused": echoes(401, {"error": "Invalid API key: KEY"}),
            "forbidden": echoes(403, {"error": "Forbidden: KEY"}),
            "redirected": sends(b"HTTP/1.1 307 X\r\n" + away),
            "reset": resets,
            "hangs": hangs,
            "no-http": sends(b"no HTTP\r\n\r\n"),
            "rejected": echoes(400, {"error": "KEY wants another column"}),
            "bombed": answers(b"[" * 500_000),
        }
        for name, act in faults.items():
            world.submits[name] = [act]
            world.statuses[name] = [sends(b"HTTP/1.1 308 X\r\n" + away), resets, echoes(404, {"error": "No task: KEY"})]
        world.links["forbidden"] = f"{elsewhere.url}/result.csv"
        for name in (*faults, "buggy", "leads"):
            bed.route(name)
            bed.drop("a.csv", b"a\n%s\n" % name.encode(), name)
        bed.drop("torn.csv", b"a,b\n1\n")
        daemon = bed.start(before=("prlimit", "--core=unlimited", "env", "-C", str(site), f"PYTHONPATH={site}:{ROOT}"))

        def go_on() -> bool:
            if len(daemon.told("gate.shut", needs_resume=True)) > len(daemon.told("audit.recorded")):
                bed.does("resume")
            return daemon.ends() == len(faults) + 3

        wait(go_on, "all end", 60, daemon)
        [bug] = [job for job in bed.jobs() if job["route"] == "buggy"]
        assert bug["code"] == "internal_error"
        assert bug["message"].startswith("LookupError: a library that tells all: {'x-api-key': '***'")
        assert "***" in daemon.told("daemon.bug")[0]["exception"]
        for command in (*COMMANDS, *(("jobs", "show", job["job"]) for job in bed.jobs())):
            done = bed.command(*command)
            assert traces((done.stdout + done.stderr).encode()) == [], command
        assert places_of_the_key(bed) == []
        is_refused_to_strangers(daemon, bed)

        daemon.stop(signal.SIGQUIT)  # the signal that dumps core
        assert list(site.glob("core*")) == []
        assert [exchange.request_line for exchange in elsewhere.exchanges] == ["GET /result.csv HTTP/1.1"]
        assert saw_key(elsewhere) == []
    assert places_of_the_key(bed) == []
    record_property("counted: files searched for the key", sum(path.is_file() for path in bed.folder.rglob("*")))


def test_the_search_finds_a_key_that_is_there(bed: Bed) -> None:
    """In a file, in a name, in what a process was given; else finding nothing would say nothing."""
    assert places_of_the_key(bed) == []
    (bed.folder / "notes").write_bytes(b"x" * 5_000_000 + base64.b64encode(KEY.encode()) + b"\n")
    (bed.folder / f"for {KEY}.csv").touch()
    child = subprocess.Popen(["sleep", "60"], env={"SOME_KEY": KEY})
    try:
        found = places_of_the_key(bed)
    finally:
        child.kill()
        child.wait()
        for path in (bed.folder / "notes", bed.folder / f"for {KEY}.csv"):
            path.unlink()
    assert f"{bed.folder}/notes: the key in base64" in found
    assert f"the name {bed.folder}/for {KEY}.csv: the key" in found
    assert f"environ of {child.pid}: the key" in found
