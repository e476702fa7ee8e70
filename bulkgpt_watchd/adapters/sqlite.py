"""Remember jobs in one SQLite file on a local disk, written by one process (the port is `core.ports.Store`)."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

from bulkgpt_watchd.adapters import sqlite_reads as reads
from bulkgpt_watchd.adapters import sqlite_writes as writes
from bulkgpt_watchd.adapters.sqlite_file import lock, opening, prepare, refuse_network
from bulkgpt_watchd.adapters.sqlite_thread import Around, CommitThread
from bulkgpt_watchd.core.budget import Overrun, Spent
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.ports import Change, JournalEntry, Query, Want


class SqliteStore:
    """Be the store while the lock is held; what each call promises stands in `Store`."""

    def __init__(self, thread: CommitThread, lock_descriptor: int, uuid: str, now: Callable[[], float]) -> None:
        self.uuid = uuid
        self._thread = thread
        self._lock_descriptor = lock_descriptor
        self._now = now

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        fstype: str,
        now: Callable[[], float],
        new_uuid: Callable[[], str],
        around: Around = nullcontext,
    ) -> Self:
        """
        Lock the state at *path*; make it, or check and migrate it.

        Shape: *fstype* is the type of the mount below *path*; *new_uuid* is asked only for a new state; *now* stamps
            journal lines; *around* is entered around each transaction that writes.
        Errors: StateLocked: another instance has it. StateUnusable: everything else, a full disk included.
        """
        refuse_network(path, fstype)
        path = await asyncio.to_thread(path.resolve)  # one lock, whatever link leads here
        with opening(path):
            lock_descriptor = lock(path)
            try:
                uuid = await asyncio.to_thread(prepare, path, now, new_uuid)
            except BaseException:
                os.close(lock_descriptor)
                raise
        return cls(CommitThread(path, around), lock_descriptor, uuid, now)

    async def close(self) -> None:
        """Carry out what was handed over, merge the log into the file and free the lock."""
        await self._thread.close()
        os.close(self._lock_descriptor)

    @property
    def commits(self) -> int:
        """Count the transactions so far."""
        return self._thread.commits

    async def add(self, jobs: Sequence[Job]) -> None:
        new = tuple(jobs)
        await self._thread.ask(lambda state: writes.add(state, new), writes=True)

    async def save(self, change: Change) -> bool:
        at = self._now()
        return await self._thread.ask(lambda state: writes.save(state, change, at), writes=True)

    async def pass_point(
        self,
        change: Change,
        *,
        max_outstanding: int,
        obstacle: Callable[[Sequence[Job]], Job | None],
        overrun: Callable[[Mapping[str, Spent]], Overrun | None],
    ) -> Job | Overrun | int | None:
        at = self._now()
        return await self._thread.ask(
            lambda state: writes.pass_point(state, change, max_outstanding, obstacle, overrun, at), writes=True
        )

    async def accept(self, change: Change, settle: Callable[[Sequence[Job]], tuple[Change, ...]]) -> tuple[Change, ...]:
        at = self._now()
        return await self._thread.ask(lambda state: writes.accept(state, change, settle, at), writes=True)

    async def forget(self, jobs: Sequence[Job]) -> list[Job]:
        ended = tuple(jobs)
        return await self._thread.ask(lambda state: writes.forget(state, ended), writes=True)

    async def rebase(self, at: float, by_s: float, longest_s: float) -> None:
        await self._thread.ask(lambda state: writes.rebase(state, at, by_s, longest_s), writes=True)

    async def set_fact(self, key: str, value: Any) -> None:
        content = json.dumps(value)  # now, not in the thread: it may change meanwhile
        await self._thread.ask(lambda state: writes.set_fact(state, key, content), writes=True)

    async def audit(self, at: float, by: str, action: str, target: str, detail: str) -> None:
        await self._thread.ask(lambda state: writes.audit(state, at, by, action, target, detail), writes=True)

    async def holders(self, job: Job) -> list[Job]:
        return await self._thread.ask(lambda state: reads.holders(state, job), writes=False)

    async def twins(self, job: Job) -> list[Job]:
        return await self._thread.ask(lambda state: reads.twins(state, job), writes=False)

    async def get(self, job_id: str) -> Job | None:
        return await self._thread.ask(lambda state: reads.get(state, job_id), writes=False)

    async def due(self, wants: Sequence[Want], now: float) -> list[Job]:
        asked = tuple(wants)
        return await self._thread.ask(lambda state: reads.due(state, asked, now), writes=False)

    async def next_due(self, states: Collection[State], routes: Collection[str], *, after: float) -> float | None:
        pairs = json.dumps([*states]), json.dumps([*routes])
        return await self._thread.ask(lambda state: reads.next_due(state, *pairs, after), writes=False)

    async def query(self, query: Query) -> list[Job]:
        return await self._thread.ask(lambda state: reads.query(state, query), writes=False)

    async def spent(self, at: float) -> Mapping[str, Spent]:
        return await self._thread.ask(lambda state: reads.spent(state, day_of(at)), writes=False)

    async def ended(self, route: str, before: float, *, after: Job | None, limit: int) -> list[Job]:
        return await self._thread.ask(lambda state: reads.ended(state, route, before, after, limit), writes=False)

    async def archived(self, route: str, before: float, *, after: Job | None, limit: int) -> list[Job]:
        return await self._thread.ask(lambda state: reads.archived(state, route, before, after, limit), writes=False)

    async def counts(self) -> Mapping[tuple[str, State], int]:
        return await self._thread.ask(reads.counts, writes=False)

    async def journal(self, job_id: str) -> list[JournalEntry]:
        return await self._thread.ask(lambda state: reads.journal(state, job_id), writes=False)

    async def facts(self) -> dict[str, Any]:
        return await self._thread.ask(reads.facts, writes=False)
