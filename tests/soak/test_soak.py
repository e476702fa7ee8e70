"""Lives among random troubles, in a process and a mount namespace of their own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.test_mounts import can_mount

SOAK_S = float(os.environ.get("SOAK_S", "120"))
"""`make soak` says 15 minutes."""

SHORT_S = 6.0
"""Time for two lives; what they leave needs ten to twenty seconds more to end."""

ENDS_WITHIN_S = 600.0
"""The drain (4 minutes at most), and what a busy machine adds."""

Record = Callable[[str, object], None]


@pytest.mark.timeout(SHORT_S + ENDS_WITHIN_S)
def test_two_lives_of_random_trouble_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, record_property: Record
) -> None:
    assert soak(tmp_path, record_property, SHORT_S)["SIGKILLs"]


# It takes SOAK_S and half a minute, and a third of a core; up to a few 100 MB of memory for its full disks.
@pytest.mark.system
@pytest.mark.timeout(SOAK_S + ENDS_WITHIN_S)
@pytest.mark.fault("F1", "F5", "F6", "F8", "F9", "F13", "F14", "F15", "F26", "F31", "F36", "F44", "F45", "F48")
def test_minutes_of_random_trouble_lose_nothing_pay_nothing_twice_and_leak_nothing(
    tmp_path: Path, record_property: Record
) -> None:
    assert soak(tmp_path, record_property, SOAK_S)["SIGKILLs"]


def soak(folder: Path, record_property: Record, seconds: float) -> dict[str, int | str]:
    """Let the daemon live so long in a process of ours, and tell what came of it."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    has_disks = os.geteuid() == 0 and can_mount()
    sys.stdout.write(f"\nSEED={seed} SOAK_S={seconds:g}{'' if has_disks else ', without full disks: not as root'}\n")
    sys.stdout.flush()
    record_property("seed: SEED", seed)
    before = ["unshare", "-m", "--propagation", "private"] if has_disks else []
    command = [sys.executable, "-m", "tests.soak", "--seconds", str(seconds), "--seed", str(seed)]
    command += ["--folder", str(folder), *(["--disks"] if has_disks else [])]
    done = subprocess.run([*before, *command], check=False, timeout=seconds + ENDS_WITHIN_S - 10)
    table: dict[str, int | str] = json.loads((folder / "table.json").read_text())
    for what in ("seconds", "SIGKILLs", "stops by SIGTERM", "files", "duplicates", "broken files", "slow files"):
        record_property(f"counted: {what} of soak", table.get(what, 0))
    assert done.returncode == 0
    return table
