"""
Own the writing connection, in one thread: what was asked in one turn of the loop shares one commit.

Theory of operation
-------------------
- Callers put requests on a list. At the end of the loop's turn the list goes to the thread, which takes all lists that
  wait, runs the writes in one transaction, each in a savepoint of its own, commits, and answers.
- A request that fails by itself (a bug, a taken ID) undoes its savepoint and takes nobody with it. Trouble with disk or
  file undoes all, and every write is told so: nothing was written.
- Reads come after the commit: they see every write that was answered before them, and need no commit of their own.
- A waiter that was cancelled changes nothing: what was handed over is carried out.
- After any trouble but a full or busy disk the connection is closed, and the next request opens another: SQLite must
  not go on with pages in memory whose writing failed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from bulkgpt_watchd.adapters.sqlite_file import connect_to_write, trouble
from bulkgpt_watchd.core.errors import StateUnusable

Answer = TypeVar("Answer")

Around = Callable[[], AbstractContextManager[None]]
"""What is entered around each transaction that writes, in the thread: for who measures it."""

_LEAVES_CONNECTION = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
"""Reading goes on while the disk is full; opening again would need space for the log's index."""


@dataclass(slots=True)
class _Request:
    """Hold what to run, whom to tell, and, once run, what to tell."""

    run: Callable[[sqlite3.Connection], Any]
    writes: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.future.done():  # cancelled
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class CommitThread:
    """
    Run requests against the state, one after the other.

    Errors of every request: DiskTrouble, StateUnusable, and what it raises itself.
    """

    def __init__(self, path: Path, around: Around = nullcontext) -> None:
        self.commits = 0
        self._path = path
        self._around = around
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Request] = []
        self._is_closed = False
        self._batches: SimpleQueue[list[_Request] | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        # A daemon: an exit that skips `close` must not hang. What it cuts was not acknowledged.
        self._thread = Thread(target=self._serve, name="state", daemon=True)
        self._thread.start()

    def ask(self, run: Callable[[sqlite3.Connection], Answer], *, writes: bool) -> asyncio.Future[Answer]:
        """Hand a request over at the end of this turn of the loop."""
        if self._is_closed:
            raise RuntimeError("the store is closed")
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._asked.append(_Request(run, writes, future))
        return future

    async def close(self) -> None:
        """Carry out what was handed over and close the connection."""
        self._is_closed = True
        self._hand_over()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        if self._asked:
            self._batches.put(self._asked)
            self._asked = []

    # --- In the thread

    def _serve(self) -> None:
        is_last = False
        while not is_last:
            batches = [self._batches.get()]
            with suppress(Empty):
                while True:
                    batches.append(self._batches.get_nowait())
            is_last = batches[-1] is None
            requests = [request for batch in batches if batch for request in batch]
            self._answer(self._write_within, [request for request in requests if request.writes])
            self._answer(self._read, [request for request in requests if not request.writes])
        self._disconnect()

    def _answer(self, work: Callable[[Sequence[_Request]], None], requests: Sequence[_Request]) -> None:
        if not requests:
            return
        try:
            work(requests)
        except Exception as error:  # noqa: BLE001 the thread must outlive whatever happens
            self._undo(error)
            for request in requests:
                request.error = self._told(error)
        with suppress(RuntimeError):  # the loop was closed without us: nobody waits
            self._loop.call_soon_threadsafe(_tell, requests)

    def _write_within(self, requests: Sequence[_Request]) -> None:
        with self._around():
            self._write(requests)

    def _write(self, requests: Sequence[_Request]) -> None:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        for request in requests:
            connection.execute("SAVEPOINT request")
            self._run(request, connection)
            if request.error is not None:
                connection.execute("ROLLBACK TO request")
            connection.execute("RELEASE request")
        connection.execute("COMMIT")
        self.commits += 1

    def _read(self, requests: Sequence[_Request]) -> None:
        connection = self._connected()
        connection.execute("BEGIN")  # one lock for all instead of one each; a read takes no more
        for request in requests:
            self._run(request, connection)
        connection.execute("COMMIT")

    def _run(self, request: _Request, connection: sqlite3.Connection) -> None:
        try:
            request.result = request.run(connection)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and trouble(self._path, error) is not None:
                raise
            request.error = error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect_to_write(self._path)
        return self._connection

    def _told(self, error: Exception) -> Exception:
        """Make each waiter an exception of its own: they add their tracebacks to it."""
        told = trouble(self._path, error) if isinstance(error, sqlite3.Error) else None
        if isinstance(error, StateUnusable):
            told = StateUnusable(str(error))
        if told is None:
            return error
        told.__cause__ = error.with_traceback(None)  # its frames would keep the dropped connection open
        return told

    def _undo(self, error: Exception) -> None:
        """Undo the transaction; where the connection may have suffered, drop it."""
        if self._connection is None:
            return
        with suppress(sqlite3.Error):
            self._connection.rollback()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _LEAVES_CONNECTION:
                return
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _tell(requests: Sequence[_Request]) -> None:
    for request in requests:
        request.tell()
