"""A life of minutes among random troubles, in a process and a mount namespace of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.test_mounts import can_mount

SOAK_S = float(os.environ.get("SOAK_S", "120"))
"""`make soak` says 15 minutes."""

ENDS_WITHIN_S = 900.0
"""The drain (4 minutes at most), and what a busy machine adds."""


# It takes SOAK_S and half a minute, and one core of two; up to a few 100 MB of memory for its full disks.
@pytest.mark.system
@pytest.mark.timeout(SOAK_S + 2 * ENDS_WITHIN_S)
@pytest.mark.fault("F1", "F5", "F6", "F8", "F9", "F10", "F13", "F14", "F15", "F26", "F31", "F36", "F44", "F45", "F48")
def test_minutes_of_random_trouble_lose_nothing_pay_nothing_twice_and_leak_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    has_disks = os.geteuid() == 0 and can_mount()
    sys.stdout.write(f"\nSEED={seed} SOAK_S={SOAK_S:g}{'' if has_disks else ', without full disks: not as root'}\n")
    sys.stdout.flush()
    record_property("seed: SEED", seed)
    before = ["unshare", "-m", "--propagation", "private"] if has_disks else []
    command = [sys.executable, "-m", "tests.soak", "--seconds", str(SOAK_S), "--seed", str(seed)]
    command += ["--folder", str(tmp_path), *(["--disks"] if has_disks else [])]
    began = time.monotonic()
    done = subprocess.run([*before, *command], check=False, timeout=SOAK_S + ENDS_WITHIN_S)
    table = json.loads((tmp_path / "table.json").read_text())
    for what in ("SIGKILLs", "stops by SIGTERM", "files", "duplicates", "broken files", "slow files"):
        record_property(f"counted: {what} in a soak", table.get(what, 0))
    record_property("counted: seconds of soak", round(time.monotonic() - began))
    assert done.returncode == 0
    assert table["SIGKILLs"]
