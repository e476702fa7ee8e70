from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.folders import Look, LookRules
from tests.adapters.beds import as_user, memory_disk, needs_two_users, put
from tests.adapters.kernels import Failing, FailingWhen, Hooked, Interrupted, Recording


@pytest.fixture
def inbox() -> Iterator[Path]:
    with memory_disk() as folder:
        yield folder


def look(
    inbox: Path,
    *match: str,
    known: frozenset[str] = frozenset(),
    recursive: bool = False,
    done_file: str | None = None,
    on_network: bool = False,
    kernel: Hooked | None = None,
) -> Look:
    rules = LookRules(match or ("*.csv",), recursive, done_file, on_network)
    return LocalFolders(kernel).look(inbox, rules, known)


def test_regular_files_that_match_are_seen_as_they_are(inbox: Path) -> None:
    settled, other = put(inbox / "orders.csv"), put(inbox / "UPPER.CSV", b"x")
    put(inbox / "notes.txt")

    seen = look(inbox)

    assert seen.files == {"orders.csv": settled, "UPPER.CSV": other}
    assert seen.present == {"orders.csv", "UPPER.CSV"}
    assert not seen.marked
    assert not seen.ignored
    assert not seen.unreadable


@pytest.mark.fault("F32", "S8")
@pytest.mark.parametrize(
    "name",
    [
        *(".hidden.csv", ".nfs0123.csv", "~$orders.csv", "a.part", "a.PARTIAL", "a.filepart", "a.tmp", "a.crdownload"),
        *("a.csv.error.json", "a.csv.receipt.json"),
    ],
)
def test_unfinished_files_and_our_sidecars_are_never_meant(inbox: Path, name: str) -> None:
    put(inbox / name)
    assert look(inbox, "*").present == set()


def test_known_files_are_only_looked_at_for_being_there(inbox: Path) -> None:
    put(inbox / "old.csv")
    new = put(inbox / "new.csv")
    kernel = Recording()

    seen = look(inbox, known=frozenset({"old.csv", "gone.csv"}), kernel=kernel)

    assert seen.files == {"new.csv": new}
    assert seen.present == {"old.csv", "new.csv"}
    assert "new.csv" in {about for _, about in kernel.calls}
    assert "old.csv" not in {about for _, about in kernel.calls}


@pytest.mark.fault("S1", "S3")
def test_what_is_no_regular_file_is_told_and_not_opened(inbox: Path) -> None:
    os.symlink("/etc/passwd", inbox / "link.csv")
    os.symlink("nowhere", inbox / "dangling.csv")
    os.mkfifo(inbox / "fifo.csv")
    (inbox / "folder.csv").mkdir()
    server = socket.socket(socket.AF_UNIX)
    with server:
        server.bind(str(inbox / "socket.csv"))

    seen = look(inbox, kernel=Failing({"pread": errno.EIO}))

    assert seen.ignored == {
        "link.csv": "is a symbolic link",
        "dangling.csv": "is a symbolic link",
        "fifo.csv": "is a FIFO",
        "folder.csv": "is a folder",
        "socket.csv": "is a socket",
    }
    assert seen.present == set(seen.ignored)
    assert not seen.files


@pytest.mark.fault("S3")
@needs_two_users
def test_a_device_is_told(inbox: Path) -> None:
    os.mknod(inbox / "zero.csv", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    assert look(inbox).ignored == {"zero.csv": "is a device"}


def test_a_look_on_a_network_opens_and_another_does_not(inbox: Path) -> None:
    settled = put(inbox / "orders.csv")
    kernel = Recording()

    assert look(inbox, kernel=kernel).files == {"orders.csv": settled}
    assert ("open", "orders.csv") not in kernel.calls
    assert look(inbox, on_network=True, kernel=kernel).files == {"orders.csv": settled}
    assert ("open", "orders.csv") in kernel.calls


@pytest.mark.parametrize("on_network", [False, True])
def test_a_file_that_may_not_be_read_is_told_with_the_user(inbox: Path, *, on_network: bool) -> None:
    put(inbox / "secret.csv")
    (inbox / "secret.csv").chmod(0)
    readable = put(inbox / "orders.csv")

    seen = as_user(lambda: look(inbox, on_network=on_network))

    assert seen.files == {"orders.csv": readable}
    assert seen.present == {"orders.csv", "secret.csv"}
    assert seen.unreadable.keys() == {"secret.csv"}
    assert "permission denied for user nobody (uid 65534)" in seen.unreadable["secret.csv"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.ESTALE, errno.EAGAIN, errno.EIO])
def test_a_file_in_trouble_stops_no_other(inbox: Path, code: int) -> None:
    put(inbox / "one.csv")
    put(inbox / "two.csv")

    busy = FailingWhen(code, lambda name, args: name == "open" and args[0] == "one.csv")
    seen = look(inbox, on_network=True, kernel=busy)

    assert seen.files.keys() == {"two.csv"}
    assert seen.unreadable.keys() == {"one.csv"}


@pytest.mark.fault("F32")
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EHOSTDOWN, errno.ENOTCONN])
def test_trouble_of_the_whole_place_marks_no_file(inbox: Path, code: int) -> None:
    put(inbox / "one.csv")
    with pytest.raises(DiskTrouble):
        look(inbox, kernel=Failing({"stat": code}))


@pytest.mark.fault("S2")
def test_a_file_that_vanishes_or_turns_into_a_link_is_simply_absent(inbox: Path) -> None:
    put(inbox / "one.csv")
    vanishing = Interrupted(lambda name, _: name == "stat", (inbox / "one.csv").unlink)
    assert not look(inbox, kernel=vanishing).files

    put(inbox / "two.csv")

    def swap() -> None:
        (inbox / "two.csv").unlink()
        os.symlink("/etc/passwd", inbox / "two.csv")

    swapped = Interrupted(lambda name, args: name == "open" and args[0] == "two.csv", swap)
    seen = look(inbox, on_network=True, kernel=swapped)
    assert not seen.files
    assert not seen.unreadable


def test_a_missing_inbox_is_no_empty_one(inbox: Path) -> None:
    with pytest.raises(DiskTrouble, match=r"the folder /.*/gone is missing"):
        look(inbox / "gone")


@pytest.mark.fault("F30")
@pytest.mark.parametrize("code", [errno.EHOSTDOWN, errno.EIO, errno.ESTALE])
def test_a_dead_share_is_no_empty_inbox(inbox: Path, code: int) -> None:
    with pytest.raises(DiskTrouble, match="cannot look into"):
        look(inbox, kernel=Failing({"scandir": code}))


def test_marked_files_are_those_whose_marker_is_a_file_beside_them(inbox: Path) -> None:
    for name in ("a.csv", "a.csv.done", "b.csv", "c.csv"):
        put(inbox / name)
    (inbox / "b.csv.done").mkdir()
    os.symlink("a.csv.done", inbox / "c.csv.done")

    seen = look(inbox, done_file="{name}.done")

    assert seen.marked == {"a.csv"}
    assert seen.files.keys() == {"a.csv", "b.csv", "c.csv"}


@pytest.mark.parametrize("done_file", ["{name}.done", "{stem}.done"])
def test_a_marker_is_no_file_even_where_every_name_is_meant(inbox: Path, done_file: str) -> None:
    put(inbox / "a.csv")
    put(inbox / done_file.format(name="a.csv", stem="a"))
    put(inbox / "lonely.done")

    seen = look(inbox, "*", done_file=done_file)

    assert seen.marked == {"a.csv"}
    assert "a.csv" in seen.files
    assert done_file.format(name="a.csv", stem="a") not in seen.files


def test_sub_folders_are_walked_only_where_that_is_asked_for(inbox: Path) -> None:
    (inbox / "sub" / "deeper.csv").mkdir(parents=True)
    (inbox / ".bulkgpt-watchd").mkdir()
    put(inbox / ".bulkgpt-watchd" / "k3v9q0xw-x.csv")
    inner, innermost = put(inbox / "sub" / "x.csv"), put(inbox / "sub" / "deeper.csv" / "y.csv")
    put(inbox / "sub" / "x.done")

    seen = look(inbox, recursive=True, done_file="{stem}.done")

    assert seen.files == {"sub/x.csv": inner, "sub/deeper.csv/y.csv": innermost}
    assert seen.marked == {"sub/x.csv"}
    assert not seen.ignored
    assert not look(inbox).files


def test_a_linked_folder_is_not_entered(inbox: Path) -> None:
    with memory_disk() as foreign:
        put(foreign / "x.csv")
        os.symlink(foreign, inbox / "sub")
        os.symlink(".", inbox / "loop.csv")

        seen = look(inbox, recursive=True)

    assert not seen.files
    assert seen.ignored == {"loop.csv": "is a symbolic link"}


@pytest.mark.fault("S5")
def test_a_folder_that_turns_into_a_link_is_not_entered(inbox: Path) -> None:
    with memory_disk() as foreign:
        put(foreign / "x.csv")
        (inbox / "sub").mkdir()

        def swap() -> None:
            (inbox / "sub").rmdir()
            os.symlink(foreign, inbox / "sub")

        swapped = Interrupted(lambda name, args: name == "open" and args[0] == "sub", swap)
        assert not look(inbox, recursive=True, kernel=swapped).present


def test_folders_are_not_walked_without_end(inbox: Path) -> None:
    deep = inbox
    for _ in range(40):
        deep /= "d"
        deep.mkdir()
    put(deep / "x.csv")

    seen = look(inbox, recursive=True)

    assert not seen.files
    assert list(seen.ignored.values()) == ["is a folder nested more than 32 deep"]


def test_files_in_a_folder_that_cannot_be_looked_into_are_not_gone(inbox: Path) -> None:
    (inbox / "sub").mkdir()
    put(inbox / "sub" / "x.csv")
    (inbox / "sub").chmod(0)
    settled = put(inbox / "y.csv")

    seen = as_user(lambda: look(inbox, recursive=True, known=frozenset({"sub/x.csv", "z.csv"})))
    (inbox / "sub").chmod(0o755)

    assert seen.files == {"y.csv": settled}
    assert seen.present == {"y.csv", "sub/x.csv"}
    assert seen.unreadable.keys() == {"sub"}


@pytest.mark.parametrize(("content", "ends"), [(b"a\n", True), (b"a\r", True), (b"a", False), (b"", False)])
def test_the_last_byte_tells_whether_a_line_was_ended(inbox: Path, content: bytes, *, ends: bool) -> None:
    (inbox / "sub").mkdir()
    put(inbox / "sub" / "x.csv", content)
    assert LocalFolders().ends_line(inbox, "sub/x.csv") is ends


def test_what_cannot_be_read_ends_no_line(inbox: Path) -> None:
    os.symlink("/etc/passwd", inbox / "link.csv")
    os.mkfifo(inbox / "fifo.csv")
    put(inbox / "x.csv")
    assert not LocalFolders().ends_line(inbox, "link.csv")
    assert not LocalFolders().ends_line(inbox, "fifo.csv")
    assert not LocalFolders().ends_line(inbox, "gone/x.csv")
    assert not LocalFolders(Failing({"pread": errno.EIO})).ends_line(inbox, "x.csv")


def test_a_look_leaves_no_descriptor_open(inbox: Path) -> None:
    (inbox / "sub").mkdir()
    put(inbox / "sub" / "x.csv")
    before = len(os.listdir("/proc/self/fd"))
    look(inbox, recursive=True, on_network=True)
    with pytest.raises(DiskTrouble):
        look(inbox, kernel=Failing({"scandir": errno.EIO}))
    assert len(os.listdir("/proc/self/fd")) == before
