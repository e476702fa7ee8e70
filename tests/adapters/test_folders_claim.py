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
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, SourceChanged, SourceVanished
from bulkgpt_watchd.core.job import Stamp
from tests.adapters.beds import NOBODY, as_user, memory_disk, names, needs_two_users, other_disk, put, stamp
from tests.adapters.kernels import (
    FILE_SYSTEMS,
    NFS,
    RENAMES,
    Careful,
    Failing,
    FailingWhen,
    Hooked,
    Interrupted,
    LosingAnswers,
    identity,
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


def identity_of(path: Path) -> tuple[int, int]:
    with open(path, "rb") as file:
        return identity(file.fileno())


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_claimed_file_stands_in_work_and_is_on_disk(bed: Bed, errors: Mapping[str, int]) -> None:
    settled = put(bed.inbox / "orders.csv", b"x")
    kernel = Careful(errors)
    kernel.unsynced.add(identity_of(bed.inbox / "orders.csv"))  # its sender did not wait for the disk

    assert bed.claim(settled, kernel) == settled

    assert names(bed.inbox) == {".bulkgpt-watchd"}
    assert (bed.work / WORK_NAME).read_bytes() == b"x"
    assert not kernel.unsynced


def test_claiming_again_gives_the_same_even_when_the_name_was_dropped_again(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv", b"first")
    bed.claim(settled)
    put(bed.inbox / "orders.csv", b"second")

    assert bed.claim(settled) == settled

    assert (bed.work / WORK_NAME).read_bytes() == b"first"
    assert (bed.inbox / "orders.csv").read_bytes() == b"second"


def test_a_file_that_is_gone_cannot_be_claimed(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    (bed.inbox / "orders.csv").unlink()
    with pytest.raises(SourceVanished):
        bed.claim(settled)


@pytest.mark.fault("F22")
def test_a_file_that_changed_stays_where_it_is(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    put(bed.inbox / "orders.csv", b"longer than before")
    with pytest.raises(SourceChanged):
        bed.claim(settled)
    assert names(bed.inbox) == {".bulkgpt-watchd", "orders.csv"}
    assert names(bed.work) == set()


@pytest.mark.fault("F23")
def test_what_a_writer_adds_after_the_look_is_told_by_the_stamp(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv", b"a\n")
    with (bed.inbox / "orders.csv").open("ab") as writer:
        kernel = Interrupted(lambda name, _: name in RENAMES, lambda: os.write(writer.fileno(), b"b\n"))
        claimed = bed.claim(settled, kernel)
    assert claimed != settled
    assert claimed == stamp(bed.work / WORK_NAME)


@pytest.mark.fault("F33")
@pytest.mark.parametrize("code", [errno.EACCES, errno.EBUSY, errno.ETXTBSY, errno.ESTALE, errno.EAGAIN])
@pytest.mark.parametrize("call", ["open", "rename_noreplace"])
def test_a_file_in_use_waits(bed: Bed, code: int, call: str) -> None:
    settled = put(bed.inbox / "orders.csv")

    held = FailingWhen(code, lambda name, args: name == call and args[0] == "orders.csv")
    with pytest.raises(InUse, match=r"orders\.csv"):
        bed.claim(settled, held)
    assert names(bed.work) == set()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EHOSTDOWN, errno.EMFILE])
@pytest.mark.parametrize("call", ["open", "rename_noreplace", "fsync"])
def test_trouble_of_the_disk_is_told_as_such(bed: Bed, code: int, call: str) -> None:
    settled = put(bed.inbox / "orders.csv")
    with pytest.raises(DiskTrouble):
        bed.claim(settled, Failing({call: code}))
    assert len(names(bed.work) | names(bed.inbox) - {".bulkgpt-watchd"}) == 1


def of_file(name: str, args: tuple[Any, ...]) -> bool:
    return name == "fsync" and stat.S_ISREG(os.fstat(args[0]).st_mode)


def test_a_file_that_cannot_be_brought_to_disk_is_not_claimed(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    with pytest.raises(DiskTrouble, match=r"cannot bring to disk .*orders\.csv"):
        bed.claim(settled, FailingWhen(errno.EIO, of_file))
    assert (bed.inbox / "orders.csv").exists()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES])
def test_a_share_that_refuses_to_bring_to_disk_what_others_wrote_keeps_it_itself(bed: Bed, code: int) -> None:
    settled = put(bed.inbox / "orders.csv")
    assert bed.claim(settled, FailingWhen(code, of_file)) == settled


def test_a_file_that_may_not_be_read_is_not_claimed(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")
    (bed.inbox / "orders.csv").chmod(0)
    bed.inbox.chmod(0o777)
    bed.work.chmod(0o777)
    with pytest.raises(InUse, match="permission denied for user nobody"):
        as_user(lambda: bed.claim(settled))
    assert (bed.inbox / "orders.csv").exists()


@needs_two_users
def test_a_file_that_may_not_be_moved_waits(bed: Bed) -> None:
    """In a sticky folder only a file's owner may move it."""
    settled = put(bed.inbox / "orders.csv")
    bed.inbox.chmod(0o1777)
    os.chown(bed.work, NOBODY, NOBODY)
    with pytest.raises(InUse, match="not permitted for user nobody"):
        as_user(lambda: bed.claim(settled))
    assert (bed.inbox / "orders.csv").exists()


def test_work_on_another_file_system_is_named(tmp_path: Path) -> None:
    settled = put(tmp_path / "orders.csv")
    with other_disk(tmp_path) as work, pytest.raises(DiskTrouble, match=f"{work} lies on another file system than"):
        LocalFolders().claim(tmp_path, "orders.csv", work, WORK_NAME, settled, None)
    assert names(tmp_path) == {"orders.csv"}


@pytest.mark.parametrize("missing", ["inbox", "work"])
def test_a_missing_folder_is_no_vanished_file(bed: Bed, missing: str) -> None:
    settled = put(bed.inbox / "orders.csv")
    setattr(bed, missing, bed.inbox / "gone")
    with pytest.raises(DiskTrouble, match="gone is missing"):
        bed.claim(settled)


def test_a_file_in_a_sub_folder_is_claimed_and_a_linked_sub_folder_is_not_entered(bed: Bed) -> None:
    (bed.inbox / "sub").mkdir()
    settled = put(bed.inbox / "sub" / "x.csv")
    os.symlink("sub", bed.inbox / "link")
    folders = LocalFolders()

    with pytest.raises(SourceVanished):
        folders.claim(bed.inbox, "link/x.csv", bed.work, WORK_NAME, settled, None)
    assert folders.claim(bed.inbox, "sub/x.csv", bed.work, WORK_NAME, settled, None) == settled
    (bed.inbox / "sub").rmdir()
    assert folders.claim(bed.inbox, "sub/x.csv", bed.work, WORK_NAME, settled, None) == settled


# --- Exchanged while we look -----------------------------------------------------------------------------------------


def exchange(bed: Bed, what: str) -> None:
    (bed.inbox / "orders.csv").unlink()
    if what == "link":
        os.symlink("/etc/passwd", bed.inbox / "orders.csv")
    elif what == "fifo":
        os.mkfifo(bed.inbox / "orders.csv")
    else:
        put(bed.inbox / "spare", b"other bytes")
        (bed.inbox / "spare").rename(bed.inbox / "orders.csv")


@pytest.mark.parametrize("what", ["link", "fifo"])
def test_what_is_no_file_any_more_is_not_opened(bed: Bed, what: str) -> None:
    settled = put(bed.inbox / "orders.csv")
    exchange(bed, what)
    with pytest.raises(SourceVanished):
        bed.claim(settled)
    assert names(bed.work) == set()


@pytest.mark.fault("S2")
@pytest.mark.parametrize("what", ["link", "fifo", "file"])
def test_what_was_exchanged_after_it_was_opened_goes_back(bed: Bed, what: str) -> None:
    put(bed.inbox / "held", b"")  # keeps the inode's number from being given out again
    settled = put(bed.inbox / "orders.csv")
    with (bed.inbox / "orders.csv").open("rb"):
        kernel = Interrupted(lambda name, _: name in RENAMES, lambda: exchange(bed, what))
        with pytest.raises(SourceChanged):
            bed.claim(settled, kernel)
    assert names(bed.work) == set()
    assert (bed.inbox / "orders.csv").is_symlink() == (what == "link")
    if what == "file":
        assert (bed.inbox / "orders.csv").read_bytes() == b"other bytes"


def test_what_goes_back_replaces_nothing(bed: Bed) -> None:
    settled = put(bed.inbox / "orders.csv")

    class Busy(Hooked):
        """Exchange the file before it is renamed, and drop one more of the same name after."""

        done = False

        def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
            if name != "rename_noreplace" or self.done:
                return super().around(name, call, *args, **named)
            self.done = True
            exchange(bed, "file")
            super().around(name, call, *args, **named)
            put(bed.inbox / "orders.csv", b"third")
            return None

    with pytest.raises(SourceChanged):
        bed.claim(settled, Busy())
    assert (bed.inbox / "orders.csv").read_bytes() == b"third"
    assert (bed.inbox / "orders-2.csv").read_bytes() == b"other bytes"
    assert names(bed.work) == set()


@pytest.mark.parametrize("what", ["link", "fifo"])
def test_what_slipped_into_work_before_a_death_goes_back_when_it_is_no_file(bed: Bed, what: str) -> None:
    settled = put(bed.inbox / "orders.csv")
    exchange(bed, what)
    (bed.inbox / "orders.csv").rename(bed.work / WORK_NAME)
    with pytest.raises(SourceChanged):
        bed.claim(settled)
    assert names(bed.inbox) == {".bulkgpt-watchd", "orders.csv"}
    assert names(bed.work) == set()


# --- A share ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EEXIST, errno.EIO, errno.ESTALE])
def test_a_rename_whose_answer_was_lost_was_done(bed: Bed, code: int) -> None:
    settled = put(bed.inbox / "orders.csv")
    assert bed.claim(settled, LosingAnswers({"rename": code}, NFS)) == settled
    assert names(bed.work) == {WORK_NAME}


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_of_two_daemons_only_one_claims_a_file(bed: Bed, errors: Mapping[str, int]) -> None:
    """The other is faster at the last moment; on a file system without links too."""
    settled = put(bed.inbox / "orders.csv")
    other = bed.inbox / ".other"
    other.mkdir()

    def is_rename(name: str, args: tuple[Any, ...]) -> bool:
        return name == "rename" or (name == "rename_noreplace" and not errors and args[0] == "orders.csv")

    class Slow(Failing):
        def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
            if is_rename(name, args):
                LocalFolders(Failing(errors)).claim(bed.inbox, "orders.csv", other, "theirs", settled, None)
            return super().around(name, call, *args, **named)

    with pytest.raises(SourceVanished):
        bed.claim(settled, Slow(errors))
    assert names(other) == {"theirs"}
    assert names(bed.work) == set()
