"""Hold the systemd unit to what systemd, the program and the pages know of it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bulkgpt_watchd.config import ApiSettings
from bulkgpt_watchd.config.api_key import CREDENTIAL
from bulkgpt_watchd.config.models import StateSettings
from bulkgpt_watchd.config.quantities import parse_duration
from bulkgpt_watchd.config.settings import default_path
from tests.pages import PAGES, ROOT

UNIT = ROOT / "systemd" / "bulkgpt-watchd.service"
PROGRAM = "/opt/bulkgpt-watchd/bin/bulkgpt-watchd"


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are told apart by their case
    parser.read(UNIT)
    return dict(parser["Service"])


SERVICE = service()


def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    """It ends with 0 on unknown keys and wrong values too, so what it says is what counts."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here (apt install systemd)")
    unit = tmp_path / UNIT.name
    # The program is not installed where the unit has it: any that is there stands for it.
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, sys.executable), encoding="utf-8")

    result = subprocess.run(["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_stop_has_time_for_the_last_answers() -> None:
    minutes = re.fullmatch(r"(\d+)min", SERVICE["TimeoutStopSec"])

    assert minutes is not None
    assert parse_duration(f"{minutes[1]}m") > ApiSettings().answer_timeout


def test_the_unit_and_the_program_mean_the_same_places() -> None:
    name, _, key = SERVICE["LoadCredential"].partition(":")

    assert name == CREDENTIAL
    assert Path(key).parent == default_path({}).parent
    assert StateSettings().path.parent == Path("/var/lib") / SERVICE["StateDirectory"]
    assert SERVICE["RuntimeDirectory"] == SERVICE["StateDirectory"]
    assert (SERVICE["ExecStart"], SERVICE["ExecReload"]) == (f"{PROGRAM} run", f"{PROGRAM} reload")


def test_the_page_sets_up_what_the_unit_needs() -> None:
    page = PAGES["docs/operating.md"]

    assert f"ln -s {PROGRAM} " in page
    assert f"python3 -m venv {Path(PROGRAM).parents[1]}\n" in page
    assert f"cat > {SERVICE['LoadCredential'].partition(':')[2]})" in page
    assert re.search(rf"useradd --system .* {SERVICE['User']}\n", page)
    assert f"cp {UNIT.relative_to(ROOT)} /etc/systemd/system/\n" in page
