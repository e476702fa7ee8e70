"""Say what is needed of the folders that hold files of users; `adapters/folders` does it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from bulkgpt_watchd.core.job import Stamp


class Room(NamedTuple):
    """
    Say how much more may be written to a folder.

    Shape: *files*: how many more files there may be; None: the file system has no such bound.
    """

    bytes: int
    files: int | None


@dataclass(frozen=True, slots=True)
class LookRules:
    """Say which names of an inbox are meant (contract: what is taken)."""

    match: tuple[str, ...]
    is_recursive: bool
    done_file: str | None
    on_network: bool  # a look is then open + fstat, because stat alone is stale


@dataclass(frozen=True, slots=True)
class Look:
    """
    Hold one look at an inbox.

    Shape: names are paths relative to the inbox. *files* has every matching regular file that is not in `known` (those
        are looked at only for being there); *present* all matching names, and known ones in a sub-folder that cannot
        be looked into; *marked* those with a marker; *ignored* maps names that were passed over for what they are
        (link, FIFO, folder …) to the reason; *unreadable* maps names to the error's text.
    """

    files: Mapping[str, Stamp]
    present: frozenset[str]
    marked: frozenset[str]
    ignored: Mapping[str, str]
    unreadable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mount:
    """Identify where a folder lies: by mount point and type, never by device or inode numbers."""

    point: str
    fstype: str
    is_network: bool


class Folders(Protocol):
    """
    Touch the files of users: the only module that does.

    Errors of every call: SourceVanished, SourceChanged, NameTaken, InUse, DiskTrouble; nothing else leaves. A folder
    that is missing is DiskTrouble, unless a call says otherwise.
    Repeat: every call may be repeated after a death at any of its steps; the adapter says why.
    Links are followed on the way to a folder where root or we made them, and never to a file.
    """

    def look(self, inbox: Path, rules: LookRules, known: Collection[str]) -> Look:
        """Look once at all files of an inbox; only DiskTrouble leaves."""

    def ends_line(self, inbox: Path, name: str) -> bool:
        """Tell whether a file's last byte ends a line; False where that cannot be read."""

    def claim(
        self, inbox: Path, name: str, work: Path, work_name: str, stamp: Stamp, marker: tuple[str, str] | None
    ) -> Stamp:
        """
        Rename a settled file, and first its *marker* (name in the inbox, name in work), from the inbox into work.

        Shape: gives the stamp of what is in work now; another than *stamp* where somebody wrote meanwhile.
        Errors: SourceVanished: file or marker is gone. SourceChanged: it is another file and stays in the inbox. InUse,
            DiskTrouble. In all of them the marker may have been taken: claim again, or `unclaim_marker`.
        """

    def unclaim_marker(self, inbox: Path, marker_name: str, work: Path, taken_name: str) -> None:
        """Give a taken marker back; drop it when there is a new one."""

    def open_source(self, work: Path, names: Sequence[str]) -> tuple[BinaryIO, Stamp]:
        """Open the first of these names that is there; SourceVanished: none is. Reading raises InUse, DiskTrouble."""

    def stamp_of(self, source: BinaryIO) -> Stamp:
        """Look again at an open file."""

    def rename_in_work(self, work: Path, source: str, target: str) -> None:
        """Rename and bring to disk. SourceVanished: it has neither name. NameTaken: each name has another file."""

    def exists(self, path: Path) -> bool:
        """Tell whether anything has this name, a dangling link included; False where its folder is missing."""

    def free_target(self, folder: Path, name: str, job_id: str, sidecar_suffixes: Sequence[str]) -> str:
        """
        Choose a name that is free with all its sidecars: *name*, or with `-<job>` before its suffix.

        Shape: cut to fit, and spelled anew where the file system of *folder* cannot have it.
        """

    def create(self, folder: Path, name: str, mode: int | None, group: str | None) -> BinaryIO:
        """
        Open a new file of ours for writing; a leftover of that name is removed first.

        Shape: with a *mode* it is private until `finish`; without, it has the usual one (0666 less the umask) from the
            start. Whoever gives up closes it and calls `remove`. Writing raises InUse, DiskTrouble.
        """

    def finish(self, target: BinaryIO, folder: Path) -> None:
        """Bring file and name to disk and close it; after an error it is closed and worth nothing: `create` it anew."""

    def read_blocks(self, folder: Path, name: str) -> Iterator[bytes]:
        """Give a file's bytes in blocks."""

    def publish(self, folder: Path, temp_name: str, name: str) -> None:
        """Rename a finished file without replacing (NameTaken); when *temp_name* is gone, it was published."""

    def move(self, source: Path, target: Path) -> None:
        """
        Move a file to a free name, across file systems too; both folders are then on disk.

        Errors: NameTaken. SourceVanished: the source is no regular file. InUse, DiskTrouble. A source that is gone was
            moved: nothing is raised.
        """

    def write_whole(self, folder: Path, name: str, content: bytes, *, replace: bool, job_id: str = "") -> None:
        """Let a small file appear with all its content. NameTaken: not *replace*, and the name has other content."""

    def remove(self, path: Path) -> None:
        """Remove a file of ours and bring that to disk; absent is fine, and so is a missing folder."""

    def list_work(self, work: Path) -> Mapping[str, Stamp]:
        """Give all regular files in work, hidden ones too."""

    def read_small(self, path: Path) -> bytes | None:
        """Read at most 64 KiB; None: no such file, its folder included, or nothing that we could have written."""

    def make_work(self, work: Path) -> None:
        """Make a route's work folder, for us alone; DiskTrouble: something of that name is not ours."""

    def make_folder(self, path: Path) -> None:
        """Make a folder where it is missing; its parent must be there."""

    def make_below(self, root: Path, folder: Path) -> Path:
        """
        Make what is missing of *folder* below *root*, which must be there: an unmounted share is not filled.

        Shape: gives *folder*, spelled anew where its file system cannot have the name of a folder on the way.
        """

    def probe(self, folder: Path) -> None:
        """Create, write, rename and remove a file, on disk; DiskTrouble names folder, user and the missing right."""

    def may_write(self, folder: Path) -> bool:
        """Tell whether the kernel says that we may write there; nothing is tried, and nothing changed."""

    def room(self, folder: Path) -> Room:
        """Say how much we may still write there."""

    def mount_of(self, folder: Path) -> Mount:
        """Tell where a folder lies, or would lie."""
