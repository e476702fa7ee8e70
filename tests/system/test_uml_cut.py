"""The power of a whole kernel is cut (jobs: uml_cut.py): what its disks did not get is lost, all else goes on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.process import wait
from tests.system.uml import Kernel, why_not

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

CUTS = 8
"""Each takes a boot: 15 s; with the last boot and its end this is 3 minutes."""

BOOT_S = 300.0
"""It boots and has a daemon in 8 s; a busy machine may need many times that."""

LIVES_S = (1.0, 8.0)
"""How long a daemon is let live: a file takes about half a second from its drop to its end."""

DISK_BYTES = 128 << 20


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """Give a kernel with two disks that outlive its cuts."""
    if reason := why_not():
        pytest.skip(reason)
    made = Kernel()
    try:
        for name in ("ours", "servers"):
            image = made.folder / name
            with open(image, "wb") as file:
                file.truncate(DISK_BYTES)
            environ = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
            subprocess.run(["mkfs.ext4", "-q", image], check=True, env=environ)
            made.disks.append(image)
        yield made
    finally:
        made.close()


def left(kernel: Kernel, name: str) -> Path:
    """Wait for a fact that a job leaves before it is cut."""
    path = kernel.out / f"{name}.json"
    wait(lambda: path.exists() or (kernel.out / "code").exists() or kernel.has_ended(), f"{name} is told", BOOT_S)
    assert path.exists(), kernel.tail()
    return path


def counted(kernel: Kernel, job: str) -> dict[str, Any]:
    """Boot for the last time, let all end, and give what was counted."""
    with kernel.running(f"tests.system.uml_cut {job}"):
        assert kernel.ended(900) == 0, kernel.tail()
    told: dict[str, Any] = json.loads((kernel.out / "counted.json").read_bytes())
    return told


@pytest.mark.fault("F3", "F2", "F4")
def test_cuts_of_the_whole_machine_lose_no_file_and_pay_none_twice(kernel: Kernel, record_property: Any) -> None:
    seed = random.randrange(1 << 32)
    record_property("seed: power cuts of a kernel", seed)
    chance = random.Random(seed)
    for _ in range(CUTS):
        (kernel.out / "ready.json").unlink(missing_ok=True)
        with kernel.running("tests.system.uml_cut local"):
            left(kernel, "ready")
            time.sleep(chance.uniform(*LIVES_S))
    told = counted(kernel, "local-end")
    assert told["dropped"] > CUTS, "else hardly anything was under way"
    assert told["lost"] == []
    assert told["paid_twice"] == []
    assert told["torn"] == 0
    assert told["open"] == []
    assert told["delivered_twice"] == []
    assert told["done_without_result"] == []
    assert set(told["outcomes"]) <= {"done", "submission_unknown", "duplicate", "withdrawn"}, told["outcomes"]
    assert told["work"] == ["route.json"]
    assert (told["code"], told["bugs"]) == (0, [])
    record_property("counted: power cuts of a whole kernel", CUTS)
    record_property("counted: files dropped between power cuts of a whole kernel, none lost", told["dropped"])
    record_property("counted: submits between power cuts of a whole kernel, none double", told["paid"])


@pytest.mark.fault("F3", "F5", "F39")
@pytest.mark.parametrize("kind", ["nfs", "cifs"])
def test_a_rename_that_a_server_undoes_although_fsync_returned_makes_no_second_submit(
    kernel: Kernel, record_property: Any, kind: str
) -> None:
    """Server and client are cut together after the point of no return; the name in work says again: not sent."""
    with kernel.running(f"tests.system.uml_cut share {kind}"):
        names = json.loads(left(kernel, "cut").read_bytes())
    assert [name for name in names if ".sent-" in name], "the rename was done, and fsync had returned"
    told = counted(kernel, f"share-end {kind}")
    undone = [name for name in told["undone"]["work"] if name != "route.json"]
    assert len(undone) == 1
    assert ".sent-" not in undone[0], "else the server kept the rename, and nothing is shown"
    assert told["outcomes"] == {"done": 1, "submission_unknown": 1}
    assert (told["paid"], told["paid_twice"], told["lost"]) == (2, [], [])
    record_property("counted: renames of a share undone by a power cut although fsync had returned", 1)


@pytest.mark.fault("F3", "F5", "F39")
@pytest.mark.parametrize("kind", ["nfs", "cifs"])
def test_a_claim_that_a_server_undoes_although_fsync_returned_makes_no_second_submit(
    kernel: Kernel, record_property: Any, kind: str
) -> None:
    """The file stands in the inbox again, as if nobody had ever taken it; its bytes are known."""
    with kernel.running(f"tests.system.uml_cut share-claim {kind}"):
        left(kernel, "cut")
    told = counted(kernel, f"share-end {kind}")
    assert told["undone"] == {"inbox": [".bulkgpt-watchd", "1.csv"], "work": ["route.json"]}
    assert told["outcomes"] == {"done": 1, "submission_unknown": 1, "duplicate": 1}
    assert (told["paid"], told["paid_twice"], told["lost"]) == (2, [], [])
    record_property("counted: claims on a share undone by a power cut although fsync had returned", 1)
