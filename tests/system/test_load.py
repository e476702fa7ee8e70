"""Large files and many files: memory that does not grow with them, and how fast it goes (told with -s)."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator

import pytest

from tests.system.bed import Bed, sha256_of
from tests.system.process import wait

GROWTH_BYTES = 60_000_000
"""How much the peak may be above idle, whatever the size of a file: blocks, a parser, the connection's buffers."""

ROW_BYTES = 400
"""Length of a row of the large file: a name and a text."""


def blocks(rows: int, result: bytes = b"") -> Iterator[bytes]:
    """Give a CSV in blocks; with *result* as the sandbox answers it, which adds a column to each row."""
    yield b"name,text" + (b",Output_1" if result else b"") + b"\n"
    for start in range(0, rows, 10_000):
        lines = []
        for row in range(start, min(start + 10_000, rows)):
            name = b"row %09d" % row
            line = name + b"," + b"x" * (ROW_BYTES - len(name) - 2)
            lines.append(line + (b"," + result + name if result else b"") + b"\n")
        yield b"".join(lines)


def drop_large(bed: Bed, rows: int) -> tuple[int, str]:
    """Drop a file of so many rows without holding it in memory; give its size and hash."""
    digest = hashlib.sha256()
    dotted = bed.place("inbox") / ".large"
    with open(dotted, "wb") as file:
        for block in blocks(rows):
            digest.update(block)
            file.write(block)
        size_bytes = file.tell()
    dotted.rename(bed.place("inbox") / "large.csv")
    bed.dropped[digest.hexdigest()] += 1
    return size_bytes, digest.hexdigest()


def goes_in_constant_memory(bed: Bed, rows: int, within_s: float) -> None:
    bed.api |= {"timeout": "5m", "answer_timeout": "30m", "download": {"max_bytes": "4GB"}}
    bed.route(csv={"max_rows": 100_000_000}, poll={"min": "200ms", "max": "2s"})
    bed.drop("small.csv", b"a\n1\n")
    daemon = bed.start()
    bed.wait_ended(1)
    idle = daemon.memory_bytes("VmHWM")
    size_bytes, sha256 = drop_large(bed, rows)
    started = time.monotonic()
    jobs = bed.wait_ended(2, within_s)
    seconds = time.monotonic() - started
    peak = daemon.memory_bytes("VmHWM")
    sys.stdout.write(
        f"\n{size_bytes / 1e6:.0f} MB, {rows:,} rows in {seconds:.1f} s ({size_bytes / seconds / 1e6:.1f} MB/s);"
        f" memory idle {idle / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB\n"
    )
    assert peak - idle <= GROWTH_BYTES
    assert {job["state"] for job in jobs} == {"done"}
    assert (bed.sandbox.accepted[1].sha256, bed.sandbox.accepted[1].rows) == (sha256, rows)
    expected = hashlib.sha256()
    for block in blocks(rows, b"Result for "):
        expected.update(block)
    assert sha256_of(bed.place("outbox") / "large.csv") == expected.hexdigest()
    assert sha256_of(bed.place("archive") / "large.csv") == sha256
    receipt = bed.receipt("large.csv")
    assert (receipt["bytes"], receipt["rows"], receipt["rows_out"]) == (size_bytes, rows, rows)
    assert receipt["result_sha256"] == expected.hexdigest()


def many_come_back(bed: Bed, files: int, within_s: float) -> None:
    bed.more["log"]["level"] = "info"
    bed.route(hold_backlog=None)
    daemon = bed.start()
    staged = bed.folder / "staged"
    staged.mkdir()
    for number in range(files):
        content = b"Input_1\n%d\n" % number
        (staged / f"{number}.csv").write_bytes(content)
        bed.dropped[hashlib.sha256(content).hexdigest()] += 1
    inbox = bed.place("inbox")
    started = time.monotonic()
    for number in range(files):
        os.rename(staged / f"{number}.csv", inbox / f"{number}.csv")
    wait(lambda: daemon.ends() >= files, f"{files} files end", within_s, daemon)
    seconds = time.monotonic() - started
    sys.stdout.write(f"\n{files:,} files in {seconds:.1f} s: {files / seconds:.0f} files/s\n")
    assert len(bed.files("outbox")) == files
    assert bed.files("error") == {}
    for number in range(0, files, 97):
        assert b"Result for %d\n" % number in (bed.place("outbox") / f"{number}.csv").read_bytes()
    assert len(bed.sandbox.accepted) == len(bed.sandbox.ledger) == files
    jobs = bed.jobs()
    assert len(jobs) == files
    assert {job["state"] for job in jobs} == {"done"}
    assert len({job["task_ids"][0] for job in jobs}) == files


def test_40_mb_go_in_constant_memory(bed: Bed) -> None:
    goes_in_constant_memory(bed, 100_000, 50)
    assert {job["state"] for job in bed.jobs()} == {"done"}


def test_300_files_dropped_at_once_come_back(bed: Bed) -> None:
    many_come_back(bed, 300, 50)


@pytest.mark.fault("F44")
@pytest.mark.system
@pytest.mark.timeout(1800)
def test_a_gigabyte_goes_in_constant_memory(bed: Bed) -> None:
    goes_in_constant_memory(bed, 2_500_000, 1500)


@pytest.mark.fault("F44")
@pytest.mark.system
@pytest.mark.timeout(1800)
def test_10000_files_dropped_at_once_come_back(bed: Bed) -> None:
    many_come_back(bed, 10_000, 1500)
