"""
What was seen: a record of every POST on /upload-trigger, and counters of the rest.

What is accepted is in here before the first byte of the answer goes out, and nothing else is marked so.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass


@dataclass(slots=True, kw_only=True)
class Record:
    """
    One POST on /upload-trigger.

    Units: *at* Unix seconds. *body_bytes* is how far the body was read, of *content_length* (None: it was not told).
    """

    at: float
    accepted: bool = False
    task_id: str | None = None
    workflow_id: str | None = None
    sha256: str | None = None
    """Of the decoded CSV, if the whole body came; so are csv_bytes and, if it was accepted, rows and first_row."""
    csv_bytes: int | None = None
    rows: int | None = None
    first_row: str | None = None
    body_bytes: int = 0
    content_length: int | None = None
    whole: bool = False
    """The whole body came."""
    http_status: int | None = None
    """Of the answer; None: none was sent."""
    fault: str = ""
    """The planned fault that acted: its name, or what it is."""
    reason: str = ""
    """Why it was not accepted, for a person."""


class Ledger:
    """Hold the records in order of arrival and append each, once it is settled, to a file of JSON lines."""

    def __init__(self, path: str | None = None) -> None:
        self.records: list[Record] = []
        self._pending: dict[int, Record] = {}
        self.status_calls = 0
        self.downloads = 0
        self.key_seen_at_download_origin = False
        self._file = (
            None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        )

    @property
    def accepted(self) -> list[Record]:
        return [record for record in self.records if record.accepted]

    def open(self, record: Record) -> Record:
        """Keep a record of a POST that is coming in."""
        self.records.append(record)
        self._pending[id(record)] = record
        return record

    def settle(self, record: Record) -> None:
        """Append the record to the file, in one write, so that a reader never sees half a line."""
        del self._pending[id(record)]
        if self._file is not None:
            os.write(self._file, json.dumps(asdict(record)).encode() + b"\n")

    def as_dict(self) -> dict[str, object]:
        return {
            "submits": [asdict(record) for record in self.records],
            "accepted": len(self.accepted),
            "status_calls": self.status_calls,
            "downloads": self.downloads,
            "key_seen_at_download_origin": self.key_seen_at_download_origin,
        }

    def close(self) -> None:
        for record in list(self._pending.values()):
            record.reason = "the sandbox was closed"
            self.settle(record)
        if self._file is not None:
            os.close(self._file)
            self._file = None
