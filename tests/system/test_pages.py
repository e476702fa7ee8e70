"""What the pages on monitoring and money tell an administrator to type, on a machine with the service."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.pages import PAGES, blocks, section
from tests.system.host import CONFIG, UNIT, Host
from tests.system.process import wait

pytestmark = pytest.mark.system

MONITORING, MONEY = PAGES["docs/monitoring.md"], PAGES["docs/money.md"]


def typed(block: str) -> list[str]:
    """Give the commands of a console block, those that go on in the next line as one."""
    return [line[2:] for line in block.replace(" \\\n", " ").splitlines() if line[:2] in {"# ", "$ "}]


def test_health_readiness_and_the_api_answer_as_the_page_shows(host: Host) -> None:
    machine = host.machine
    health, jobs, make_token, act = blocks(MONITORING, "console")
    host.drop("api.csv", b"a\n1\n")
    host.result("api.csv")
    alive, ready = (machine.types(line) for line in typed(health))
    assert json.loads(alive) == {"status": "ok", "reasons": []}
    assert json.loads(ready) == {"status": "ready", "reasons": []}
    assert json.loads(machine.types(typed(jobs)[0]))["jobs"] == []
    for line in typed(make_token):
        machine.types(line)
    machine.path(CONFIG).write_text(host.config + "web: {token_file: web-token}\n")
    machine.types("bulkgpt-watchd reload")
    told = json.loads(machine.types(f"cd /etc/bulkgpt-watchd; {typed(act)[0]}"))
    assert (told["ok"], told["route"], told.keys()) == (True, "leads", {"ok", "route", "until"})
    assert "PAUSED until" in machine.does("bulkgpt-watchd", "status")
    machine.types("bulkgpt-watchd resume leads")


def test_a_copy_that_cron_made_is_put_back_as_the_page_says(host: Host) -> None:
    machine = host.machine
    page = section(MONEY, "## Check and copy the state")
    make, restore = (typed(block) for block in blocks(page, "console"))
    (crontab,) = blocks(page, "crontab")
    for line in make:
        machine.types(line)
    host.drop("before.csv", b"a\n2\n")
    host.result("before.csv")
    by_cron = ("env", "-i", "HOME=/", "PATH=/usr/bin:/bin", "sh", "-c")  # crontab(5): there is no more
    machine.does(*by_cron, crontab.split(maxsplit=5)[5].replace("\\%", "%"), user="bulkgpt-watchd")
    (copy,) = machine.path("/var/backups/bulkgpt-watchd").iterdir()
    (asked,) = {word for line in restore for word in shlex.split(line) if re.search(r"/state-\d", word)}
    copy.rename(machine.path(asked))
    host.drop("after.csv", b"a\n3\n")
    host.result("after.csv")
    for line in restore:
        machine.types(line)
    assert host.show("ActiveState") == ["active"]
    files = {job["file"] for job in json.loads(machine.does("bulkgpt-watchd", "jobs", "--json"))}
    assert ("before.csv" in files, "after.csv" in files) == (True, False)
    host.drop("again.csv", b"a\n4\n")
    assert host.result("again.csv") == answer(b"a\n4\n")
    wait(lambda: "gate open" in machine.does("bulkgpt-watchd", "status"), f"{UNIT} goes on")
