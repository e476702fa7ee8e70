"""Read the state beside a daemon, or without one: for commands that only show something."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from bulkgpt_watchd.adapters import sqlite_reads as reads
from bulkgpt_watchd.adapters.sqlite_file import MIGRATIONS, RESTORE, check_version, connect, damaged, opening, trouble
from bulkgpt_watchd.core.budget import Spent
from bulkgpt_watchd.core.errors import StateOld, StateUnusable
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ledger import Line
from bulkgpt_watchd.core.ports import JournalEntry, Query

Wanted = ParamSpec("Wanted")
Answer = TypeVar("Answer")


class StateReader:
    """
    Answer what `Store` answers, synchronously, and some questions of people besides.

    Errors of every call: DiskTrouble, StateUnusable.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.uuid = self._ask(reads.uuid)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """
        Open for one look; open again for the next.

        Errors: StateUnusable.
        """
        connection = _connect(path)
        try:
            yield cls(connection, path)
        finally:
            connection.close()

    def get(self, job_id: str) -> Job | None:
        return self._ask(reads.get, job_id)

    def query(self, query: Query) -> list[Job]:
        return self._ask(reads.query, query)

    def counts(self) -> dict[tuple[str, State], int]:
        return self._ask(reads.counts)

    def journal(self, job_id: str) -> list[JournalEntry]:
        return self._ask(reads.journal, job_id)

    def facts(self) -> dict[str, Any]:
        return self._ask(reads.facts)

    def spent(self, day: str) -> dict[str, Spent]:
        return self._ask(reads.spent, day)

    def ledger(self, since: str) -> list[Line]:
        """Give the lines of the ledger from a UTC day on, by day."""
        return self._ask(reads.ledger, since)

    def names(self) -> dict[str, str]:
        """Give the names of the routes by their keys (core/routes.py); what is not among them is its own name."""
        return dict(self.facts().get("names") or {})

    def twins(self, job: Job) -> list[Job]:
        return self._ask(reads.twins, job)

    def matching(self, prefix: str) -> list[Job]:
        """Give the jobs whose ID starts so, the newest first."""
        return self._ask(reads.matching, prefix)

    def latest(self, file: str) -> Job | None:
        """Give the newest job of a file name, in whatever route."""
        return self._ask(reads.latest, file)

    def oldest(self) -> dict[tuple[str, State], float]:
        """Tell when the oldest job in each state was found, by route; those that ended are left out."""
        return self._ask(reads.oldest)

    def failed(self) -> dict[tuple[str, str], int]:
        """Count the failed jobs by route and code; those that a person closed, or dropped again, are left out."""
        return self._ask(reads.failed)

    def size_bytes(self) -> int:
        """Give the size of the state with its log."""
        log = f"{self._path}-wal"
        return os.path.getsize(self._path) + (os.path.getsize(log) if os.path.exists(log) else 0)

    def newest(self) -> int:
        """Give the number of the job that came last; 0: there is none."""
        return self._ask(reads.newest)

    def arrived(self, inbox: str, file: str, after: int) -> list[Job]:
        """Give the jobs of a file in an inbox that came later than the job of that number, by arrival."""
        return self._ask(reads.arrived, inbox, file, after)

    def _ask(
        self,
        question: Callable[Concatenate[sqlite3.Connection, Wanted], Answer],
        *args: Wanted.args,
        **kwargs: Wanted.kwargs,
    ) -> Answer:
        try:
            return question(self._connection, *args, **kwargs)
        except sqlite3.Error as error:
            if (told := trouble(self._path, error)) is None:
                raise
            raise told from error
        except ValueError as error:  # what was asked is only decoded here
            raise damaged(self._path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    with opening(path):
        try:
            size = os.path.getsize(path)
        except FileNotFoundError as error:
            raise StateUnusable(
                f"there is no state {path}: start the daemon once, or name its configuration with --config"
            ) from error
        if size == 0:
            raise StateUnusable(f"the state {path} is empty: it was truncated. {RESTORE}.")
        if not os.access(path, os.R_OK):
            raise StateUnusable(f"the state {path} may not be read by you: join its group, or ask its owner")
        connection = connect(path, mode(path))
        try:
            if (version := check_version(connection, path, len(MIGRATIONS))) < len(MIGRATIONS):
                raise StateOld(
                    f"the state {path} has schema {version}, and this version reads {len(MIGRATIONS)}:"
                    " start the daemon once, it migrates"
                )
        except BaseException:
            connection.close()
            raise
        return connection


def mode(path: Path) -> str:
    """
    Say how to open: who may not write beside the state cannot make the log's index that SQLite wants to have.

    A daemon that runs has its log and index there, and one that was killed left them. Without them the file is all
    there is, and nobody writes it.
    """
    log = f"{path}-wal"
    is_at_rest = not os.path.exists(f"{path}-shm") and not (os.path.exists(log) and os.path.getsize(log))
    return "mode=ro&immutable=1" if is_at_rest else "mode=ro"
