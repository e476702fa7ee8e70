from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import DiskTrouble, NameTaken
from bulkgpt_watchd.core.names import scratch_name
from tests.adapters.beds import memory_disk, names, put
from tests.adapters.kernels import FILE_SYSTEMS, RENAMES, Careful, Failing, FailingWhen, Interrupted, LosingAnswers


@pytest.fixture
def outbox() -> Iterator[Path]:
    with memory_disk() as folder:
        yield folder


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
@pytest.mark.parametrize("replace", [False, True])
def test_a_small_file_is_on_disk_and_may_be_written_again(
    outbox: Path, errors: Mapping[str, int], *, replace: bool
) -> None:
    kernel = Careful(errors)
    for _ in range(2):
        LocalFolders(kernel).write_whole(outbox, "x.error.json", b"{}", replace=replace)
        assert names(outbox) == {"x.error.json"}
        assert (outbox / "x.error.json").read_bytes() == b"{}"
        assert not kernel.unsynced


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_small_file_replaces_others_only_where_it_is_told_to(outbox: Path, errors: Mapping[str, int]) -> None:
    folders = LocalFolders(Failing(errors))
    put(outbox / "x", b"theirs")
    for content in (b"ours", b"their", b"theirs and more"):
        with pytest.raises(NameTaken):
            folders.write_whole(outbox, "x", content, replace=False)
    assert names(outbox) == {"x"}
    assert (outbox / "x").read_bytes() == b"theirs"
    folders.write_whole(outbox, "x", b"ours", replace=True)
    assert (outbox / "x").read_bytes() == b"ours"


def test_a_link_of_that_name_is_neither_followed_nor_taken_for_ours(outbox: Path) -> None:
    put(outbox / "victim", b"{}")
    os.symlink("victim", outbox / "x")
    with pytest.raises(NameTaken):
        LocalFolders().write_whole(outbox, "x", b"{}", replace=False)
    LocalFolders().write_whole(outbox, "x", b"new", replace=True)
    assert (outbox / "victim").read_bytes() == b"{}"


@pytest.mark.parametrize("call", ["write", "fsync", "rename_noreplace"])
def test_what_could_not_be_written_takes_no_room(outbox: Path, call: str) -> None:
    put(outbox / scratch_name("x"), b"leftover")
    with pytest.raises(DiskTrouble, match="no space left on device"):
        LocalFolders(Failing({call: errno.ENOSPC})).write_whole(outbox, "x", b"ours", replace=False)
    assert names(outbox) == set()


def test_of_two_jobs_that_write_to_one_name_at_once_one_is_told_so(outbox: Path) -> None:
    """Were what is being written one file for both, the first would publish what the second writes."""

    def second() -> None:
        LocalFolders().write_whole(outbox, "x", b"second", replace=False, job_id="b")

    kernel = Interrupted(lambda name, _: name in RENAMES, second)
    with pytest.raises(NameTaken):
        LocalFolders(kernel).write_whole(outbox, "x", b"first", replace=False, job_id="a")
    assert (outbox / "x").read_bytes() == b"second"
    assert names(outbox) == {"x"}


def test_a_replacement_whose_answer_was_lost_was_done(outbox: Path) -> None:
    put(outbox / "x", b"old")
    LocalFolders(LosingAnswers({"rename": errno.ENOENT})).write_whole(outbox, "x", b"new", replace=True)
    assert (outbox / "x").read_bytes() == b"new"


def test_removing_is_on_disk_and_may_be_repeated(outbox: Path) -> None:
    put(outbox / "x")
    kernel = Careful()
    for path in (outbox / "x", outbox / "x", outbox / "gone" / "x"):
        LocalFolders(kernel).remove(path)
        assert not kernel.unsynced
    assert names(outbox) == set()


def test_a_folder_is_not_removed(outbox: Path) -> None:
    (outbox / "x").mkdir()
    with pytest.raises(DiskTrouble, match="cannot remove"):
        LocalFolders().remove(outbox / "x")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_sync_folders_is_used_all_the_same(outbox: Path, code: int) -> None:
    cannot = FailingWhen(code, lambda name, args: name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode))
    LocalFolders(cannot).write_whole(outbox, "x", b"", replace=False)
    assert names(outbox) == {"x"}
