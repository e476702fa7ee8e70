"""Hold `.ci/setup`, which `make demo` and `make test` run first, to its messages for an unprepared machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SETUP = Path(__file__).parents[1] / ".ci" / "setup"


def set_up_with(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run it in an empty folder with a Python whose body is this shell script."""
    fake = folder / "python3"
    fake.write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
    fake.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(fake)}
    return subprocess.run([SETUP], cwd=folder, env=environment, check=False, capture_output=True, text=True)


def test_a_python_without_venv_is_told_with_debian_s_packages(tmp_path: Path) -> None:
    result = set_up_with(
        tmp_path, f'[ "$2" != venv ] || {{ echo "no ensurepip here"; exit 1; }}\nexec {sys.executable} "$@"'
    )

    assert result.returncode == 1
    assert "no ensurepip here" in result.stderr
    assert "apt install python3-venv" in result.stderr
    assert f"python{sys.version_info.major}.{sys.version_info.minor}-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_is_too_old_is_told(tmp_path: Path) -> None:
    result = set_up_with(tmp_path, "exit 1")

    assert result.returncode == 1
    assert "No Python 3.11 or newer" in result.stderr
    assert "make PYTHON=" in result.stderr
