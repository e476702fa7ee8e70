"""
Run the command as a user does: a process of its own, real files, the sandbox as BulkGPT.

A Bed is a folder with a configuration, its routes and its sandbox. What must hold in every story is asked once, when
the bed is left (`Bed.leave`): no line of the log is broken, no secret is anywhere, no file is lost, nothing was paid
twice, every daemon ended as it was asked to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.core.routes import named
from bulkgpt_watchd.core.shown import row
from bulkgpt_watchd.sandbox import Sandbox
from tests.system.process import COMMAND, SOON_S, Daemon, wait

KEY = "sk-live-4f8a1c0e5b7d9263"
"""Stands nowhere else, so that finding it means that it leaked."""

SECRETS = {KEY.encode(): "the key", b"Signature=": "a signed link", b"Expires=": "a signed link"}

VENDOR_CSV = b"Input_1\n" + b"".join(b"%d\n" % number for number in range(1, 25))
"""The vendor's example input."""


def sha256_of(path: Path) -> str:
    """Hash a file of any size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(path: Path, needle: bytes) -> bool:
    """Look for some bytes in a file of any size."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # mmap takes no empty file
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(needle) >= 0


class Bed:
    """
    Hold a folder, its configuration and the daemons that were started in it.

    Shape: `api`, `more` and each route are written to config.yaml as they are (JSON is YAML).
    """

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.config_file = folder / "config.yaml"
        self.key_file = folder / "key"
        self.api: dict[str, Any] = {
            "base_url": sandbox.base_url,
            "api_key_file": "key",
            "submit_spacing": 0,
            "timeout": "10s",
            "answer_timeout": "10s",
            "retry": {"min": "100ms", "max": "1s"},
        }
        self.more: dict[str, Any] = {
            "state": {"path": "state/state.db"},
            "web": {"listen": "off"},
            "log": {"format": "json", "level": "debug"},
        }
        self.routes: list[dict[str, Any]] = []
        self.daemons: list[Daemon] = []
        self.dropped: Counter[str] = Counter()
        self.gone: Counter[str] = Counter()  # contents that a test took away, or that `on_success: delete` may delete
        self.paid_twice: set[str] = set()  # contents that a test pays for more than once on purpose
        self.is_broken = False  # a test has planted a bug
        self._drops = 0
        self.set_key(KEY)

    # --- configuration ------------------------------------------------------------------------------------------------

    def route(self, name: str = "leads", **keys: Any) -> dict[str, Any]:
        """Add a route; its inbox is made."""
        (self.folder / name / "inbox").mkdir(parents=True, exist_ok=True)
        route: dict[str, Any] = {
            "name": name,
            "workflow_id": f"workflow of {name}",
            "folder": name,
            "settle": 0,
            "scan_every": "200ms",
            "poll": {"min": "50ms", "max": "300ms"},
        }
        route |= keys
        self.routes.append(route)
        return route

    def write(self) -> None:
        """Write the configuration."""
        if not self.routes:
            self.route()
        content = {"api": self.api, **self.more, "routes": self.routes}
        self.config_file.write_text(json.dumps(content, indent=1))

    def set_key(self, key: str) -> None:
        self.key_file.write_text(f"{key}\n")
        self.key_file.chmod(0o600)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "BULKGPT_WATCHD_CONFIG": str(self.config_file)}

    # --- the commands -------------------------------------------------------------------------------------------------

    def start(
        self, *arguments: str, is_ready: bool = True, before: Iterable[str] = (), config: Path | None = None
    ) -> Daemon:
        """Start `run`, and wait until it says that it is ready."""
        self.write()
        if config is not None:
            arguments = (*arguments, "-c", str(config))
        log = self.folder / f"log-{len(self.daemons)}"
        daemon = Daemon(arguments, log, self.environ, before)
        self.daemons.append(daemon)
        if is_ready:
            daemon.wait_for("daemon.ready")
        return daemon

    def once(self, *arguments: str) -> int:
        """Do `run --once`; give the exit code."""
        return self.start("--once", *arguments, is_ready=False).ended()

    def command(
        self, *arguments: str, config: Path | None = None, before: Iterable[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run another command; no secret may be in what it prints."""
        environ = self.environ if config is None else {**self.environ, "BULKGPT_WATCHD_CONFIG": str(config)}
        done = subprocess.run(
            [*before, *COMMAND, *arguments], check=False, env=environ, capture_output=True, text=True, timeout=SOON_S
        )
        for secret, name in SECRETS.items():
            assert secret.decode() not in done.stdout + done.stderr, f"{arguments} prints {name}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def does(self, *arguments: str) -> str:
        """Run a command that must succeed; give what it prints."""
        done = self.command(*arguments)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr or done.stdout}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command with --json that must succeed."""
        return json.loads(self.does(*arguments, "--json"))

    def jobs(self) -> list[dict[str, Any]]:
        """Give what `jobs --json` shows (a test holds it to that), without a process each time."""
        with StateReader.open(self.folder / self.more["state"]["path"]) as state:
            return [row(named(job, state.names())) for job in state.query(Query())[::-1]]

    def job(self, file: str) -> dict[str, Any]:
        """Give the newest job of a file."""
        return [job for job in self.jobs() if job["file"] == file][-1]

    # --- files --------------------------------------------------------------------------------------------------------

    def place(self, role: str, route: str = "leads") -> Path:
        """Give a folder of a route."""
        return self.folder / route / role

    def drop(self, name: str | bytes, content: bytes = VENDOR_CSV, route: str = "leads") -> str:
        """Put a whole file into an inbox by renaming it into place; give its hash."""
        self._drops += 1
        inbox = os.fsencode(self.place("inbox", route))
        target = os.path.join(inbox, os.fsencode(name))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        dotted = os.path.join(inbox, b".drop-%d" % self._drops)
        with open(dotted, "xb") as file:
            file.write(content)
        os.rename(dotted, target)
        sha256 = hashlib.sha256(content).hexdigest()
        self.dropped[sha256] += 1
        return sha256

    def files(self, role: str, route: str = "leads") -> dict[str, bytes]:
        """Give the files below a folder of a route, dot-files included; those in work only when it is asked for."""
        folder = self.place("inbox", route) / ".bulkgpt-watchd" if role == "work" else self.place(role, route)
        found = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not path.is_symlink() and (role == "work" or ".bulkgpt-watchd" not in name):
                with contextlib.suppress(FileNotFoundError):  # moved on while we looked
                    found[name] = path.read_bytes()
        return found

    def error(self, name: str, route: str = "leads") -> dict[str, Any]:
        """Read NAME.error.json of a file in error."""
        content: dict[str, Any] = json.loads((self.place("error", route) / f"{name}.error.json").read_bytes())
        return content

    def receipt(self, name: str, route: str = "leads") -> dict[str, Any]:
        """Read NAME.receipt.json of a file in archive."""
        content: dict[str, Any] = json.loads((self.place("archive", route) / f"{name}.receipt.json").read_bytes())
        return content

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait_ended(self, files: int, within_s: float = SOON_S) -> list[dict[str, Any]]:
        """Wait until so many jobs have ended, over all daemons of this bed; give all jobs."""
        daemon = self.daemons[-1]
        wait(lambda: self.ends() >= files, f"{files} files end", within_s, daemon)
        return self.jobs()

    def ends(self) -> int:
        """Count the ends that the logs tell of."""
        return sum(daemon.ends() for daemon in self.daemons)

    # --- the end ------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Stop what runs, and ask what must hold in every story."""
        codes = {daemon.pid: daemon.stop() for daemon in self.daemons if daemon.process.poll() is None}
        assert set(codes.values()) <= {0}, f"TERM ended daemons with {codes}"
        for daemon in self.daemons:
            content = daemon.log_file.read_bytes()
            assert content.endswith(b"\n") or not content, "the log ends within a line"
            for line in daemon.lines():
                assert {"ts", "level", "event"} <= line.keys(), line
                assert line["event"] != "daemon.bug" or self.is_broken, line
        assert not self.leaks(), self.leaks()
        assert not self.sandbox.key_seen_at_download_origin
        assert self._lost() == {}
        assert self._paid_twice() == {}

    def kill(self) -> None:
        """End every process, whatever it does."""
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()

    def leaks(self) -> list[str]:
        """Look for secrets in every file of the bed, and in what everybody may see of the processes."""
        found = []
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path not in {self.key_file, self.config_file}:
                found += [f"{path} holds {name}" for secret, name in SECRETS.items() if _has(path, secret)]
        return found

    def _copies(self) -> Counter[str]:
        copies: Counter[str] = Counter()
        for route in self.folder.iterdir():
            for role in ("inbox", "error", "archive"):
                for path in (route / role).rglob("*"):
                    if path.is_file() and not path.is_symlink():
                        copies[sha256_of(path)] += 1
        return copies

    def _lost(self) -> dict[str, int]:
        copies = self._copies()
        numbers = {sha256: n - copies[sha256] - self.gone[sha256] for sha256, n in self.dropped.items()}
        return {sha256: n for sha256, n in numbers.items() if n}

    def _paid_twice(self) -> dict[str, int]:
        paid = Counter(record.sha256 for record in self.sandbox.accepted)
        return {str(sha256): n for sha256, n in paid.items() if n > 1 and sha256 not in self.paid_twice}
