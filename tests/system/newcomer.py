"""A bed as a newcomer has it: what `init` made, with times in which a test can wait."""

from __future__ import annotations

import json
import re
import subprocess
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bulkgpt_watchd.sandbox import Sandbox
from tests.system.bed import KEY, Bed
from tests.system.process import COMMAND, SOON_S, Daemon

HURRY = "\n  submit_spacing: 0\n  retry: {min: 1m, max: 10m}\n"
"""A gate that is shut stays so, unless somebody does something about it."""

ROUTES = {"settle": 0, "scan_every": "200ms", "poll": {"min": "50ms", "max": "300ms"}}


class Newcomer(Bed):
    """Hold what `init` made, and what it said: *made*."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        super().__init__(folder, sandbox)
        self.key_file.unlink()
        self.key_file = folder / "api-key"
        self.made = self.init("--workflow-id", "any", "--base-url", sandbox.base_url, "--key-stdin", given=KEY)
        self.given = self.config_file.read_text() if self.made.returncode == 0 else ""
        self.configure()

    def init(self, *options: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "init", str(self.folder), *options]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=SOON_S)

    def configure(self, text: str = "", **route: Any) -> None:
        """Write what `init` wrote, in a hurry, with more lines and keys of routes."""
        more = {"web": {"listen": "127.0.0.1:0"}, "defaults": ROUTES | route}
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in more.items())
        self.config_file.write_text(self.given.replace("api:\n", f"api:{HURRY}", 1) + lines + text)

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "TZ": "UTC"}

    def write(self) -> None:
        """Leave the configuration as a person wrote it."""

    def says(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; give its exit code, stdout and stderr, with what is never the same left out."""
        done = self.command(*arguments)
        return done.returncode, self.plain(done.stdout), self.plain(done.stderr)

    def plain(self, text: str) -> str:
        """Put words for what differs from run to run: this folder, times, days."""
        text = text.replace(str(self.folder), "DIR")
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]00:00:00(\.000Z)?", "MIDNIGHT", text)
        text = re.sub(r"\b\d+s ago", "Ns ago", text)
        return re.sub(r"\b\d{4}-\d\d-\d\d\b", "DAY", text)


def ask(daemon: Daemon, path: str) -> tuple[int, Any]:
    """Ask the daemon over HTTP; give code and content."""
    connection = HTTPConnection(daemon.wait_for("web.listening")["address"], timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, text if path == "/metrics" else json.loads(text)
    finally:
        connection.close()


def metric(daemon: Daemon, name: str) -> float:
    """Give the value that stands after a name with its labels."""
    [found] = re.findall(rf"^bulkgpt_watchd_{re.escape(name)} (\S+)$", ask(daemon, "/metrics")[1], re.MULTILINE)
    return float(found)
