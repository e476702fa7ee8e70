from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import SourceVanished
from bulkgpt_watchd.core.job import Stamp
from tests.adapters.beds import memory_disk, names, put
from tests.adapters.kernels import (
    Careful,
    Hooked,
)

WORK_NAME = "k3v9q0xw-orders.csv"
MARKER = ("orders.csv.done", "k3v9q0xw.marker-orders.csv")


@dataclass
class Bed:
    inbox: Path
    work: Path

    def claim(self, settled: Stamp, kernel: Hooked | None = None, marker: tuple[str, str] | None = None) -> Stamp:
        return LocalFolders(kernel).claim(self.inbox, "orders.csv", self.work, WORK_NAME, settled, marker)


@pytest.fixture
def bed() -> Iterator[Bed]:
    with memory_disk() as folder:
        work = folder / ".bulkgpt-watchd"
        work.mkdir()
        yield Bed(folder, work)


def test_the_marker_is_taken_first(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    put(bed.inbox / MARKER[0], b"")
    kernel = Careful()

    assert bed.claim(settled, kernel, MARKER) == settled
    assert names(bed.work) == {WORK_NAME, MARKER[1]}
    assert names(bed.inbox) == {".bulkgpt-watchd"}
    assert not kernel.unsynced


def test_without_its_marker_a_file_is_not_claimed(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    with pytest.raises(SourceVanished, match=r"the marker .*orders.csv.done is gone"):
        bed.claim(settled, marker=MARKER)
    os.symlink("orders.csv", bed.inbox / MARKER[0])
    with pytest.raises(SourceVanished):
        bed.claim(settled, marker=MARKER)
    assert names(bed.work) == set()


def test_a_marker_that_was_taken_counts(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    put(bed.work / MARKER[1], b"")
    assert bed.claim(settled, marker=MARKER) == settled


def test_a_marker_goes_back_and_a_new_one_is_kept(bed: Bed) -> None:
    folders = LocalFolders()
    put(bed.work / MARKER[1], b"old")
    folders.unclaim_marker(bed.inbox, MARKER[0], bed.work, MARKER[1])
    assert (bed.inbox / MARKER[0]).read_bytes() == b"old"
    folders.unclaim_marker(bed.inbox, MARKER[0], bed.work, MARKER[1])

    put(bed.inbox / MARKER[0], b"new")
    put(bed.work / MARKER[1], b"old")
    folders.unclaim_marker(bed.inbox, MARKER[0], bed.work, MARKER[1])
    assert (bed.inbox / MARKER[0]).read_bytes() == b"new"
    assert names(bed.work) == set()


def test_a_marker_whose_folder_is_gone_is_dropped(bed: Bed) -> None:
    put(bed.work / MARKER[1], b"")
    LocalFolders().unclaim_marker(bed.inbox, "gone/orders.csv.done", bed.work, MARKER[1])
    assert names(bed.work) == set()
