from __future__ import annotations

import errno
import grp
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import DiskTrouble, InUse, NameTaken, SourceVanished
from tests.adapters.beds import as_user, memory_disk, names, needs_two_users, put
from tests.adapters.kernels import (
    FILE_SYSTEMS,
    NFS,
    WITHOUT_LINKS,
    Careful,
    Failing,
    LosingAnswers,
    Short,
    WithoutNames,
)

JOB = "k3v9q0xw"
TEMP = f".{JOB}-orders.csv.part"
RECEIPT = (".receipt.json",)


@pytest.fixture
def outbox() -> Iterator[Path]:
    with memory_disk() as folder:
        yield folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- Names -----------------------------------------------------------------------------------------------------------


def test_a_free_name_is_kept(outbox: Path) -> None:
    assert LocalFolders().free_target(outbox, "orders.csv", JOB, RECEIPT) == "orders.csv"


@pytest.mark.parametrize("taken", ["orders.csv", "orders.csv.receipt.json"])
def test_a_taken_name_or_sidecar_gets_the_job(outbox: Path, taken: str) -> None:
    os.symlink("nowhere", outbox / taken)
    assert LocalFolders().free_target(outbox, "orders.csv", JOB, RECEIPT) == f"orders-{JOB}.csv"


def test_a_name_with_the_job_may_be_taken_too(outbox: Path) -> None:
    for name in ("orders.csv", f"orders-{JOB}.csv.receipt.json", f"orders-{JOB}-2.csv"):
        put(outbox / name)
    assert LocalFolders().free_target(outbox, "orders.csv", JOB, RECEIPT) == f"orders-{JOB}-3.csv"


@pytest.mark.fault("F34")
@pytest.mark.parametrize("kernel", [WithoutNames("\\"), WithoutNames('\\:?*"<>|', is_told=False)])
def test_a_name_that_the_file_system_cannot_have_is_spelled_so_that_it_can(outbox: Path, kernel: WithoutNames) -> None:
    folders = LocalFolders(kernel)
    assert folders.free_target(outbox, r"C:\orders?.csv", JOB, RECEIPT) == "C__orders_.csv"
    put(outbox / "C__orders_.csv.receipt.json")
    assert folders.free_target(outbox, r"C:\orders?.csv", JOB, RECEIPT) == f"C__orders_-{JOB}.csv"


def test_a_name_is_spelled_as_it_is_wherever_that_is_possible(outbox: Path) -> None:
    assert LocalFolders().free_target(outbox, r"C:\orders?.csv", JOB, RECEIPT) == r"C:\orders?.csv"
    kernel = WithoutNames("\\")
    assert LocalFolders(kernel).free_target(outbox, "C:orders?.csv", JOB, RECEIPT) == "C:orders?.csv"
    assert names(outbox) == set(), "nothing is left of the trial"


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".csv", "ä" * 125 + ".csv", "x" * 255, os.fsdecode(b"\xff" * 251 + b".csv")]
)
def test_a_long_name_leaves_room_for_all_that_we_add(outbox: Path, name: str) -> None:
    folders = LocalFolders()
    for _ in range(3):
        free = folders.free_target(outbox, name, JOB, RECEIPT)
        assert len(os.fsencode(free + RECEIPT[0])) <= 255
        folders.write_whole(outbox, free, b"", replace=False)
        folders.write_whole(outbox, free + RECEIPT[0], b"", replace=False)
    assert len(names(outbox)) == 6


def test_a_long_sidecar_is_counted(outbox: Path) -> None:
    suffix = "." + "s" * 100
    free = LocalFolders().free_target(outbox, "x" * 251 + ".csv", JOB, (suffix,))
    LocalFolders().write_whole(outbox, free + suffix, b"", replace=False)
    assert names(outbox) == {free + suffix}
    assert 230 < len(os.fsencode(free + suffix)) <= 255


def test_anything_exists_that_has_the_name(outbox: Path) -> None:
    os.symlink("nowhere", outbox / "link")
    folders = LocalFolders()
    assert folders.exists(outbox / "link")
    assert not folders.exists(outbox / "orders.csv")
    assert not folders.exists(outbox / "gone" / "orders.csv")


# --- Write and publish -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_result_is_on_disk_before_and_after_it_appears(outbox: Path, errors: Mapping[str, int]) -> None:
    kernel = Careful(errors)
    folders = LocalFolders(kernel)

    target = folders.create(outbox, TEMP, None, None)
    target.write(b"a" * 100_000)
    target.write(b"b")
    assert names(outbox) == {TEMP}
    folders.finish(target, outbox)
    assert not kernel.unsynced
    assert b"".join(folders.read_blocks(outbox, TEMP)) == b"a" * 100_000 + b"b"
    folders.publish(outbox, TEMP, "orders.csv")

    assert names(outbox) == {"orders.csv"}
    assert not kernel.unsynced


@pytest.mark.fault("F4")
def test_publishing_again_changes_nothing_even_when_the_result_was_fetched(outbox: Path) -> None:
    put(outbox / TEMP)
    folders = LocalFolders()
    folders.publish(outbox, TEMP, "orders.csv")
    folders.publish(outbox, TEMP, "orders.csv")
    assert names(outbox) == {"orders.csv"}
    (outbox / "orders.csv").unlink()
    folders.publish(outbox, TEMP, "orders.csv")
    assert names(outbox) == set()


@pytest.mark.fault("F34")
@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_publishing_replaces_nothing(outbox: Path, errors: Mapping[str, int]) -> None:
    put(outbox / TEMP, b"ours")
    put(outbox / "orders.csv", b"theirs")
    os.symlink("nowhere", outbox / "link.csv")
    for name in ("orders.csv", "link.csv"):
        with pytest.raises(NameTaken, match=name):
            LocalFolders(Failing(errors)).publish(outbox, TEMP, name)
    assert (outbox / "orders.csv").read_bytes() == b"theirs"
    assert (outbox / TEMP).read_bytes() == b"ours"


@pytest.mark.parametrize(
    ("lost", "errors"),
    [
        ({"rename_noreplace": errno.ENOENT}, {}),
        ({"rename_noreplace": errno.EEXIST}, {}),
        ({"link": errno.EEXIST}, NFS),
        ({"link": errno.EIO}, NFS),
        ({"unlink": errno.ENOENT}, NFS),
        ({"link": errno.EEXIST, "unlink": errno.ENOENT}, NFS),
        ({"rename": errno.ENOENT}, WITHOUT_LINKS),
    ],
)
def test_a_publication_whose_answer_was_lost_was_done(
    outbox: Path, lost: Mapping[str, int], errors: Mapping[str, int]
) -> None:
    put(outbox / TEMP, b"ours")
    LocalFolders(LosingAnswers(lost, errors)).publish(outbox, TEMP, "orders.csv")
    assert names(outbox) == {"orders.csv"}
    assert (outbox / "orders.csv").read_bytes() == b"ours"


@pytest.mark.fault("F38")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_full_or_failing_disk_is_told_as_such(outbox: Path, code: int, call: str) -> None:
    def write(folders: LocalFolders) -> None:
        with folders.create(outbox, TEMP, None, None) as target:
            target.write(b"x" * 100_000)
            target.write(b"y")
            folders.finish(target, outbox)

    with pytest.raises(DiskTrouble):
        write(LocalFolders(Failing({call: code})))
    LocalFolders().remove(outbox / TEMP)
    assert names(outbox) == set()


def test_a_target_that_is_given_up_writes_nothing_more(outbox: Path) -> None:
    """Closing must not fail on a full disk a second time, before the file was removed."""
    target = LocalFolders(Failing({"write": errno.ENOSPC})).create(outbox, TEMP, None, None)
    target.write(b"buffered")
    target.close()
    assert target.closed


@pytest.mark.fault("F33")
@pytest.mark.parametrize("code", [errno.EBUSY, errno.ESTALE, errno.EAGAIN])
def test_a_busy_outbox_waits(outbox: Path, code: int) -> None:
    put(outbox / TEMP)
    with pytest.raises(InUse):
        LocalFolders(Failing({"rename_noreplace": code})).publish(outbox, TEMP, "orders.csv")


@pytest.mark.fault("F40")
def test_short_writes_are_written_on(outbox: Path) -> None:
    folders, content = LocalFolders(Short()), bytes(range(256)) * 100
    target = folders.create(outbox, TEMP, None, None)
    target.write(content)
    folders.finish(target, outbox)
    folders.write_whole(outbox, "small", content, replace=False)
    assert (outbox / TEMP).read_bytes() == (outbox / "small").read_bytes() == content


def test_a_leftover_is_removed_before_a_new_try_and_a_link_there_is_not_followed(outbox: Path) -> None:
    folders = LocalFolders()
    put(outbox / "victim", b"theirs")
    os.symlink("victim", outbox / TEMP)
    for _ in range(2):
        target = folders.create(outbox, TEMP, None, None)
        target.write(b"ours")
        folders.finish(target, outbox)
    assert (outbox / "victim").read_bytes() == b"theirs"
    assert (outbox / TEMP).read_bytes() == b"ours"
    assert not (outbox / TEMP).is_symlink()


def test_without_a_mode_a_file_gets_the_usual_one(outbox: Path) -> None:
    folders = LocalFolders()
    folders.finish(folders.create(outbox, TEMP, None, None), outbox)
    folders.write_whole(outbox, "small", b"", replace=False)
    put(outbox / "any")
    assert mode_of(outbox / TEMP) == mode_of(outbox / "small") == mode_of(outbox / "any")


@pytest.mark.fault("S13")
def test_with_a_mode_a_file_is_private_until_it_is_whole(outbox: Path) -> None:
    folders = LocalFolders()
    target = folders.create(outbox, TEMP, 0o664, None)
    assert mode_of(outbox / TEMP) == 0o600
    folders.finish(target, outbox)
    assert mode_of(outbox / TEMP) == 0o664


@needs_two_users
def test_a_file_is_given_to_its_group(outbox: Path) -> None:
    group = grp.getgrgid(1).gr_name
    folders = LocalFolders()
    folders.finish(folders.create(outbox, TEMP, 0o640, group), outbox)
    assert (outbox / TEMP).stat().st_gid == 1


@needs_two_users
def test_a_group_that_we_are_not_in_is_told_and_leaves_nothing(outbox: Path) -> None:
    group = grp.getgrgid(1).gr_name
    outbox.chmod(0o777)
    with pytest.raises(DiskTrouble, match=f"cannot give to the group {group} .*not permitted for user nobody"):
        as_user(lambda: LocalFolders().create(outbox, TEMP, None, group).close())
    assert names(outbox) == set()


def test_an_unknown_group_is_told(outbox: Path) -> None:
    with pytest.raises(DiskTrouble, match="there is no group no-such-group"):
        LocalFolders().create(outbox, TEMP, None, "no-such-group")


def test_what_cannot_be_read_in_blocks_is_told(outbox: Path) -> None:
    os.symlink("/etc/passwd", outbox / "link")
    for name in ("gone", "link"):
        with pytest.raises(SourceVanished):
            list(LocalFolders().read_blocks(outbox, name))


def test_a_missing_outbox_is_not_made(outbox: Path) -> None:
    with pytest.raises(DiskTrouble, match="is missing"):
        LocalFolders().create(outbox / "gone", TEMP, None, None)
    with pytest.raises(DiskTrouble, match="is missing"):
        LocalFolders().publish(outbox / "gone", TEMP, "orders.csv")


@pytest.mark.fault("S5")
def test_a_linked_sub_folder_leads_nowhere(outbox: Path) -> None:
    """A user who may write to the outbox points a sub-folder elsewhere."""
    os.symlink("/etc", outbox / "sub")
    try:
        os.chown(outbox / "sub", 65534, 65534, follow_symlinks=False)
    except PermissionError:
        pytest.skip("only root can make a link of somebody else; run this as root")
    with pytest.raises(DiskTrouble, match=r"sub in .* is a symbolic link"):
        LocalFolders().create(outbox / "sub", TEMP, None, None)
