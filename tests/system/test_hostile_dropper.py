"""Somebody who may write into the inbox wants to read, to stop or to overwrite what is not theirs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.bed import Bed, sha256_of
from tests.system.process import wait

Record = Callable[[str, object], None]

SECRET = b"Input_1\nnot yours\n"
GOOD = b"Input_1\n1\n"
SWAPS_S = 8.0

SWAPPER = """
import os, sys
inbox, secret, swaps = sys.argv[1], sys.argv[2], 0
os.chdir(inbox)
while os.getppid() == int(sys.argv[3]):
    swaps += 1
    with open(".new", "wb") as file:
        file.write(b"Input_1\\n%d\\n" % swaps)
    os.rename(".new", "swapped.csv")
    os.symlink(secret, ".link")
    os.rename(".link", "swapped.csv")
    print(swaps, flush=True)
"""

FOLDER_SWAPPER = """
import os, sys
inbox, secret, swaps = sys.argv[1], os.path.dirname(sys.argv[2]), 0
os.chdir(inbox)
while os.getppid() == int(sys.argv[3]):
    swaps += 1
    os.makedirs("sub", exist_ok=True)
    with open("sub/secret.csv", "wb") as file:
        file.write(b"Input_1\\n%d\\n" % swaps)
    os.rename("sub", ".aside")
    os.symlink(secret, "sub")
    os.unlink("sub")
    os.rename(".aside", "sub")
    print(swaps, flush=True)
"""

GROWING = """
import os, sys, time
with open(sys.argv[1] + "/grows.csv", "ab") as file:
    file.write(b"Input_1\\n")
    while os.getppid() == int(sys.argv[3]):
        file.write(b"more\\n")
        file.flush()
        time.sleep(0.002)
"""


@contextmanager
def at_work(source: str, inbox: Path, secret: Path) -> Iterator[list[int]]:
    """Let another process do its worst; the list holds how often it did, once it has ended."""
    done: list[int] = []
    arguments = [sys.executable, "-c", source, str(inbox), str(secret), str(os.getpid())]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        yield done
    finally:
        process.kill()
        told, _ = process.communicate()
        done.append(int(told.split()[-1]) if told.split() else 0)


@pytest.mark.fault("S2", "S5")
@pytest.mark.parametrize(("source", "is_recursive"), [(SWAPPER, False), (FOLDER_SWAPPER, True)])
def test_what_is_swapped_for_a_link_is_never_read_through_it(
    bed: Bed, source: str, is_recursive: bool, record_property: Record
) -> None:
    bed.route("leads", recursive=is_recursive, duplicates="submit", hold_backlog=None, scan_every="100ms")
    secret = bed.folder / "elsewhere" / "secret.csv"
    secret.parent.mkdir()
    secret.write_bytes(SECRET)
    daemon = bed.start()
    with at_work(source, bed.place("inbox"), secret) as swaps:
        time.sleep(SWAPS_S)
    record_property("counted: swaps of a file or folder for a link", swaps[0])

    assert swaps[0] > 100
    assert hashlib.sha256(SECRET).hexdigest() not in {record.sha256 for record in bed.sandbox.ledger}
    assert secret.read_bytes() == SECRET
    bed.drop("after.csv", GOOD)
    daemon.wait_for("job.done", file="after.csv")


@pytest.mark.fault("S6")
def test_a_sparse_terabyte_costs_neither_time_nor_memory(bed: Bed) -> None:
    bed.route("leads")
    bed.drop("first.csv", GOOD)
    daemon = bed.start()
    bed.wait_ended(1)
    idle = daemon.memory_bytes("VmHWM")
    with open(bed.place("inbox") / ".sparse", "wb") as file:
        file.write(GOOD)
        file.truncate(1 << 40)
    (bed.place("inbox") / ".sparse").rename(bed.place("inbox") / "sparse.csv")
    try:
        daemon.wait_for("job.quarantined", file="sparse.csv")
    finally:
        for path in bed.folder.rglob("*sparse.csv"):
            path.unlink()  # nobody hashes a terabyte afterwards

    assert bed.error("sparse.csv")["code"] == "csv_encoding", "NUL is no text"
    assert daemon.memory_bytes("VmHWM") - idle < 60_000_000
    assert len(bed.sandbox.ledger) == 1


@pytest.mark.fault("S6", "S11")
def test_a_file_that_never_stops_growing_is_never_sent_and_stops_nobody(bed: Bed) -> None:
    bed.route("leads")
    bed.route("orders")
    daemon = bed.start()
    with at_work(GROWING, bed.place("inbox"), bed.folder):
        wait(lambda: (bed.place("inbox") / "grows.csv").exists() or daemon.told("job.claimed"), "it grows")
        for number in range(5):
            bed.drop(f"{number}.csv", b"Input_1\n%d\n" % number, "orders")
        wait(lambda: len(daemon.told("job.done", route="orders")) == 5, "the others come back", daemon=daemon)
        assert len(bed.sandbox.accepted) == 5, "what grows is not among them"
        assert len(daemon.told("job.disturbed")) < 300, "nothing spins"
    daemon.wait_for("job.done", file="grows.csv")
    assert bed.sandbox.accepted[-1].sha256 == sha256_of(bed.place("archive") / "grows.csv"), "all of it, now whole"


@pytest.mark.fault("S4")
@pytest.mark.skipif(os.geteuid() != 0, reason="not as root: another user is needed")
def test_the_kernel_lets_nobody_link_to_a_file_that_he_may_not_read(bed: Bed) -> None:
    assert Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1", "set fs.protected_hardlinks=1"
    secret = bed.folder / "secret.csv"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    bed.route("leads")
    bed.place("inbox").chmod(0o1777)
    for folder in (bed.folder, *bed.folder.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    linked = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "ln", str(secret), str(bed.place("inbox") / "hard.csv")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (linked.returncode, "not permitted" in linked.stderr) == (1, True), linked.stderr
    bed.drop("good.csv", GOOD)
    bed.start().wait_for("job.done", file="good.csv")


@pytest.mark.fault("S9", "F44")
@pytest.mark.system
@pytest.mark.timeout(1800)  # 100,000 names are dropped and seen; of them only some are sent
def test_a_flood_of_100000_files_delays_another_route_by_little(bed: Bed, record_property: Record) -> None:
    bed.more["log"]["level"] = "info"
    bed.route("flooded", hold_backlog=None, scan_every="1s")
    bed.route("orders", scan_every="1s")
    staged = bed.folder / "flooded" / "staged"
    staged.mkdir()
    for number in range(100_000):
        (staged / f"{number}.csv").write_bytes(b"Input_1\n%d\n" % number)
    inbox = bed.place("inbox", "flooded")
    (inbox).rmdir()
    staged.rename(inbox)
    daemon = bed.start()
    wait(lambda: daemon.told("job.done", route="flooded"), "the flood is being taken", 300, daemon)

    waited = []
    for number in range(20):
        started = time.monotonic()
        bed.drop(f"{number}.csv", b"Input_1\norder %d\n" % number, "orders")
        daemon.wait_for("job.done", file=f"{number}.csv", route="orders", within_s=120)
        waited.append(time.monotonic() - started)
    sys.stdout.write(f"\nin the flood: median {sorted(waited)[10]:.1f} s, worst {max(waited):.1f} s\n")
    record_property("counted: files of a flood that wait beside another route", 100_000)

    assert sorted(waited)[10] < 30
    assert daemon.memory_bytes("VmHWM") < 400_000_000
    bed.does("pause", "flooded")
