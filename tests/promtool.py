"""Let Prometheus' own tool judge what is written for Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path, text: bytes = b"") -> tuple[int, str]:
    """Run promtool; give its exit code and all that it says. Where it is missing that is told, and an error in CI."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here (apt install prometheus)")
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, check=False, timeout=30)
    return done.returncode, (done.stdout + done.stderr).decode()
