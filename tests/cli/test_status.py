from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.cli.screen import plain
from bulkgpt_watchd.cli.status import Seen, fitting, screen
from bulkgpt_watchd.cli.words import local
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.shown import rfc3339
from bulkgpt_watchd.core.status import status
from tests.cli.conftest import Bed
from tests.sample_jobs import sample_job

LEADS = {"leads": {"workflow_id": "w", "inbox": "/srv/leads/inbox"}}
HEALTHY = {"routes": LEADS, "health": {"leads": {"reason": None}}}
GATE: dict[str, Any] = {"position": "shut", "reason": "401: the key is refused", "probe_at": None}
GATE |= {"routes": {}, "workflows": {}}
NOW = 1_800_000_000.0
DAEMON = {"pid": 7, "version": "1.2.3", "config": "/etc/x\x1b.yaml", "started_at": rfc3339(NOW - 100), "socket": "/s"}


def screen_of(facts: dict[str, Any], *under_way: Job) -> list[str]:
    """Give the lines that `status` shows of a running daemon at NOW."""
    content = status({**facts, "daemon": DAEMON}, {}, [], now=NOW, is_running=True)
    return [line for block in screen(Seen(content, list(under_way), NOW)) for line in plain(block)]


def test_no_state_yet_says_what_to_start(bed: Bed) -> None:
    ran = bed.cli("status")

    assert (ran.exit_code, ran.stdout) == (74, "")
    assert f"no state at {bed.state} yet: the daemon has not run" in ran.stderr
    assert f"`bulkgpt-watchd -c {bed.config} run`" in ran.stderr


def test_a_state_that_is_no_state_is_told(bed: Bed) -> None:
    bed.state.write_text("something else, and long enough to be read\n" * 100)

    assert bed.cli("status").exit_code == 74
    assert json.loads(bed.cli("status", "--json").stdout)["error"]["exit_code"] == 74


def test_it_says_that_the_daemon_does_not_run_and_what_was_known(bed: Bed) -> None:
    jobs = [sample_job(f"j000000{number}", state=State.DONE, due_at=None) for number in range(3)]
    bed.remember(*jobs, sample_job("j0000009"), facts=HEALTHY)
    ran = bed.cli("status")

    start_it = f"start it with `systemctl start bulkgpt-watchd` or `bulkgpt-watchd -c {bed.config} run`"
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        f"bulkgpt-watchd is not running; {start_it}",
        "Below is what it knew when it ended.",
        "gate open",
        "",
        "ROUTE  WAITING  RUNNING  DONE  FAILED  NOW",
        "leads        1        0     3       0  ok",
    ]


def test_json_is_one_object_with_the_state_of_everything(bed: Bed) -> None:
    bed.remember(sample_job("j0000001"), facts=HEALTHY)
    content = json.loads(bed.cli("status", "--json").stdout)

    assert (content["state"], content["gate"], content["paused"], content["running"]) == ("ok", "open", False, False)
    assert [(route["name"], route["waiting"]) for route in content["routes"]] == [("leads", 1)]


def test_a_doubt_is_shown_with_the_command_that_answers_it(bed: Bed) -> None:
    doubt = sample_job("j0000001", state=State.FAILED, code="submission_unknown", due_at=None)
    closed = sample_job("j0000002", state=State.FAILED, code="submission_unknown", is_closed=True, due_at=None)
    other = sample_job("j0000003", state=State.FAILED, code="csv_empty", due_at=None)
    bed.remember(doubt, closed, other)
    told = bed.cli("status").stdout

    assert "1 job needs a decision:\n  j0000001  leads/j0000001.csv  submission_unknown\n" in told
    assert "    bulkgpt-watchd resolve j0000001 --task-id ID | --not-submitted | --abandon\n" in told
    assert "j0000002" not in told
    assert "j0000003" not in told
    content = json.loads(bed.cli("status", "--json").stdout)
    assert content["state"] == "degraded"
    assert [row["job"] for row in content["doubts"]] == ["j0000001"]


def test_many_doubts_leave_the_screen_one_screen(bed: Bed) -> None:
    doubt = {"state": State.FAILED, "code": "submission_unknown", "due_at": None}
    bed.remember(*(sample_job(f"j{number:07}", **doubt) for number in range(50)))
    told = bed.cli("status").stdout

    assert "50 jobs need a decision:" in told
    assert "  and 40 more: bulkgpt-watchd jobs --state submission_unknown\n" in told
    assert "resolve JOB --task-id ID" in told
    assert len(told.splitlines()) < 30


@pytest.mark.parametrize(
    ("gate", "lines"),
    [
        (
            {"probe_at": None},
            [
                "gate SHUT, nothing is submitted: 401: the key is refused",
                "  it stays shut until you run: bulkgpt-watchd resume",
            ],
        ),
        (
            {"probe_at": NOW + 3600},
            [
                "gate SHUT, nothing is submitted: 401: the key is refused",
                "  it is tried again by itself in 1h; at once by: bulkgpt-watchd resume",
            ],
        ),
        ({"position": "half"}, ["gate half open, one submit at a time: 401: the key is refused"]),
    ],
)
def test_a_gate_that_is_not_open_says_why_and_what_opens_it(gate: dict[str, Any], lines: list[str]) -> None:
    told = screen_of({**HEALTHY, "gate": {**GATE, **gate}})

    assert told[1 : 1 + len(lines)] == lines
    assert told[-1].endswith("gate half open" if gate.get("position") else "gate shut")


def test_pauses_problems_and_progress_are_shown() -> None:
    pause = {"reason": "month end", "since": 0, "until": None}
    health = {"leads": {"reason": "inbox /srv/leads/inbox is missing", "since": 0.0}, "b": {"unsettled": 2}}
    running = sample_job("j0000001", state=State.SUBMITTED, rows_done=4, rows_total=8, submitted_at=NOW - 65)
    facts = {"routes": {**LEADS, "b": {}}, "health": health, "pauses": {"*": pause}}
    told = screen_of(facts, running)

    assert told[:3] == [
        "bulkgpt-watchd 1.2.3  running 1m 40s  pid 7  config /etc/x\\x1b.yaml",
        "gate open",
        "all routes are PAUSED (month end); to go on: bulkgpt-watchd resume",
    ]
    assert "j0000001  leads/j0000001.csv  ████████████░░░░░░░░░░░░ 4 of 8  1m 5s" in told
    assert f"UNAVAILABLE since {local(0.0)}" in told[6]
    assert told[-2:] == ["1 problem:", "  route leads: inbox /srv/leads/inbox is missing"]


def test_a_route_with_a_problem_is_not_called_ok() -> None:
    told = screen_of({"routes": LEADS, "health": {"leads": {"disk_low": "no room"}}})

    assert told[4].endswith("1 problem, see below")
    assert told[-2:] == ["1 problem:", "  route leads: no room"]


def test_a_refused_key_has_a_hint_and_an_outage_has_none() -> None:
    hint = "  key, account or address is refused; what to do about it: bulkgpt-watchd doctor --online"
    assert screen_of({**HEALTHY, "gate": {**GATE, "is_denied": True}})[2] == hint
    assert hint not in screen_of({**HEALTHY, "gate": GATE})


def test_of_many_routes_those_are_left_out_that_are_idle_where_a_screen_is_low() -> None:
    names = [f"r{number:02}" for number in range(50)]
    facts = {"routes": {name: {} for name in names}, "health": {"r44": {"disk_low": "no room"}}}
    seen = Seen(status(facts, {}, [], now=NOW, is_running=True), [], NOW)
    lines = [[line for block in fitting(seen, height) for line in plain(block)] for height in (24, 99)]

    assert [len(told) for told in lines] == [24, 57]
    low, high = lines
    assert low[4].startswith("r44 ")
    assert (low[5][:3], low[-4], low[-1]) == ("r00", "and 34 more routes", "  route r44: no room")
    assert [line[:3] for line in high[4:54]] == names


def test_an_address_that_cannot_be_used_is_shown_whoever_asked_for_it() -> None:
    web = {"address": "127.0.0.1:8787", "reason": "address already in use", "is_asked_for": False}
    assert "no HTTP: 127.0.0.1:8787 cannot be used: address already in use" in screen_of({"web": web})
    assert not [line for line in screen_of({"web": {**web, "reason": None}}) if "HTTP" in line]


def test_names_in_a_pipe_are_whole_and_harmless_and_no_markup(bed: Bed) -> None:
    file = "a" * 200 + "[bold]\x1b[31m\udce9.csv"
    bed.remember(sample_job("j0000001", state=State.SUBMITTED, file=file, rows=1))
    told = bed.cli("status", COLUMNS="40").stdout

    assert f"leads/{'a' * 200}[bold]\\x1b[31m\\xe9.csv" in told
    assert "\x1b" not in told


def test_watching_needs_a_terminal(bed: Bed) -> None:
    assert bed.cli("status", "--watch").exit_code == 2
    assert bed.cli("status", "--watch", "--json").exit_code == 2


def on_a_terminal(*arguments: str | Path, **environ: str) -> str:
    """Run a command on a terminal of its own and give what it drew."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "bulkgpt_watchd", *arguments],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "60", "LINES": "40", **environ},
    )
    os.close(theirs)
    drawn, is_interrupted = b"", False
    while True:
        try:
            block = os.read(ours, 65_536)
        except OSError:  # EIO: the other end is closed
            break
        drawn += block
        if not block:
            break
        if arguments[-1] == "--watch" and drawn.count(b"gate open") >= 2 and not is_interrupted:
            is_interrupted = True  # a second one, while it ends, would end it otherwise
            child.send_signal(2)
    os.close(ours)
    assert child.wait(10) == (130 if arguments[-1] == "--watch" else 0)
    return drawn.decode()


def test_on_a_terminal_there_is_colour_and_nothing_wider_than_it(bed: Bed) -> None:
    bed.remember(sample_job("j0000001", state=State.SUBMITTED, file="a" * 70 + "[bold].csv", rows=1), facts=HEALTHY)
    drawn = on_a_terminal("-c", bed.config, "jobs")

    assert "\x1b[1m" in drawn
    assert drawn.count("a") >= 70
    assert "[bold]" in drawn.replace("\r\n", "").replace(" ", "")
    assert "\x1b[3" not in on_a_terminal("-c", bed.config, "status", NO_COLOR="1")
    assert "\x1b[32m" in on_a_terminal("-c", bed.config, "status")


def test_watching_draws_again_until_it_is_interrupted(bed: Bed) -> None:
    bed.remember(sample_job("j0000001"), facts=HEALTHY)

    assert "Traceback" not in on_a_terminal("-c", bed.config, "status", "--watch")
