"""The service as systemd runs it, in a machine of its own; how it is installed: host.py."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.pages import ROOT
from tests.system.bed import KEY, VENDOR_CSV
from tests.system.host import CONFIG, UNIT, Host
from tests.system.process import wait

pytestmark = pytest.mark.system

UNIT_TEXT = (ROOT / "systemd" / UNIT).read_text(encoding="utf-8")
RUNTIME = f"/run/systemd/system/{UNIT}.d"


def test_a_dropped_file_comes_back(host: Host) -> None:
    assert host.show("ActiveState", "SubState", "NRestarts") == ["active", "running", "0"]
    host.drop("orders.csv", VENDOR_CSV)

    assert host.result("orders.csv") == answer(VENDOR_CSV)
    result = host.machine.path("/srv/bulkgpt/leads/outbox/orders.csv").stat()
    assert oct(result.st_mode & 0o777) == "0o640"
    assert host.machine.path("/srv/bulkgpt/leads").stat().st_gid == result.st_gid
    wait(lambda: host.show("StatusText")[0] == "1 route; 0 waiting, 0 running; gate open", "the status says so")
    job = json.loads(host.machine.does("bulkgpt-watchd", "jobs", "--json"))[0]
    assert (job["state"], job["file"]) == ("done", "orders.csv")


def test_the_journal_has_json_and_priorities(host: Host) -> None:
    assert {"daemon.started", "daemon.ready"} <= {str(line["event"]) for line in host.log()}
    fields = host.machine.does("journalctl", "-u", UNIT, "-o", "json", "-n", "1", "-p", "info", "_COMM=bulkgpt-watchd")
    assert json.loads(fields)["PRIORITY"] == "6"


@pytest.mark.fault("S25")
def test_the_key_reaches_the_daemon_and_nobody_else(host: Host) -> None:
    machine, pid = host.machine, host.pid
    process = Path(f"{machine.proc}/{pid}")
    assert KEY.encode() not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert "CREDENTIALS_DIRECTORY" in (process / "environ").read_bytes().decode()
    credential = f"/run/credentials/{UNIT}/bulkgpt-api-key"
    machine.types("id -u stranger || useradd --user-group stranger")
    for file in (credential, "/etc/bulkgpt-watchd/api-key"):
        assert machine.run("cat", file, user="stranger").returncode != 0
    assert machine.run("cat", "/etc/bulkgpt-watchd/api-key", user="bulkgpt-watchd").returncode != 0
    assert KEY not in machine.does("journalctl", "--no-pager", "-u", UNIT)
    assert KEY not in machine.does("systemctl", "show", UNIT)


@pytest.mark.fault("S26")
def test_it_runs_with_no_more_rights_than_it_needs(host: Host) -> None:
    enter = ("nsenter", "--target", str(host.pid), "--mount", "--setuid", "0")

    def is_refused(path: str) -> bool:
        return host.machine.run(*enter, "touch", path).returncode != 0

    refused = ["/etc/x", "/usr/x", "/opt/x", "/var/x", "/srv/x", "/home/x"]
    assert [path for path in refused if not is_refused(path)] == []
    assert not is_refused("/srv/bulkgpt/x")
    assert not is_refused("/var/lib/bulkgpt-watchd/x")
    status = Path(f"{host.machine.proc}/{host.pid}/status").read_text()
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)


def findings_of(host: Host, *, user: str = "root", before: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Give what doctor says of the machine by level, each as "what: text"; this clock is not synchronized."""
    ran = host.machine.run(*before, "bulkgpt-watchd", "doctor", "--json", user=user)
    content = json.loads(ran.stdout)
    assert ran.returncode == (0 if content["ok"] else 1)
    told: dict[str, set[str]] = {"ok": set(), "warn": set(), "fail": set()}
    for one in content["findings"]:
        if one["what"] != "clock":
            told[one["level"]].add(f"{one['what']}: {one['text']}")
    return told


def test_doctor_finds_nothing_wrong_with_what_the_page_installs(host: Host) -> None:
    told = findings_of(host)
    assert (told["warn"], told["fail"]) == (set(), set())
    assert told["ok"] >= {
        "api key: from $CREDENTIALS_DIRECTORY/bulkgpt-api-key",
        f"api key: {UNIT} loads it from /etc/bulkgpt-watchd/api-key",
        f"daemon: runs and takes commands, pid {host.pid}",
        f"unit: {UNIT} (active) hides none of the folders",
    }
    assert any(text.endswith("as whom the daemon runs") for text in told["ok"])


def test_doctor_works_in_the_sandbox_of_the_service_too(host: Host) -> None:
    """As a step of a unit would: its user, and each setting of the shipped one."""
    settings = r"^((?:Pro|Private|ReadWrite|Restrict|System|Memory|NoNew|Capab|State)\w+=.*)$"
    kept = re.findall(settings, UNIT_TEXT, re.MULTILINE)
    assert {"ProtectSystem=strict", "ProcSubset=pid", "SystemCallFilter=@system-service"} <= set(kept)
    sandbox = [word for line in [*kept, "User=bulkgpt-watchd"] for word in ("-p", line)]
    told = findings_of(host, before=("systemd-run", "--quiet", "--pipe", "--wait", *sandbox))
    assert told["fail"] == set()
    assert told["warn"] == {"inotify: skipped: its limits cannot be read; inboxes are scanned in any case"}
    assert f"daemon: runs and takes commands, pid {host.pid}" in told["ok"]


def test_doctor_tells_nobody_but_root_and_the_service_of_rights(host: Host) -> None:
    host.machine.types("id -u member || useradd --user-group --groups bulkgpt-watchd member")
    assert findings_of(host, user="bulkgpt-watchd")["warn"] == set()
    told = findings_of(host, user="member")
    assert [text.split(":")[0] for text in told["warn"]] == ["user"]
    assert told["fail"] == set()


def test_doctor_says_that_the_daemon_has_the_key_of_before(host: Host) -> None:
    file = "/etc/bulkgpt-watchd/api-key"
    host.machine.types(f"cp -p {file} /run/key-before; echo another > {file}")
    (text,) = findings_of(host)["warn"]
    assert text == f"api key: {file} has changed, and the daemon has the key that was in it at its start"
    host.machine.types(f"mv /run/key-before {file}")


def test_a_reload_with_a_wrong_configuration_fails_and_changes_nothing(host: Host) -> None:
    config, pid = host.machine.path(CONFIG), host.pid
    config.write_text(host.config.replace("settle: 200ms", "settle: soon"))
    failed = host.machine.run("systemctl", "reload", UNIT)

    assert failed.returncode != 0
    assert host.show("ActiveState", "MainPID") == ["active", str(pid)]
    journal = host.machine.does("journalctl", "-u", UNIT, "--no-pager", "-n", "20")
    assert "status=78" in journal
    assert "the old configuration stays" in journal
    assert "defaults.settle: " in journal
    assert host.log()[-1]["event"] == "config.rejected"
    config.write_text("routes: [\n")
    assert host.machine.run("systemctl", "reload", UNIT).returncode != 0
    assert host.log()[-1]["event"] == "config.rejected", "the daemon knows, though nobody can read where it is"
    config.write_text(host.config)
    host.machine.does("systemctl", "reload", UNIT)
    assert host.log()[-1]["event"] == "config.reloaded"
    assert host.show("ActiveState", "MainPID") == ["active", str(pid)]


def test_what_is_killed_starts_again_and_goes_on(host: Host) -> None:
    before = host.pid
    host.drop("killed.csv", b"a\n1\n")
    wait(
        lambda: any(line.get("file") == "killed.csv" and line["event"] == "task.submitted" for line in host.log()),
        "it is submitted",
    )
    host.machine.does("systemctl", "kill", "--signal=KILL", UNIT)
    wait(lambda: host.pid not in {0, before}, "it starts again")

    assert host.result("killed.csv") == answer(b"a\n1\n")


def test_a_stop_is_graceful(host: Host) -> None:
    host.machine.does("systemctl", "stop", UNIT)

    assert host.show("Result", "ExecMainStatus") == ["success", "0"]
    assert host.log()[-1]["event"] == "daemon.stopped"
    host.machine.does("systemctl", "start", UNIT)


def test_a_wrong_configuration_starts_nothing_and_is_not_tried_again(host: Host) -> None:
    host.machine.does("systemctl", "stop", UNIT)
    host.machine.path(CONFIG).write_text("nonsense: 1\n")
    assert host.machine.run("systemctl", "start", UNIT).returncode != 0
    assert host.show("ActiveState", "ExecMainStatus") == ["failed", "78"]
    assert "nonsense: unknown key" in host.machine.does("journalctl", "-u", UNIT, "--no-pager", "-p", "err")
    host.machine.path(CONFIG).write_text(host.config)
    host.machine.does("systemctl", "start", UNIT)


@pytest.mark.fault("F45")
def test_a_daemon_that_hangs_is_killed_and_started_again(host: Host) -> None:
    """With a short watchdog: the unit's would take three minutes."""
    short = "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n"
    host.machine.types(f"mkdir -p {RUNTIME}; cat > {RUNTIME}/short.conf; systemctl daemon-reload", given=short)
    host.machine.does("systemctl", "restart", UNIT)
    before = host.pid
    time.sleep(6)
    assert host.pid == before, "it is fed"
    host.machine.does("systemctl", "kill", "--signal=STOP", UNIT)
    wait(lambda: host.pid not in {0, before}, "it starts again")
    wait(lambda: host.show("ActiveState") == ["active"], "it is ready")
    assert "Watchdog timeout" in host.machine.does("journalctl", "-u", UNIT, "--no-pager")
    host.machine.types(f"rm {RUNTIME}/short.conf; systemctl daemon-reload")


SLOW_START = """\
import asyncio, os
from bulkgpt_watchd.service.heartbeat import Heartbeat

async def start():
    heart = Heartbeat(os.environ)
    async with heart.beating():
        await asyncio.sleep(12)
        heart.ready()
        await asyncio.Event().wait()

asyncio.run(start())
"""


def test_a_start_that_gets_on_may_take_longer_than_the_unit_says(host: Host) -> None:
    """Only the beats of a start, since no real one takes so long: 12 s, where 6 are allowed."""
    python = ("/opt/bulkgpt-watchd/bin/python", "-c", SLOW_START)
    began = time.monotonic()
    host.machine.does("systemd-run", "--unit=slow", "-p", "Type=notify", "-p", "TimeoutStartSec=6s", *python)

    assert time.monotonic() - began > 12
    assert host.machine.does("systemctl", "show", "--value", "-p", "ActiveState", "slow") == "active"
    host.machine.does("systemctl", "stop", "slow")
