"""What a person, and Prometheus, see of the daemon from outside when something goes wrong, and when it is mended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.promtool import promtool
from tests.system.bed import KEY, Bed
from tests.system.process import Daemon, wait

TOKEN = "0123456789abcdef0123"
BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _served(bed: Bed) -> None:
    """Serve each bed on a port of its own, with a token."""
    (bed.folder / "token").write_text(f"{TOKEN}\n")
    (bed.folder / "token").chmod(0o600)
    bed.more["web"] = {"listen": "127.0.0.1:0", "token_file": "token"}


def ask(
    daemon: Daemon, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Ask the daemon; give code and content."""
    address = daemon.wait_for("web.listening")["address"]
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text
    finally:
        connection.close()


def metrics(daemon: Daemon) -> dict[str, float]:
    """Give the values that stand after names and labels."""
    status, text = ask(daemon, "/metrics")
    assert status == 200
    lines = re.findall(r"^bulkgpt_watchd_(\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(number) for name, number in lines}


def what(daemon: Daemon) -> tuple[int, list[str]]:
    """Give the code of /readyz and what its reasons are about."""
    status, content = ask(daemon, "/readyz")
    return status, [reason["what"] for reason in content["reasons"]]


def is_ready(daemon: Daemon) -> bool:
    return what(daemon) == (200, [])


def test_a_wrong_key_is_seen_everywhere_and_so_is_the_right_one(bed: Bed) -> None:
    """The newcomer's most likely mistake: what status, log, readiness and metrics say; mended, all goes on."""
    bed.set_key("a-wrong-key")
    daemon = bed.start()
    wait(lambda: is_ready(daemon), "it is ready before it knows", daemon=daemon)
    bed.drop("a.csv")
    shut = daemon.wait_for("gate.shut")
    assert "401" in shut["reason"]
    status = bed.json("status")
    assert (status["state"], status["gate"], status["gate_reason"]) == ("degraded", "shut", shut["reason"])
    code, content = ask(daemon, "/readyz")
    assert code == 503
    assert content == {"status": "not ready", "reasons": [{"what": "gate", "reason": f"shut: {shut['reason']}"}]}
    assert ask(daemon, "/healthz") == (200, {"status": "ok", "reasons": []})
    told = metrics(daemon)
    assert (told["gate_open"], told["gate_denied"], told['route_available{route="leads"}']) == (0, 1, 1)
    assert told['api_requests_total{code="401",endpoint="submit"}'] >= 1
    assert told['rows_total{kind="sent",route="leads"}'] == 0

    bed.set_key(KEY)
    bed.does("reload")
    bed.wait_ended(1)
    wait(lambda: is_ready(daemon), "it is ready again", daemon=daemon)
    told = metrics(daemon)
    assert (told["gate_open"], told["gate_denied"]) == (1, 0)
    assert told['rows_total{kind="sent",route="leads"}'] == told['rows_total{kind="ok",route="leads"}'] == 24
    assert told['jobs{route="leads",state="done"}'] == told['jobs_finished_total{outcome="done",route="leads"}'] == 1
    assert bed.json("status")["state"] == "ok"


def test_a_route_that_goes_away_is_told_and_its_return(bed: Bed) -> None:
    bed.route("leads")
    bed.route("other")
    daemon = bed.start()
    wait(lambda: is_ready(daemon), "it is ready", daemon=daemon)
    inbox, away = bed.place("inbox"), bed.folder / "away"
    inbox.rename(away)
    daemon.wait_for("route.unavailable", route="leads")
    code, content = ask(daemon, "/readyz")
    assert (code, [(reason["what"], reason["route"]) for reason in content["reasons"]]) == (503, [("route", "leads")])
    assert f"inbox {inbox} is missing" in content["reasons"][0]["reason"]
    told = metrics(daemon)
    assert (told['route_available{route="leads"}'], told['route_available{route="other"}']) == (0, 1)
    assert ask(daemon, "/healthz")[0] == 200

    away.rename(inbox)
    daemon.wait_for("route.available", route="leads")
    wait(lambda: is_ready(daemon), "it is ready again", daemon=daemon)
    assert metrics(daemon)['route_available{route="leads"}'] == 1
    assert metrics(daemon)['watch_up{route="leads"}'] == 1


def test_the_metrics_of_a_daemon_please_prometheus(bed: Bed) -> None:

    daemon = bed.start()
    bed.drop("a.csv")
    bed.drop("bad.csv", b"a,b\n1\n")
    bed.wait_ended(2)
    _, text = ask(daemon, "/metrics")
    for word in ("a.csv", "bad.csv", *(job["job"] for job in bed.jobs()), *bed.job("a.csv")["task_ids"]):
        assert word not in text, "no label tells of a job, a task or a file"
    assert promtool("check", "metrics", text=text.encode()) == (0, "")


def test_the_api_shows_what_the_commands_show_and_acts_as_they_do(bed: Bed) -> None:
    daemon = bed.start()
    bed.drop("a.csv")
    [job] = bed.wait_ended(1)
    assert ask(daemon, "/api/v1/jobs") == (200, {"jobs": bed.json("jobs"), "next": None})
    assert ask(daemon, f"/api/v1/jobs/{job['job']}") == (200, bed.json("jobs", "show", job["job"]))
    assert ask(daemon, "/api/v1/status") == (200, bed.json("status"))

    assert ask(daemon, "/api/v1/acts/pause", "POST", {"route": "leads"})[0] == 401
    code, content = ask(daemon, "/api/v1/acts/pause", "POST", {"route": "leads"}, BEARER)
    assert (code, content["ok"]) == (200, True)
    assert bed.json("status")["routes"][0]["paused"]
    assert metrics(daemon)['route_paused{route="leads"}'] == 1
    assert daemon.wait_for("audit.recorded")["by"] == "token over HTTP from 127.0.0.1"
    assert ask(daemon, "/api/v1/acts/resume", "POST", {"route": "nope"}, BEARER)[0] == 409
    assert TOKEN not in daemon.log_file.read_text()


def test_a_reload_reads_the_token_again_and_keeps_the_address(bed: Bed) -> None:
    daemon = bed.start()
    (bed.folder / "token").write_text("another-token-of-ours")
    assert ask(daemon, "/api/v1/acts/scan", "POST", {}, BEARER)[0] == 200
    bed.more["web"]["listen"] = "off"
    bed.write()
    assert bed.json("reload")["needs_restart"] == ["web.listen"]
    assert ask(daemon, "/api/v1/acts/scan", "POST", {}, BEARER)[0] == 401
    another = {**BEARER, "Authorization": "Bearer another-token-of-ours"}
    assert ask(daemon, "/api/v1/acts/scan", "POST", {}, another)[0] == 200
    read_at = metrics(daemon)["config_last_reload_success_timestamp_seconds"]

    (bed.folder / "token").write_text("short")
    refused = bed.command("reload")
    assert refused.returncode == 78
    assert "web.token_file" in refused.stderr
    status, answer = ask(daemon, "/api/v1/acts/reload", "POST", {}, another)
    assert (status, answer["error"]["exit_code"], len(answer["error"]["mistakes"])) == (409, 78, 1)
    assert ask(daemon, "/api/v1/acts/scan", "POST", {}, another)[0] == 200, "the old one stays"
    told = metrics(daemon)
    assert told["config_last_reload_successful"] == 0
    assert told["config_last_reload_success_timestamp_seconds"] == read_at
    (bed.folder / "token").unlink()
    del bed.more["web"]["token_file"]
    bed.write()
    os.kill(daemon.pid, signal.SIGHUP)
    wait(lambda: metrics(daemon)["config_last_reload_successful"] == 1, "it reloads", daemon=daemon)
    assert ask(daemon, "/api/v1/acts/scan", "POST", {}, another)[0] == 401


def test_an_address_that_others_reach_without_a_token_starts_nothing(bed: Bed) -> None:
    bed.more["web"] = {"listen": "0.0.0.0:0"}
    bed.write()
    done = bed.command("run")
    assert done.returncode == 78
    assert re.search(r"config\.yaml:\d+:\d+: web\.listen: others can reach this address", done.stderr)


def test_an_address_that_others_reach_asks_for_the_token(bed: Bed) -> None:
    bed.more["web"]["listen"] = "0.0.0.0:0"
    daemon = bed.start()
    assert ask(daemon, "/healthz")[0] == 200
    assert [ask(daemon, path)[0] for path in ("/readyz", "/metrics", "/api/v1/jobs")] == [401] * 3
    assert ask(daemon, "/metrics", headers=BEARER)[0] == 200
    assert daemon.told("web.refused", level="warning")


@contextmanager
def taken(port: int = 0) -> Iterator[int]:
    """Hold a port of this machine."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        held.listen()
        yield int(held.getsockname()[1])


def test_a_port_that_is_taken_ends_nothing_and_is_used_once_it_is_free(bed: Bed) -> None:
    with taken() as port:
        bed.more["web"]["listen"] = f"127.0.0.1:{port}"
        daemon = bed.start()
        told = daemon.wait_for("web.unavailable")
        assert (told["level"], told["reason"]) == ("error", "address already in use")
        bed.drop("a.csv")
        bed.wait_ended(1)
        status = bed.json("status")
        assert status["state"] == "degraded"
        assert status["problems"] == [f"web: 127.0.0.1:{port} cannot be used: address already in use"]
        assert f"no HTTP: 127.0.0.1:{port} cannot be used: address already in use" in bed.does("status")
    assert ask(daemon, "/healthz")[0] == 200
    assert len(daemon.told("web.unavailable")) == 1
    wait(lambda: bed.json("status")["state"] == "ok", "status is ok again", daemon=daemon)


def test_the_default_port_is_no_promise(bed: Bed) -> None:
    """Whoever has it already: it is a warning, and no trouble."""
    del bed.more["web"]
    with ExitStack() as stack:
        wait(partial(has_taken, stack, 8787), "no other test has the port")
        daemon = bed.start()
        assert daemon.wait_for("web.unavailable")["level"] == "warning"
        status = bed.json("status")
        assert (status["state"], status["web"]) == (
            "ok",
            {"address": "127.0.0.1:8787", "reason": "address already in use"},
        )


def has_taken(stack: ExitStack, port: int) -> bool:
    """Try to take a port that others may have for a while."""
    try:
        stack.enter_context(taken(port))
    except OSError:
        return False
    return True


def test_off_and_once_listen_nowhere(bed: Bed) -> None:
    bed.drop("a.csv")
    assert bed.once() == 0
    bed.more["web"] = {"listen": "off"}
    daemon = bed.start()
    bed.does("scan")
    assert not any(one.told("web.listening") for one in bed.daemons)
    assert bed.json("status")["web"] is None
    with closing(HTTPOverSocket(str(bed.folder / "state" / "control.sock"))) as connection:
        connection.request("GET", "/readyz")
        assert connection.getresponse().status in {200, 503}, "the control socket has all of it"
    daemon.stop()


class HTTPOverSocket(HTTPConnection):
    """Speak HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
