from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished
from tests.adapters.beds import memory_disk, names, other_disk, put
from tests.adapters.kernels import (
    FILE_SYSTEMS,
    NFS,
    Careful,
    Failing,
    FailingWhen,
    Hooked,
    Interrupted,
    LosingAnswers,
    identity,
    is_change,
)


@dataclass
class Bed:
    work: Path
    archive: Path

    @property
    def source(self) -> Path:
        return self.work / "k3v9q0xw-orders.csv"

    @property
    def target(self) -> Path:
        return self.archive / "orders.csv"

    def move(self, kernel: Hooked | None = None) -> None:
        LocalFolders(kernel).move(self.source, self.target)


@pytest.fixture
def near() -> Iterator[Bed]:
    """Give two folders on one file system."""
    with memory_disk() as folder:
        (folder / "work").mkdir()
        (folder / "archive").mkdir()
        yield Bed(folder / "work", folder / "archive")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Bed]:
    """Give two folders on two file systems."""
    with other_disk(tmp_path) as folder:
        yield Bed(folder, tmp_path)


@pytest.fixture(params=["near", "far"])
def bed(request: pytest.FixtureRequest) -> Bed:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Bed)
    return found


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_moved_file_is_on_disk_and_may_be_moved_again(bed: Bed, errors: Mapping[str, int]) -> None:
    put(bed.source, b"x" * 3_000_000)
    kernel = Careful(errors)
    for _ in range(2):
        bed.move(kernel)
        assert bed.target.read_bytes() == b"x" * 3_000_000
        assert names(bed.work) == set()
        assert names(bed.archive) == {"orders.csv"}
        assert not kernel.unsynced
    bed.target.unlink()
    bed.move()
    assert names(bed.archive) == set()


def test_a_moved_file_keeps_its_mode_and_time(bed: Bed) -> None:
    put(bed.source)
    bed.source.chmod(0o640)
    os.utime(bed.source, ns=(1, 2_000_000_001))
    bed.move()
    found = bed.target.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 2_000_000_001)


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
@pytest.mark.parametrize("content", [b"other", b"xxxxx", b"xxx", b""])
def test_a_move_replaces_nothing(bed: Bed, errors: Mapping[str, int], content: bytes) -> None:
    put(bed.source, b"xxxx")
    put(bed.target, content)
    with pytest.raises(NameTaken, match=r"orders\.csv"):
        bed.move(Failing(errors))
    assert bed.source.read_bytes() == b"xxxx"
    assert bed.target.read_bytes() == content
    assert names(bed.archive) == {"orders.csv"}


@pytest.mark.fault("S14")
def test_a_link_in_the_way_is_neither_followed_nor_replaced(bed: Bed) -> None:
    put(bed.source, b"xxxx")
    put(bed.archive / "victim", b"xxxx")
    os.symlink("victim", bed.target)
    with pytest.raises(NameTaken):
        bed.move()
    assert bed.source.exists()
    assert bed.target.is_symlink()


def test_a_name_that_is_taken_at_the_last_moment_is_not_replaced(bed: Bed) -> None:
    put(bed.source, b"ours")
    # Across file systems the first rename only finds out that they are two; the one that counts has another source.
    is_near = bed.archive.stat().st_dev == bed.work.stat().st_dev
    late = Interrupted(
        lambda name, args: name == "rename_noreplace" and (args[0] == bed.source.name) == is_near,
        lambda: put(bed.target, b"theirs"),
    )
    with pytest.raises(NameTaken):
        bed.move(late)
    assert bed.source.read_bytes() == b"ours"
    assert bed.target.read_bytes() == b"theirs"
    assert names(bed.archive) == {"orders.csv"}


def test_a_source_that_is_no_file_is_not_moved(bed: Bed) -> None:
    os.symlink("/etc/passwd", bed.source)
    with pytest.raises(SourceVanished, match="is a symbolic link now"):
        bed.move()
    assert bed.source.is_symlink()
    assert names(bed.archive) == set()


@pytest.mark.parametrize("gone", ["work", "archive"])
def test_a_missing_folder_is_trouble(bed: Bed, gone: str) -> None:
    put(bed.source)
    setattr(bed, gone, getattr(bed, gone) / "gone")
    with pytest.raises(DiskTrouble, match="is missing"):
        bed.move()


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EEXIST])
def test_a_move_whose_answer_was_lost_was_done(near: Bed, code: int) -> None:
    put(near.source, b"x")
    near.move(LosingAnswers({"rename_noreplace": code}))
    assert names(near.work) == set()
    assert near.target.read_bytes() == b"x"

    put(near.work / "k3v9q0xw-orders.csv", b"y")
    near.target.unlink()
    near.move(LosingAnswers({"link": code, "unlink": errno.ENOENT}, NFS))
    assert names(near.work) == set()
    assert near.target.read_bytes() == b"y"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS])
def test_an_archive_that_takes_nothing_is_trouble(near: Bed, code: int) -> None:
    put(near.source)
    with pytest.raises(DiskTrouble, match="cannot move"):
        near.move(Failing({"rename_noreplace": code, "link": code}))


# --- Across file systems ---------------------------------------------------------------------------------------------


@pytest.mark.fault("F35")
def test_the_copy_is_whole_and_on_disk_before_the_source_goes(far: Bed) -> None:
    put(far.source, b"x" * 3_000_000)
    archive = os.open(far.archive, os.O_RDONLY)
    checked: list[str] = []

    class Watching(Careful):
        def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
            if name == "unlink" and args[0] == far.source.name:
                assert identity(archive) not in self.unsynced
                assert far.target.read_bytes() == b"x" * 3_000_000
                checked.append("source")
            if name == "rename_noreplace":
                checked.append("hidden" if not far.target.exists() else "seen")
            return super().around(name, call, *args, **named)

    far.move(Watching())
    os.close(archive)
    assert checked == ["hidden", "hidden", "source"]


def test_a_whole_copy_beside_its_source_is_kept(far: Bed) -> None:
    put(far.source, b"x" * 3_000_000)
    put(far.target, b"x" * 3_000_000)
    before = far.target.stat().st_ino
    far.move()
    assert names(far.work) == set()
    assert far.target.stat().st_ino == before


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_a_copy_that_failed_leaves_the_source_and_no_half_file(far: Bed, call: str) -> None:
    put(far.source, b"x")

    full = FailingWhen(errno.ENOSPC, lambda name, args: name == call and is_change(name, args))
    with pytest.raises(DiskTrouble, match="no space left"):
        far.move(full)
    assert far.source.read_bytes() == b"x"
    assert names(far.archive) == set()


def test_a_source_that_is_written_to_while_it_is_copied_is_copied_again(far: Bed) -> None:
    put(far.source, b"first\n")
    with far.source.open("ab") as writer:
        late = Interrupted(lambda name, _: name == "write", lambda: os.write(writer.fileno(), b"second\n"))
        with pytest.raises(InUse, match="was written to while it was copied"):
            far.move(late)
    assert names(far.archive) == set()
    far.move()
    assert far.target.read_bytes() == b"first\nsecond\n"


def test_a_source_that_was_replaced_while_it_was_copied_is_not_removed(far: Bed) -> None:
    put(far.source, b"first")

    def replace() -> None:
        put(far.work / "spare", b"second")
        (far.work / "spare").rename(far.source)

    with pytest.raises(InUse, match="was replaced while it was copied"):
        far.move(Interrupted(lambda name, args: name == "fchmod" and bool(args), replace))
    assert far.source.read_bytes() == b"second"


@pytest.mark.fault("F34")
def test_a_file_system_that_keeps_no_modes_gets_the_file_all_the_same(far: Bed) -> None:
    put(far.source, b"x")
    far.move(Failing({"fchmod": errno.EPERM, "utime": errno.EPERM}))
    assert far.target.read_bytes() == b"x"
