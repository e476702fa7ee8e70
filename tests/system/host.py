"""A machine on which the service is installed word for word as docs/install.md says, with a sandbox for BulkGPT."""

from __future__ import annotations

import json

from tests.pages import PAGES, blocks, section
from tests.system.bed import KEY
from tests.system.machine import Machine
from tests.system.process import wait

PAGE = PAGES["docs/install.md"]
UNIT = "bulkgpt-watchd.service"
CONFIG = "/etc/bulkgpt-watchd/config.yaml"
HURRY = "defaults: {settle: 200ms, scan_every: 200ms, poll: {min: 100ms, max: 100ms}}\n"
SANDBOX = "http://127.0.0.1:8080"


def commands(heading: str, number: int) -> list[str]:
    """Give the commands of one console block of a section."""
    block = blocks(section(PAGE, heading), "console")[number]
    return [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]


class Host:
    """A machine with the service on it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        (self.config,) = blocks(section(PAGE, "## Key and first route"), "yaml")
        self.config = self.config.replace("api:\n", f"api:\n  base_url: {SANDBOX}\n", 1) + HURRY

    def install(self) -> None:
        machine = self.machine
        machine.install_program()
        machine.types(commands("## The program", 0)[-1])
        for line in commands("## User, unit and folders", 0):
            machine.types(line)
        for line in commands("## Key and first route", 0):
            machine.types(line, given=f"{KEY}\n")
        machine.path(CONFIG).write_text(self.config)
        program = "/opt/bulkgpt-watchd/bin/bulkgpt-watchd"
        machine.types(f"systemd-run --quiet --unit=sandbox {program} sandbox --key {KEY} --task-seconds 1")
        wait(lambda: machine.run("bash", "-c", ": < /dev/tcp/127.0.0.1/8080").returncode == 0, "the sandbox listens")
        check, start, status = commands("## Key and first route", 1)
        assert machine.types(check) == f"{CONFIG}: ok, 1 route"
        machine.types(start)
        assert "gate open" in machine.types(status)

    def show(self, *names: str) -> list[str]:
        """Give properties of the unit."""
        return [self.machine.does("systemctl", "show", "--value", "-p", name, UNIT) for name in names]

    @property
    def pid(self) -> int:
        return int(self.show("MainPID")[0])

    def log(self) -> list[dict[str, object]]:
        """Give what the daemon wrote to the journal."""
        lines = self.machine.does("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def drop(self, name: str, content: bytes, folder: str = "/srv/bulkgpt/leads", user: str = "root") -> None:
        script = 'cd "$0"; cat > .new; mv .new "$1"'
        self.machine.does("sh", "-ec", script, f"{folder}/inbox", name, given=content.decode(), user=user)

    def result(self, name: str, folder: str = "/srv/bulkgpt/leads") -> bytes:
        path = self.machine.path(f"{folder}/outbox/{name}")
        wait(path.exists, f"{name} is delivered")
        return path.read_bytes()
