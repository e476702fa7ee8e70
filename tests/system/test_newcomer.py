"""
A newcomer's first hour, in order: the first file, a wrong key, a wrong reload, a full disk.

Money and copies of the state: test_newcomer_money.py. What a person acts on is asserted word for word.
"""

from __future__ import annotations

import os

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.cli.test_doctor import NO_UNIT
from tests.system.bed import KEY
from tests.system.newcomer import Newcomer, ask, metric
from tests.system.process import wait
from tests.system.test_mounts import Disks, can_mount

ORDERS = b"Input_1\nfirst\nsecond\n"


@pytest.fixture
def kind() -> type[Newcomer]:
    return Newcomer


def test_the_first_file_goes_there_and_back(bed: Newcomer) -> None:
    assert (bed.made.returncode, bed.made.stderr) == (0, "")
    assert "  api-key        the API key; nobody else can read it\n" in bed.made.stdout
    again = bed.init("--workflow-id", "any")
    assert again.returncode == 77
    told = "bulkgpt-watchd: nothing was made, since nothing is overwritten; there is already: "
    assert bed.plain(again.stderr) == f"{told}DIR/config.yaml, DIR/state, DIR/api-key\n"

    hint = "name another configuration with --config, or make one with: bulkgpt-watchd init DIR"
    nowhere = bed.says("status", "-c", str(bed.folder / "x.yaml"))
    assert nowhere == (78, "", f"DIR/x.yaml: does not exist\n{hint}\n")
    assert bed.says("config", "check") == (0, "DIR/config.yaml: ok, 1 route\n", "")
    code, told, _ = bed.says("doctor", *NO_UNIT)
    assert code == 0
    warned = {line.split()[1] for line in told.splitlines() if line.startswith("warn ")}
    assert {"daemon"} <= warned <= {"daemon", "unit", "inotify", "clock"}, told
    start_it = "start it with `systemctl start bulkgpt-watchd` or `bulkgpt-watchd -c DIR/config.yaml run`"
    assert f"the daemon is not running (no answer at DIR/state/control.sock); {start_it}" in told
    for command in ("status", "jobs", "report"):
        code, told, said = bed.says(command)
        assert (code, told) == (74, "")
        assert said.startswith("bulkgpt-watchd: no state at DIR/state/state.db yet: the daemon has not run with this")
    assert bed.says("reload")[0] == 69

    bed.drop("orders.csv", ORDERS)
    code, told, said = bed.says("run", "--dry-run")
    assert (code, said) == (0, "")
    assert told.splitlines() == [
        "One look at what is there; nothing is taken, sent, made or changed.",
        "",
        "leads  DIR/leads/inbox",
        "  WOULD BE  FILE        ROWS  WHY",
        "  taken     orders.csv     2",
        "",
        "In all: 1 file with 2 rows to pay would be taken",
    ]
    assert (bed.files("inbox"), bed.sandbox.ledger) == ({"orders.csv": ORDERS}, [])

    daemon = bed.start()
    bed.wait_ended(1)
    assert bed.files("outbox") == {"orders.csv": answer(ORDERS)}
    assert bed.files("archive").keys() == {"orders.csv", "orders.csv.receipt.json"}
    code, told, said = bed.says("jobs")
    assert (code, said) == (0, "")
    assert [line.split() for line in told.splitlines()] == [
        ["JOB", "ROUTE", "FILE", "STATE", "ROWS", "CHANGED", "NOTE"],
        [bed.job("orders.csv")["job"], "leads", "orders.csv", "done", "2", "Ns", "ago"],
    ]
    assert bed.json("status")["state"] == "ok"
    assert ask(daemon, "/readyz") == (200, {"status": "ready", "reasons": []})
    assert bed.command("run").returncode == 12, "a second one"
    assert daemon.stop() == 0
    assert bed.says("status")[1].startswith(f"bulkgpt-watchd is not running; {start_it}\nBelow is what it knew")


@pytest.mark.fault("F48")
def test_a_wrong_key_is_named_everywhere_shown_nowhere_and_mended(bed: Newcomer) -> None:
    wrong = "wrong-0123456789abcdef"
    bed.set_key(wrong)
    daemon = bed.start()
    bed.drop("first.csv", b"a\n1\n")
    shut = daemon.wait_for("gate.shut")
    bed.drop("second.csv", b"a\n2\n")
    bed.drop("third.csv", b"a\n3\n")
    wait(lambda: bed.json("status")["routes"][0]["waiting"] == 3, "all are seen", daemon=daemon)

    reason = "HTTP 401: Invalid API key."
    assert (shut["level"], shut["reason"], shut["needs_resume"]) == ("error", reason, False)
    code, told, said = bed.says("status")
    assert (code, said) == (0, "")
    gate, hint, again = told.splitlines()[1:4]
    assert gate == f"gate SHUT, nothing is submitted: {reason}"
    assert hint == "  key, account or address is refused; what to do about it: bulkgpt-watchd doctor --online"
    assert again.startswith("  it is tried again by itself in ")
    assert again.endswith("; at once by: bulkgpt-watchd resume")
    assert told.splitlines()[-1].split(maxsplit=5) == ["leads", "3", "0", "0", "0", "gate shut"]
    status = bed.json("status")
    assert (status["state"], status["gate"], status["gate_reason"]) == ("degraded", "shut", reason)
    assert (status["gate_denied"], status["problems"]) == (True, [f"gate: {reason}"])
    not_ready = {"status": "not ready", "reasons": [{"what": "gate", "reason": f"shut: {reason}"}]}
    assert ask(daemon, "/readyz") == (503, not_ready)
    assert ask(daemon, "/healthz")[0] == 200
    assert (metric(daemon, "gate_open"), metric(daemon, "gate_denied")) == (0, 1)
    code, told, _ = bed.says("doctor", "--online", *NO_UNIT)
    assert code == 1
    assert f"fail  api            the key or the account is refused: {reason}\n" in told
    assert "fix: put the right key where `api key` above is from\n" in told
    assert f"nothing would be taken now: the gate is shut: {reason}" in bed.says("run", "--dry-run")[1]
    assert bed.files("inbox").keys() == {"second.csv", "third.csv"}
    assert bed.files("error") == {}
    assert wrong not in told + daemon.tail() + bed.does("status", "--json") + ask(daemon, "/metrics")[1]

    bed.set_key(KEY)
    assert bed.says("reload") == (0, "reloaded; routes: leads\n", "")
    bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"first.csv", "second.csv", "third.csv"}
    assert daemon.told("key.changed")
    assert daemon.told("gate.opened")
    wait(lambda: ask(daemon, "/readyz")[0] == 200, "it is ready again", daemon=daemon)
    assert (metric(daemon, "gate_open"), metric(daemon, "gate_denied")) == (1, 0)
    assert bed.says("status")[1].splitlines()[1] == "gate open"


def test_a_wrong_reload_is_refused_with_every_mistake_and_the_old_one_stays(bed: Newcomer) -> None:
    daemon = bed.start()
    right = bed.config_file.read_text()
    bed.config_file.write_text(right.replace("workflow_id: any", "workflow: any") + "wbe: {listen: off}\n")
    lines = bed.config_file.read_text().splitlines()
    place = f"DIR/config.yaml:{lines.index('  - name: leads') + 1}:5"
    below = f"DIR/config.yaml:{lines.index('    workflow: any') + 1}:5"
    last = f"DIR/config.yaml:{len(lines)}:1"
    mistakes = [
        f"{place}: routes[leads].workflow_id: this key is missing",
        f"{below}: routes[leads].workflow: unknown key; did you mean 'workflow_id'?",
        f"{last}: wbe: unknown key; did you mean 'web'?",
    ]

    code, told, said = bed.says("reload")

    assert (code, told) == (78, "")
    shown = [line for line in said.splitlines() if not line.startswith("  ")]
    assert shown == ["bulkgpt-watchd: the old configuration stays:", *mistakes, "3 mistakes"]
    assert f"  {len(lines)} | wbe: {{listen: off}}" in said.splitlines()
    assert bed.says("config", "check")[0] == 78
    assert daemon.wait_for("config.rejected")["level"] == "error"
    assert metric(daemon, "config_last_reload_successful") == 0
    bed.drop("a.csv")
    bed.wait_ended(1)
    assert bed.json("status")["running"]
    assert bed.says("scan") == (0, "looking at leads\n", "")

    bed.config_file.write_text(right)
    assert bed.says("reload") == (0, "reloaded; routes: leads\n", "")
    assert metric(daemon, "config_last_reload_successful") == 1
    bed.drop("b.csv", b"a\n1\n")
    bed.wait_ended(2)


@pytest.mark.fault("F36")
@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not can_mount(), reason="not as root: mounts")
def test_a_full_disk_is_told_loses_nothing_and_goes_on_when_it_is_freed(bed: Newcomer) -> None:
    bed.configure(min_free="1MB")
    disks = Disks(bed)
    daemon = disks.start("mount -t tmpfs -o size=4m none state")
    bed.drop("before.csv", b"a\n1\n")
    daemon.wait_for("job.done")

    disks.do("dd if=/dev/zero of=state/filler bs=4k 2>/dev/null || true")
    low = daemon.wait_for("disk.low")
    bed.drop("during.csv", b"a\n2\n")
    assert low["level"] == "error"
    assert bed.plain(low["reason"]).startswith("DIR/state has ")
    wait(
        lambda: {reason["what"] for reason in ask(daemon, "/readyz")[1]["reasons"]} >= {"disk", "state"},
        "it is not ready, and says why",
        daemon=daemon,
    )
    assert ask(daemon, "/healthz")[0] == 200
    assert (metric(daemon, 'disk_low{route="leads"}'), metric(daemon, "state_writable")) == (1, 0)
    assert daemon.told("state.unwritable")
    status = bed.command("status", before=disks.inside())
    assert status.returncode == 0
    told = bed.plain(status.stdout).splitlines()
    assert told[4].endswith("2 problems, see below"), told
    cannot = "the state DIR/state/state.db cannot be used now: database or disk is full"
    low_disk = "DIR/state has 0 bytes free; min_free of route leads is 1000000"
    assert told[6:] == ["3 problems:", f"  state: {cannot}", f"  route leads: {cannot}", f"  route leads: {low_disk}"]
    assert bed.files("inbox").keys() == {"during.csv"}

    disks.do("rm state/filler")
    daemon.wait_for("disk.recovered")
    daemon.wait_for("job.done", file="during.csv")
    assert bed.files("outbox").keys() == {"before.csv", "during.csv"}
    wait(lambda: ask(daemon, "/readyz")[0] == 200, "it is ready again", daemon=daemon)
    assert len(bed.sandbox.accepted) == 2
    assert daemon.stop() == 0
