"""Note what the tests that show a fault came to: `pytest --evidence` keeps it in evidence.json, for the page."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EVIDENCE = Path(__file__).with_name("evidence.json")
COUNTED = "counted: "
OUTCOMES = ("passed", "failed", "error", "skipped")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence", action="store_true", help="keep what the tests marked fault(…) came to")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have the report tell whether its test is a heavy one: its keywords hold the names of folders, too."""
    if item.get_closest_marker("system"):
        item.user_properties.append(("heavy", True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Merge this run into evidence.json: tests that did not run keep what their last run came to."""
    if not config.getoption("--evidence"):
        return
    kept: dict[str, Any] = json.loads(EVIDENCE.read_text()) if EVIDENCE.exists() else {}
    at = subprocess.run(
        ["git", "log", "-1", "--format=%cs %h"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    ran: dict[str, dict[str, Any]] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.getreports(outcome):
            if "fault" in report.keywords and (report.when == "call" or outcome != "passed"):
                add(ran.setdefault(report.nodeid.partition("[")[0], {"at": at}), report, outcome)
    for name, came_to in ran.items():
        if came_to.keys() & {"passed", "failed", "error"} or name not in kept:
            kept[name] = came_to
    EVIDENCE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def add(came_to: dict[str, Any], report: pytest.TestReport, outcome: str) -> None:
    """Add one case of a test: parametrised ones share a line of the page."""
    came_to[outcome] = came_to.get(outcome, 0) + 1
    if any(name == "heavy" for name, _ in report.user_properties):
        came_to["heavy"] = True
    counted = Counter(came_to.get("counted", {}))
    for name, value in report.user_properties if report.when == "call" else ():
        if name.startswith(COUNTED):
            counted[name.removeprefix(COUNTED)] += int(str(value))
    if counted:
        came_to["counted"] = dict(counted)
