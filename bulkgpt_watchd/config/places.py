"""
Check where the folders of the routes really are: by real path and by file system.

The only part of the configuration that looks at folders. What a hung share holds is taken as it is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bulkgpt_watchd.config.checks import Draft
from bulkgpt_watchd.config.document import Document
from bulkgpt_watchd.config.looking import look_at
from bulkgpt_watchd.config.reading import Unreadable, read_small
from bulkgpt_watchd.core.names import printable

OUTPUTS = ("outbox", "error", "archive")

LARGEST_CA_BYTES = 4 * 2**20
"""Debian's bundle of all public authorities is 0.2 MB."""


def check_places(document: Document, drafts: Sequence[Draft]) -> None:
    """
    Note folders that would feed each other.

    An outbox, error or archive in an inbox would turn results into new, paid files; so would a ring over several
    routes, which needs one of these.
    """
    Places(document, drafts).check()


class Places:
    """Hold the real paths of all routes while they are compared."""

    def __init__(self, document: Document, drafts: Sequence[Draft]) -> None:
        self.document = document
        self.drafts = drafts
        self.places = look_at(path for draft in drafts for path in draft.folders.values())
        self.inboxes = self._owners("inbox")
        self.works = self._owners("work")

    def _owners(self, key: str) -> dict[str, Draft]:
        """Map real paths to the first route that has it as *key*."""
        return {self._real(draft, key): draft for draft in reversed(self.drafts) if key in draft.folders}

    def _real(self, draft: Draft, key: str) -> str:
        return self.places[draft.folders[key]].real

    def check(self) -> None:
        """Check each folder of each route against all inboxes and work folders."""
        for draft in self.drafts:
            if "inbox" in draft.folders:
                self._check_inbox(draft)
                self._check_work(draft)
            for key in OUTPUTS:
                if key in draft.folders:
                    self._check_output(draft, key)

    def _check_inbox(self, draft: Draft) -> None:
        real = self._real(draft, "inbox")
        if (owner := self.inboxes[real]) is not draft:
            self._note(draft, "inbox", f"is the inbox of route {self._name(owner, draft)} too")
        for above in _above(real):
            outer = self.inboxes.get(above)
            if outer is not None and outer.entry.recursive:
                self._note(draft, "inbox", f"lies in the inbox of route {self._name(outer, draft)}, which is recursive")
        if (worker := self._owner(self.works, os.path.dirname(real))) is not None:
            self._note(draft, "inbox", f"lies in the work folder of route {self._name(worker, draft)}")

    def _check_work(self, draft: Draft) -> None:
        real, inbox = self._real(draft, "work"), self._real(draft, "inbox")
        if self.works[real] is not draft and self.inboxes[inbox] is draft:
            self._note(draft, "work", f"is the work folder of route {self._name(self.works[real], draft)} too")
        for above in (real, *_above(real)):
            owner = self.inboxes.get(above)
            if owner is not None and "/." not in real.removeprefix(above):
                self._note(
                    draft, "work", f"lies in the inbox of route {self._name(owner, draft)}; begin its name with a dot"
                )
        devices = {self.places[draft.folders[key]].device for key in ("inbox", "work")} - {None}
        if len(devices) > 1:
            self._note(draft, "work", "must be on the file system of the inbox: files are claimed by one rename")

    def _check_output(self, draft: Draft, key: str) -> None:
        real = self._real(draft, key)
        if (owner := self._owner(self.inboxes, real)) is not None:
            message = (
                f"lies in the inbox of route {self._name(owner, draft)}: what is put there would be taken as a new file"
            )
            self._note(draft, key, message)
        if (owner := self._owner(self.works, real)) is not None:
            self._note(draft, key, f"lies in the work folder of route {self._name(owner, draft)}")
        for inbox, owner in self.inboxes.items() if draft.entry.recursive else ():
            if real in _above(inbox):
                name = self._name(owner, draft)
                self._note(
                    draft, key, f"holds the inbox of route {name}: with `recursive: true` a result could land there"
                )

    def _owner(self, owners: Mapping[str, Draft], real: str) -> Draft | None:
        """Find whose folder a path is, or lies in."""
        return next((owners[path] for path in (real, *_above(real)) if path in owners), None)

    def _name(self, other: Draft, draft: Draft) -> str:
        """Name another route, with its place where that is another file."""
        place = self.document.elsewhere(other.trail("name"), draft.trail("name"))
        return other.entry.name if place.startswith("line ") else f"{other.entry.name} ({place})"

    def _note(self, draft: Draft, key: str, message: str) -> None:
        """Note a mistake at the key, or at `folder`, which stands for it."""
        is_written = self.document.is_given(draft.trail(key)) or draft.entry.folder is None
        self.document.note(
            draft.trail(key if is_written else "folder"), message if is_written else f"its {key} {message}"
        )


def _above(path: str) -> Iterator[str]:
    """Give the folders that a path lies in, the nearest first."""
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def check_ca_file(document: Document, ca_file: Path | None) -> None:
    """Note a file of authorities that cannot be read: without it nothing can be sent."""
    if ca_file:
        try:
            read_small(ca_file, LARGEST_CA_BYTES)
        except Unreadable as unreadable:
            document.note(("api", "ca_file"), f"{printable(str(ca_file))} {unreadable}")
