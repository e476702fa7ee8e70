"""
Take a file out of its inbox, and handle it in work.

Work belongs to us alone and its names hold the job's ID: a name there is ours, and tells that a claim was done even
when the same file name stands in the inbox once more.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bulkgpt_watchd.adapters.folders.handle import Source
from bulkgpt_watchd.adapters.folders.opening import UNSYNCABLE, At, is_same, stamp_from
from bulkgpt_watchd.adapters.folders.renaming import Renaming
from bulkgpt_watchd.adapters.folders.trouble import FORBIDDEN, at_place, at_source, of_source, shown, told
from bulkgpt_watchd.core.errors import DiskTrouble, NameTaken, SourceChanged, SourceVanished
from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.names import base_name, insert_before_suffix


class Claiming(Renaming):
    """Claim, give back, and read what was claimed."""

    def claim(
        self, inbox: Path, name: str, work: Path, work_name: str, stamp: Stamp, marker: tuple[str, str] | None
    ) -> Stamp:
        """
        Rename a settled file, and first its marker, from the inbox into work; bytes and both folders are then on disk.

        Shape: *marker* is its name in the inbox and its name in work. Gives the stamp of what is in work, which is
            another than *stamp* when somebody wrote to the file meanwhile.
        Errors: SourceVanished: the file or its marker is gone. SourceChanged: it is another file, or was written to;
            it stays in the inbox. InUse: it cannot be opened or moved now. DiskTrouble. In all of them the marker may
            have been taken: claim again, or `unclaim_marker`.
        Repeat: yes. *work_name* is there: it was claimed, whatever the inbox holds by now. A marker that is in work
            counts as taken.
        """
        with self._folder(work) as folder:
            target = At(folder, work_name, os.path.join(work, work_name))
            with at_place("look at", target.path):
                found = self._look_at(target)
            if found is not None:
                self._end_claim(inbox, name, target, found)
                return stamp_from(found)
            with self._below(inbox, name) as source:
                return self._claim(source, target, stamp, marker)

    def _claim(self, source: At, target: At, stamp: Stamp, marker: tuple[str, str] | None) -> Stamp:
        # Reading comes first: what we may not read stays where its owner finds it.
        opened, before = self._open_regular(source)
        try:
            if stamp_from(before) != stamp:
                raise SourceChanged(f"{shown(source.path)} changed since it was last looked at")
            self._sync_bytes(opened, source)
            if marker is not None:
                self._take_marker(source, target, *marker)
            self._into_work(source, target)
            with at_place("look at", target.path):
                if not is_same(self._look_at(target), before):
                    self._give_back(source, target)
                    raise SourceChanged(f"{shown(source.path)} was replaced while it was claimed")
                return stamp_from(self._kernel.fstat(opened))
        finally:
            self._kernel.close(opened)

    def _sync_bytes(self, opened: int, source: At) -> None:
        """Bring to disk what few senders do, and what from now on is ours to keep; a share's server may refuse it."""
        try:
            self._kernel.fsync(opened)
        except OSError as error:
            if error.errno not in UNSYNCABLE | FORBIDDEN:
                raise DiskTrouble(told(error, "bring to disk", source.path)) from error

    def _end_claim(self, inbox: Path, name: str, target: At, found: os.stat_result) -> None:
        """Bring an earlier claim to disk; what slipped into work and is no file goes back."""
        self._sync(target.folder, target.path)
        try:
            with self._below(inbox, name) as source:
                self._sync(source.folder, source.path)
                if not stat.S_ISREG(found.st_mode):
                    self._give_back(source, target)
                    raise SourceChanged(f"{shown(source.path)} was replaced while it was claimed")
        except SourceVanished:
            # The folder in the inbox is gone with all its names: nothing is left there to bring to disk.
            if not stat.S_ISREG(found.st_mode):
                raise

    def _into_work(self, source: At, target: At) -> None:
        try:
            self._rename_new(source, target, may_link=False)
        except OSError as error:
            if error.errno == errno.EXDEV:
                work = shown(os.path.dirname(target.path))
                raise DiskTrouble(f"{work} lies on another file system than {shown(source.path)}") from error
            raise of_source(error, "claim", source.path) from error
        self._sync(target.folder, target.path)
        self._sync(source.folder, source.path)

    def _take_marker(self, source: At, target: At, marker_name: str, taken_name: str) -> None:
        beside, within = os.path.dirname(source.path), os.path.dirname(target.path)
        marker = At(source.folder, base_name(marker_name), os.path.join(beside, base_name(marker_name)))
        taken = At(target.folder, taken_name, os.path.join(within, taken_name))
        with at_place("look at", taken.path):
            is_taken = self._look_at(taken) is not None
        if not is_taken:
            with at_source("look at", marker.path):
                found = self._look_at(marker)
            if found is None or not stat.S_ISREG(found.st_mode):
                raise SourceVanished(f"the marker {shown(marker.path)} is gone")
            self._into_work(marker, taken)

    def _give_back(self, source: At, target: At) -> None:
        """Put into the inbox what should not have been taken, under another name if need be."""
        with at_place("give back", source.path):
            for number in itertools.count(1):
                name = source.name if number == 1 else insert_before_suffix(source.name, f"-{number}")
                try:
                    self._rename_new(target, At(source.folder, name, source.path))
                    break
                except FileExistsError:
                    continue
        self._sync(source.folder, source.path)
        self._sync(target.folder, target.path)

    def unclaim_marker(self, inbox: Path, marker_name: str, work: Path, taken_name: str) -> None:
        """
        Give a taken marker back; drop it when there is a new one, or its folder is gone.

        Errors: InUse, DiskTrouble.
        Repeat: yes. Not in work: it was given back, or never taken.
        """
        with self._at(work / taken_name) as taken:
            with at_place("look at", taken.path):
                if self._look_at(taken) is None:
                    return
            try:
                with self._below(inbox, marker_name) as marker, at_place("give back", marker.path):
                    try:
                        self._rename_new(taken, marker)
                    except FileExistsError:
                        self._kernel.unlink(taken.name, dir_fd=taken.folder)
                    self._sync(marker.folder, marker.path)
            except SourceVanished:
                with at_place("remove", taken.path):
                    self._kernel.unlink(taken.name, dir_fd=taken.folder)
            self._sync(taken.folder, taken.path)

    def open_source(self, work: Path, names: Sequence[str]) -> tuple[BinaryIO, Stamp]:
        """
        Open the first of these names that is there.

        Errors: SourceVanished: none is. InUse, DiskTrouble; reading raises these too.
        Repeat: yes, it changes nothing.
        """
        for name in names:
            with suppress(SourceVanished), self._below(work, name) as at:
                opened, found = self._open_regular(at)
                return Source(self._kernel, opened, at.path, found.st_size), stamp_from(found)
        raise SourceVanished(f"{shown(os.path.join(work, names[0]))} is gone from work")

    def stamp_of(self, source: BinaryIO) -> Stamp:
        """
        Look again at an open file.

        Errors: InUse, DiskTrouble.
        Repeat: yes, it changes nothing.
        """
        with at_place("look at", "the open file"):
            return stamp_from(self._kernel.fstat(source.fileno()))

    def rename_in_work(self, work: Path, source: str, target: str) -> None:
        """
        Give a file in work another name, and bring that to disk.

        Errors: SourceVanished: it has neither name. NameTaken: each name has another file. InUse, DiskTrouble.
        Repeat: yes. Only we touch *source*: when it is gone and *target* is there, it was renamed.
        """
        with self._folder(work) as folder:
            old = At(folder, source, os.path.join(work, source))
            new = At(folder, target, os.path.join(work, target))
            with at_place("rename", old.path):
                try:
                    self._rename_new(old, new, may_link=False)
                except FileExistsError as error:
                    raise NameTaken(f"{shown(new.path)} is there already") from error
                except FileNotFoundError as error:
                    if self._look_at(new) is None:
                        raise SourceVanished(f"{shown(old.path)} is gone from work") from error
            self._sync(folder, work)
