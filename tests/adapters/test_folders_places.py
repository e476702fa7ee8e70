from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.adapters.folders.mounts import parse_mountinfo
from bulkgpt_watchd.adapters.folders.places import PROBE, PROBE_RENAMED
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.folders import Mount
from tests.adapters.beds import NOBODY, as_user, memory_disk, names, needs_two_users, put, stamp
from tests.adapters.kernels import Careful, FailingWhen, Interrupted, WithoutNames


@pytest.fixture
def place() -> Iterator[Path]:
    with memory_disk() as folder:
        yield folder


# --- Making ----------------------------------------------------------------------------------------------------------


def test_work_is_made_for_us_alone_and_kept(place: Path) -> None:
    kernel = Careful()
    for _ in range(2):
        LocalFolders(kernel).make_work(place / "work")
        assert stat.S_IMODE((place / "work").stat().st_mode) == 0o700
        assert not kernel.unsynced


def test_work_is_not_made_where_its_inbox_is_missing(place: Path) -> None:
    with pytest.raises(DiskTrouble, match="inbox is missing"):
        LocalFolders().make_work(place / "inbox" / "work")


def test_what_is_no_folder_is_no_work(place: Path) -> None:
    os.symlink(place, place / "link")
    put(place / "file")
    for name, kind in {"link": "a symbolic link", "file": "a file"}.items():
        with pytest.raises(DiskTrouble, match=f"is {kind}, not a folder"):
            LocalFolders().make_work(place / name)


@pytest.mark.fault("S26")
@needs_two_users
def test_a_folder_of_somebody_else_is_no_work(place: Path) -> None:
    (place / "work").mkdir()
    os.chown(place / "work", NOBODY, NOBODY)
    with pytest.raises(DiskTrouble, match=r"belongs to uid 65534, and work must belong to user root \(uid 0\)"):
        LocalFolders().make_work(place / "work")


def test_a_folder_is_made_as_any_other_is(place: Path) -> None:
    kernel = Careful()
    (place / "any").mkdir()
    for _ in range(2):
        LocalFolders(kernel).make_folder(place / "outbox")
        assert (place / "outbox").stat().st_mode == (place / "any").stat().st_mode
        assert not kernel.unsynced
    with pytest.raises(DiskTrouble, match="is missing"):
        LocalFolders().make_folder(place / "gone" / "outbox")


def test_sub_folders_are_made_below_a_root_that_is_there(place: Path) -> None:
    kernel = Careful()
    folders = LocalFolders(kernel)
    (place / "outbox").mkdir()
    for _ in range(2):
        folders.make_below(place / "outbox", place / "outbox" / "a" / "b" / "c")
        folders.make_below(place / "outbox", place / "outbox")
        assert (place / "outbox" / "a" / "b" / "c").is_dir()
        assert not kernel.unsynced
    with pytest.raises(DiskTrouble, match="unmounted is missing"):
        folders.make_below(place / "unmounted", place / "unmounted" / "a")


@pytest.mark.fault("F34")
@pytest.mark.parametrize("is_told", [True, False])
def test_a_sub_folder_whose_name_the_file_system_cannot_have_is_spelled_so_that_it_can(
    place: Path, is_told: bool
) -> None:
    folders = LocalFolders(WithoutNames("\\", is_told=is_told))
    for _ in range(2):
        assert folders.make_below(place, place / "a:b" / "C:\\x" / "c") == place / "a:b" / "C__x" / "c"
    assert (place / "a:b" / "C__x" / "c").is_dir()
    assert names(place) == {"a:b"}


def test_a_file_in_the_way_of_a_sub_folder_is_told(place: Path) -> None:
    put(place / "a")
    with pytest.raises(DiskTrouble, match="is a file, not a folder"):
        LocalFolders().make_below(place, place / "a" / "b")


def test_a_folder_that_cannot_be_made_is_told(place: Path) -> None:
    with pytest.raises(DiskTrouble, match=r"cannot make .*work: permission denied for user nobody"):
        as_user(lambda: LocalFolders().make_work(place / "work"))


# --- Trying ----------------------------------------------------------------------------------------------------------


def test_a_probe_leaves_nothing_and_removes_what_a_killed_one_left(place: Path) -> None:
    kernel = Careful()
    put(place / ".bulkgpt-watchd-probe")
    put(place / ".bulkgpt-watchd-probe-renamed")
    put(place / "orders.csv")
    LocalFolders(kernel).probe(place)
    assert names(place) == {"orders.csv"}


@pytest.mark.fault("F47")
def test_a_missing_right_is_told_with_folder_and_user(place: Path) -> None:
    expected = (
        rf"^{place} is not writable: cannot create files in it: permission denied for user nobody \(uid 65534\), "
        rf"who needs rwx on {place}; fix, as its owner or root: setfacl -m u:nobody:rwx {place}$"
    )
    with pytest.raises(DiskTrouble, match=expected):
        as_user(lambda: LocalFolders().probe(place))


def test_a_folder_on_the_way_that_may_not_be_passed_is_told(place: Path) -> None:
    (place / "closed" / "inbox").mkdir(parents=True)
    (place / "closed").chmod(0o700)
    expected = (
        rf"^cannot get to the folder {place}/closed/inbox: permission denied for user nobody \(uid 65534\), "
        rf"who needs x on {place}/closed; fix, as its owner or root: setfacl -m u:nobody:x {place}/closed$"
    )
    with pytest.raises(DiskTrouble, match=expected):
        as_user(lambda: LocalFolders().probe(place / "closed" / "inbox"))


@pytest.mark.parametrize(
    ("call", "at", "act"),
    [
        ("write", PROBE, "write to"),
        ("fsync", PROBE, "write to"),
        ("rename", PROBE, "rename files in"),
        ("fsync", PROBE_RENAMED, "bring to disk the names in"),
        ("unlink", PROBE_RENAMED, "remove files from"),
    ],
)
def test_each_act_of_a_probe_is_named_where_it_fails(place: Path, call: str, at: str, act: str) -> None:
    failing = FailingWhen(errno.EROFS, lambda name, _: name == call and names(place) == {at})
    with pytest.raises(DiskTrouble, match=f"cannot {act} {place}: read-only file system"):
        LocalFolders(failing).probe(place)


def test_a_probe_finds_a_quota_at_which_an_empty_file_can_still_be_made_and_leaves_nothing(place: Path) -> None:
    full = FailingWhen(errno.EDQUOT, lambda name, _: name == "write")
    with pytest.raises(DiskTrouble, match=f"cannot write to {place}: disk quota exceeded"):
        LocalFolders(full).probe(place)
    assert names(place) == set()


@pytest.mark.parametrize("call", ["open", "rename", "unlink"])
def test_two_probes_at_once_do_not_fail_each_other(place: Path, call: str) -> None:
    def is_probed(name: str, args: tuple[Any, ...]) -> bool:
        return name == call and str(args[0]).startswith(".bulkgpt-watchd-probe")

    LocalFolders(Interrupted(is_probed, lambda: LocalFolders().probe(place))).probe(place)
    LocalFolders(Interrupted(is_probed, lambda: put(place / ".bulkgpt-watchd-probe"))).probe(place)
    assert names(place) <= {".bulkgpt-watchd-probe"}


def test_free_room_is_what_users_may_use(place: Path) -> None:
    found = os.statvfs(place)
    assert LocalFolders().room(place).bytes == pytest.approx(found.f_bavail * found.f_frsize, rel=0.1)
    with pytest.raises(DiskTrouble):
        LocalFolders().room(place / "gone")


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_work_is_listed_with_hidden_files_and_without_what_is_no_file(place: Path) -> None:
    one, other = put(place / "k3v9q0xw-x.csv"), put(place / ".k3v9q0xw-x.csv.part")
    os.symlink("k3v9q0xw-x.csv", place / "link")
    (place / "folder").mkdir()
    assert LocalFolders().list_work(place) == {"k3v9q0xw-x.csv": one, ".k3v9q0xw-x.csv.part": other}
    with pytest.raises(DiskTrouble):
        LocalFolders().list_work(place / "gone")


def test_a_file_that_vanishes_from_the_list_is_absent(place: Path) -> None:
    put(place / "one")
    settled = put(place / "two")
    kernel = Interrupted(lambda name, args: name == "stat" and args[0] in {"one", "two"}, (place / "one").unlink)
    assert LocalFolders(kernel).list_work(place) == {"two": settled}
    assert stamp(place / "two") == settled


def test_small_files_are_read_and_what_cannot_be_ours_is_not(place: Path) -> None:
    put(place / "small", b"x" * 65536)
    put(place / "large", b"x" * 65537)
    put(place / "empty", b"")
    os.symlink("small", place / "link")
    os.mkfifo(place / "fifo")
    read = LocalFolders().read_small
    assert read(place / "small") == b"x" * 65536
    assert read(place / "empty") == b""
    for name in ("large", "link", "fifo", "gone", "gone/small"):
        assert read(place / name) is None


# --- Mounts ----------------------------------------------------------------------------------------------------------

MOUNTINFO = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /srv rw - ext4 /dev/vdb rw
24 23 0:22 / /srv/share rw shared:7 master:3 - nfs4 server:/x rw,vers=4.2
25 23 0:23 / /srv/share\040two rw - cifs //server/x rw
26 22 0:24 / /mnt rw - autofs systemd-1 rw
27 26 0:25 / /mnt rw - fuse.sshfs host: rw
28 22 0:26 / /odd\012name\134 rw - xfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/etc", Mount("/", "ext4", is_network=False)),
        ("/", Mount("/", "ext4", is_network=False)),
        ("/srv", Mount("/srv", "ext4", is_network=False)),
        ("/srv/shared", Mount("/srv", "ext4", is_network=False)),
        ("/srv/share", Mount("/srv/share", "nfs4", is_network=True)),
        ("/srv/share/a/b", Mount("/srv/share", "nfs4", is_network=True)),
        ("/srv/share two/a", Mount("/srv/share two", "cifs", is_network=True)),
        ("/mnt/a", Mount("/mnt", "fuse.sshfs", is_network=True)),
        ("/odd\nname\\/a", Mount("/odd\nname\\", "xfs", is_network=False)),
    ],
)
def test_a_path_lies_on_the_longest_and_last_mount_point(path: str, mount: Mount) -> None:
    assert parse_mountinfo(MOUNTINFO, path) == mount


STRICT = b"""\
20 1 254:0 / / ro - ext4 /dev/vda ro
21 20 0:50 / /srv/share rw - cifs //nas/share rw
22 20 254:0 /srv /srv rw - ext4 /dev/vda rw
23 22 0:50 / /srv/share rw - cifs //nas/share rw
24 20 0:30 / /home ro - tmpfs tmpfs ro
25 24 254:0 /home/anna/in /home/anna/in rw - ext4 /dev/vda rw
26 20 254:0 /elsewhere /mnt rw - ext4 /dev/vda rw
27 20 254:0 /gone//deleted /data rw - ext4 /dev/vda rw
"""
"""What a service sees with ProtectSystem=strict, ProtectHome=tmpfs, ReadWritePaths= and BindPaths=."""


@pytest.mark.parametrize(
    ("path", "point", "fstype"),
    [
        ("/srv/leads", "/", "ext4"),
        ("/srv/share/in", "/srv/share", "cifs"),
        ("/home/anna/in", "/", "ext4"),
        ("/home/bert/in", "/home", "tmpfs"),
        ("/mnt/in", "/mnt", "ext4"),
        ("/data", "/data", "ext4"),
    ],
)
def test_a_mount_that_shows_what_was_there_anyway_is_no_other_place(path: str, point: str, fstype: str) -> None:
    """So a route lies where it did, whatever its unit protects; another folder of the same disk is another place."""
    mount = parse_mountinfo(STRICT, path)

    assert (mount.point, mount.fstype) == (point, fstype)


def test_a_folder_lies_where_the_kernel_says(place: Path) -> None:
    os.symlink("/", place / "link")
    mount_of = LocalFolders().mount_of
    assert mount_of(place) == Mount("/dev/shm", "tmpfs", is_network=False)
    assert mount_of(place / "gone" / "too") == mount_of(place)
    assert mount_of(place / "link").point == "/"
    assert mount_of(Path("/proc/self")).fstype == "proc"
