"""What goes wrong around the daemon, at random: BulkGPT, the key, disks, a folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
import urllib.request
from contextlib import suppress
from typing import Any

from tests.crash.processes import KEY, STARTS_WITHIN_S
from tests.crash.sweep import plan
from tests.soak.bed import AWAY, Soak

SUBMIT: dict[str, dict[str, Any]] = {
    "reset before": {"at": "middle", "reset": True},
    "reset after": {"reset": True, "accept": True},
    "reset, not accepted": {"reset": True, "accept": False},
    "429": {"http_status": 429, "headers": {"Retry-After": "1"}, "body": "slowly"},
    "502, accepted": {"http_status": 502, "body": "<html>", "accept": True},
    "502, not accepted": {"http_status": 502, "body": "<html>", "accept": False},
    "503 with Retry-After": {"http_status": 503, "headers": {"Retry-After": "1"}, "body": "later"},
    "slow answer": {"delay_s": 2},
    "answer too late": {"delay_s": 7},
    "no answer": {"hang": True, "accept": True},
    "unreadable answer": {"reply": "garbage"},
    "rejected": {"http_status": 400, "error": "Invalid workflow ID or CSV file."},
    "task error": {"task_end": "error"},
    "task canceled": {"task_end": "canceled"},
    "one row failed": {"rows_failed": 1},
}
STATUS: dict[str, dict[str, Any]] = {
    "expired link": {"link": "expired", "when": "completed"},
    "forged link": {"link": "forged", "when": "completed"},
    "status 502": {"http_status": 502, "body": "<html>"},
    "status reset": {"reset": True},
    "unreadable status": {"reply": "garbage"},
    "slow status": {"delay_s": 2},
}
DOWNLOAD: dict[str, dict[str, Any]] = {
    "cut download": {"transfer": "truncated"},
    "reset download": {"transfer": "reset"},
    "stalled download": {"transfer": "stalled"},
    "expired download": {"reply": "expired"},
    "download 502": {"http_status": 502, "body": "<html>"},
}
FAULTS = [
    {"call": call, "name": name, **fault}
    for call, faults in (("submit", SUBMIT), ("status", STATUS), ("download", DOWNLOAD))
    for name, fault in faults.items()
]

ENDS_AT_BULKGPT = {"task error", "task canceled"}
"""Faults after which the same bytes may be dropped again."""

DISKS = {"state": "64m", "prices/outbox": "256m"}
"""Disks of their own, in memory, filled in a moment: room for the results of half an hour, some 100 MB in a quarter."""


def start(bed: Soak, *, with_disks: bool) -> None:
    bed.act_at_times("BulkGPT", 0.5, 3.0, lambda chance: plan_one(bed, chance))
    bed.act_at_times("key", 20.0, 60.0, lambda chance: change_key(bed, chance))
    bed.act_at_times("folder", 10.0, 40.0, lambda chance: take_folder_away(bed, chance))
    if with_disks:
        bed.act_at_times("disks", 10.0, 30.0, lambda chance: fill_disk(bed, chance))


def plan_one(bed: Soak, chance: random.Random) -> None:
    if not bed.is_draining.is_set():
        fault = chance.choice(FAULTS)
        plan(bed, fault)


def hits(bed: Soak) -> dict[str, int]:
    """Count how often each planned fault came true."""
    with urllib.request.urlopen(f"{bed.base_url}/_sandbox/plan", timeout=STARTS_WITHIN_S) as told:
        planned = json.loads(told.read())
    return {
        name: number
        for fault in FAULTS
        if (number := sum(each["hits"] for each in planned if each.get("name") == (name := fault["name"])))
    }


def plan_no_more(bed: Soak) -> None:
    request = urllib.request.Request(f"{bed.base_url}/_sandbox/plan", method="DELETE")
    urllib.request.urlopen(request, timeout=STARTS_WITHIN_S).close()


def change_key(bed: Soak, chance: random.Random) -> None:
    """Have a wrong key for a while."""
    if bed.is_draining.is_set():
        return
    try:
        _write_key(bed, "key-of-another-account")
        time.sleep(chance.uniform(2.0, 5.0))
    finally:
        _write_key(bed, KEY)
    bed.counts["wrong keys"] += 1


def _write_key(bed: Soak, key: str) -> None:
    new = bed.root / "key.new"
    new.write_text(key)
    new.chmod(0o600)
    new.rename(bed.root / "key")


def take_folder_away(bed: Soak, chance: random.Random) -> None:
    """Let a route's folder vanish for a while."""
    here, away = bed.root / "stock", bed.root / f"stock{AWAY}"
    if bed.is_draining.is_set():
        return
    with bed.still:
        here.rename(away)
    try:
        time.sleep(chance.uniform(1.0, 6.0))
    finally:
        with bed.still:
            away.rename(here)
    bed.counts["folders away"] += 1


def mount_disks(bed: Soak) -> None:
    """Give some folders disks of their own; the mount namespace is ours alone, so they end with us."""
    for name, size in DISKS.items():
        (bed.root / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", bed.root / name], check=True)


def fill_disk(bed: Soak, chance: random.Random) -> None:
    """Leave no byte free on one disk for a while."""
    if bed.is_draining.is_set():
        return
    name = chance.choice(list(DISKS))
    filler = bed.root / name / ".filler"
    try:
        if name == "state":
            bed.state_was_full = True
        for size in (1 << 20, 4096):
            with suppress(OSError), open(filler, "ab", buffering=0) as file:
                while file.write(bytes(size)):
                    pass
        time.sleep(chance.uniform(1.0, 6.0))
    finally:
        os.unlink(filler)
    bed.counts[f"full disks: {name}"] += 1
