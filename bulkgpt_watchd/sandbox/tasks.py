"""The tasks: what was accepted, how far it is, and where its result can be had."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import NamedTuple

from bulkgpt_watchd.sandbox.options import SandboxOptions
from bulkgpt_watchd.sandbox.plan import Facts
from bulkgpt_watchd.sandbox.spool import Stored


class Progress(NamedTuple):
    """How far a task is; *rows* are those that were worked on."""

    word: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    One accepted submit.

    Units: *accepted_s* on the monotonic clock; counts are rows.
    """

    number: int
    task_id: str
    workflow_id: str
    sha256: str
    csv: Stored
    result: Stored
    rows: int
    rows_failed: int
    end: str
    accepted_s: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.accepted_s

    def progress(self, options: SandboxOptions) -> Progress:
        age_s = self.age_s - options.preparing_s
        if age_s < 0:
            return Progress("preparing", 0)
        running_s = self.rows / options.rows_per_s if options.rows_per_s else options.running_s
        if self.end == "never":
            return Progress("inProgress", min(max(0, self.rows - 1), int(self.rows * age_s / max(running_s, 1e-9))))
        if age_s < running_s:
            return Progress("inProgress", int(self.rows * age_s / running_s))
        if age_s < running_s + options.finalizing_s:
            return Progress("finalizing", self.rows)
        return Progress(self.end, self.rows)

    def facts(self, word: str) -> Facts:
        return Facts(workflow_id=self.workflow_id, sha256=self.sha256, csv=self.csv, word=word, age_s=self.age_s)


class Tasks:
    """Hand out task IDs and links, and find tasks by them."""

    def __init__(self) -> None:
        self._by_id: dict[str, Task] = {}
        self._by_number: list[Task] = []
        self._last_second = 0
        self._last_id: str | None = None
        self._secret = secrets.token_bytes(32)

    @property
    def next_number(self) -> int:
        return len(self._by_number)

    def new_id(self, planned: str | None) -> str:
        """
        Give an ID of the vendor's form; a planned one instead, if there is one.

        Source: the vendor's sample is Base64 of `1726036593_2024-09-11-06:36:33`: a resolution of one second (UTC).
        Here the second moves on with each ID, and past planned ones, so that no two are equal unless that is planned.
        """
        given = self._last_id if planned == "previous" else planned
        while given is None or (planned is None and given in self._by_id):
            self._last_second = max(int(time.time()), self._last_second + 1)
            stamp = time.strftime("%Y-%m-%d-%H:%M:%S", time.gmtime(self._last_second))
            given = b64encode(f"{self._last_second}_{stamp}".encode()).decode()
        self._last_id = given
        return given

    def add(self, task: Task) -> None:
        """Keep a task; of two with one ID, the later one is found by it."""
        self._by_number.append(task)
        self._by_id[task.task_id] = task

    def by_id(self, task_id: object) -> Task | None:
        return self._by_id.get(task_id) if isinstance(task_id, str) else None

    def by_number(self, number: int) -> Task | None:
        return self._by_number[number] if number < len(self._by_number) else None

    def link(self, task: Task, expires_at: float) -> str:
        """Sign a path of the download origin, good until then."""
        expires = f"{expires_at:.3f}"
        return f"/results/{task.number}.csv?Expires={expires}&Signature={self.signature(task.number, expires)}"

    def signature(self, number: int, expires: str) -> str:
        return hmac.new(self._secret, f"{number} {expires}".encode(), hashlib.sha256).hexdigest()
