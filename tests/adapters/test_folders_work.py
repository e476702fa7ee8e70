from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import DiskTrouble, NameTaken, SourceVanished
from tests.adapters.beds import memory_disk, names, put, stamp
from tests.adapters.kernels import (
    FILE_SYSTEMS,
    Careful,
    Failing,
    Hooked,
    Short,
)


@pytest.fixture
def work() -> Iterator[Path]:
    with memory_disk() as folder:
        yield folder


def test_the_first_name_that_is_there_is_opened(work: Path) -> None:
    put(work / "sent", b"content")
    source, settled = LocalFolders().open_source(work, ("plain", "sent"))
    with source:
        assert settled == stamp(work / "sent")
        assert source.read(3) == b"con"
        assert source.read() == b"tent"
        assert source.read(3) == b""
        assert source.seek(0) == 0
        assert source.read() == b"content"
        with (work / "sent").open("ab") as writer:
            writer.write(b"!")
        assert LocalFolders().stamp_of(source).bytes == 8


def test_reading_takes_no_more_room_than_a_file_needs_and_misses_nothing_that_came_later(work: Path) -> None:
    put(work / "plain", b"content")
    kernel = Asked()
    source, _ = LocalFolders(kernel).open_source(work, ("plain",))
    with source:
        assert source.read(1 << 20) == b"content"
        assert max(kernel.asked_bytes) <= io.DEFAULT_BUFFER_SIZE
        with (work / "plain").open("ab") as writer:
            writer.write(bytes(100_000))
        assert b"".join(iter(lambda: source.read(1 << 20), b"")) == bytes(100_000)


class Asked(Hooked):
    """Note for how many bytes each read asks."""

    def __init__(self) -> None:
        self.asked_bytes: list[int] = []

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if name == "read":
            self.asked_bytes.append(args[1])
        return call(*args, **named)


def test_a_source_that_is_gone_or_no_file_is_told(work: Path) -> None:
    os.symlink("/etc/passwd", work / "link")
    with pytest.raises(SourceVanished, match="plain is gone from work"):
        LocalFolders().open_source(work, ("plain", "link"))


def test_a_missing_work_folder_is_no_vanished_file(work: Path) -> None:
    with pytest.raises(DiskTrouble):
        LocalFolders().open_source(work / "gone", ("plain",))


@pytest.mark.fault("F40")
def test_short_reads_are_read_on_and_errors_are_ours(work: Path) -> None:
    put(work / "plain", b"0123456789")

    source, _ = LocalFolders(Short()).open_source(work, ("plain",))
    with source:
        assert source.read(8) == b"01234567"
    source, _ = LocalFolders(Failing({"read": errno.EIO})).open_source(work, ("plain",))
    with source, pytest.raises(DiskTrouble, match=r"cannot read .*plain: input/output error"):
        source.read(8)


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_rename_in_work_is_on_disk_and_may_be_repeated(work: Path, errors: Mapping[str, int]) -> None:
    put(work / "plain", b"x")
    kernel = Careful(errors)
    for _ in range(2):
        LocalFolders(kernel).rename_in_work(work, "plain", "sent")
        assert names(work) == {"sent"}
        assert not kernel.unsynced


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_rename_in_work_loses_no_file(work: Path, errors: Mapping[str, int]) -> None:
    folders = LocalFolders(Failing(errors))
    with pytest.raises(SourceVanished):
        folders.rename_in_work(work, "plain", "sent")
    put(work / "plain", b"one")
    put(work / "sent", b"other")
    with pytest.raises(NameTaken):
        folders.rename_in_work(work, "plain", "sent")
    assert names(work) == {"plain", "sent"}
