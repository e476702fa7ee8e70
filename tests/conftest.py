"""What every test shares: where a missing tool is an error, nothing may be skipped for one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator

import pytest

pytest_plugins = ["tests.reliability.evidence"]

SKIPPED_BY_DESIGN = ("as root", "not as root")
"""How the reason of a skip begins that is right on a complete machine too: permissions do not bind root."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test where CI=true: there, a missing bed or tool is a mistake of the machine."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(SKIPPED_BY_DESIGN):
            report.outcome = "failed"
            report.longrepr = f"{reason} (an error, since CI=true)"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted (`record_property("counted: …", number)`), summed, and the seeds of chance."""
    counted: Counter[str] = Counter()
    seeds: set[str] = set()
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties if report.when == "call" else ():
            if name.startswith("counted: "):
                counted[name.removeprefix("counted: ")] += int(str(value))
            elif name.startswith("seed: "):
                seeds.add(f"{name.removeprefix('seed: ')}={value}")
    for name, number in sorted(counted.items()):
        terminalreporter.write_line(f"{number:>7} {name}")
    if seeds:
        terminalreporter.write_line(f"        chance: {', '.join(sorted(seeds))}")
