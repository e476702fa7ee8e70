"""
Run what blocks on a route's folders in that route's own threads.

A call on a dead share blocks in the kernel and cannot be ended. So it keeps its thread, its caller goes on after a
deadline, and a route can lose no more than its few threads: a hung share stops its own route only. The threads are
daemons, so that a hung share cannot keep us from exiting either.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, TypeVarTuple

from bulkgpt_watchd.core.errors import DiskTrouble

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

THREADS_PER_ROUTE = 4
"""Four writers that fsync reach twice the files per second of one; more gain little. Each costs about 50 KB."""

STOP_S = 1.0
"""How long a stop waits for calls under way: they take milliseconds, and one cut in two may leave a file of ours."""


class RouteThreads:
    """Keep a small set of threads for each route; a route's threads are started as they are first needed."""

    def __init__(self, threads_per_route: int = THREADS_PER_ROUTE) -> None:
        self._threads_per_route = threads_per_route
        self._pools: dict[str, _Pool] = {}

    async def run(
        self, route: str, function: Callable[[*Arguments], T], *args: *Arguments, deadline_s: float | None = None
    ) -> T:
        """
        Call *function* in a thread of *route* and give its result.

        Units: *deadline_s* counts from now, waiting for a thread included; None: as long as it takes.
        Errors: whatever *function* raises; DiskTrouble: over the deadline, or at once where all threads of the route
            are stuck. A call over its deadline, or whose caller was cancelled, may still take effect later.
        """
        if route not in self._pools:
            self._pools[route] = _Pool(route, self._threads_per_route)
        result: T = await self._pools[route].run(functools.partial(function, *args), deadline_s)
        return result

    def later(self, route: str, function: Callable[[], object]) -> None:
        """Call *function* in a thread of *route* once one is free; nobody waits, and what it raises is dropped."""
        if route not in self._pools:
            self._pools[route] = _Pool(route, self._threads_per_route)
        self._pools[route].later(function)

    def is_hung(self, route: str) -> bool:
        """Tell whether a call of *route* is stuck over its deadline."""
        return route in self._pools and self._pools[route].is_hung

    def stop(self) -> None:
        """Let every thread end once it has nothing to do, and wait a moment for it; one may be stuck for ever."""
        ends_at = asyncio.get_running_loop().time() + STOP_S
        for thread in [thread for pool in self._pools.values() for thread in pool.stop()]:
            thread.join(max(0.0, ends_at - asyncio.get_running_loop().time()))


class _Pool:
    def __init__(self, route: str, size: int) -> None:
        self._route = route
        self._size = size
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._stuck: set[_Worker] = set()
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._later: deque[Callable[[], object]] = deque()

    @property
    def is_hung(self) -> bool:
        return bool(self._stuck)

    async def run(self, call: Callable[[], Any], deadline_s: float | None) -> Any:
        loop = asyncio.get_running_loop()
        ends_at = None if deadline_s is None else loop.time() + deadline_s
        try:
            async with asyncio.timeout_at(ends_at):
                worker = await self._take()
        except TimeoutError as error:
            raise self._trouble(deadline_s) from error
        done = worker.start(call, self._give_back)
        if ends_at is not None:
            worker.deadline = loop.call_at(ends_at, self._give_up, worker, done, deadline_s)
        return await done

    def later(self, call: Callable[[], object]) -> None:
        self._later.append(call)
        if self._idle or len(self._workers) < self._size:
            self._give_back(self._idle.pop() if self._idle else self._new_worker())

    def stop(self) -> list[threading.Thread]:
        for worker in self._workers:
            worker.stop()
        return [worker.thread for worker in self._workers if worker not in self._stuck]

    async def _take(self) -> _Worker:
        if self._idle:
            return self._idle.pop()
        if len(self._workers) < self._size:
            return self._new_worker()
        if len(self._stuck) == self._size:
            raise self._trouble()
        waiter: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            raise

    def _new_worker(self) -> _Worker:
        self._workers.append(_Worker(self._route))
        return self._workers[-1]

    def _give_back(self, worker: _Worker) -> None:
        self._stuck.discard(worker)
        if self._later:
            worker.start(self._later.popleft(), self._give_back).add_done_callback(_forget)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)

    def _give_up(self, worker: _Worker, done: asyncio.Future[Any], deadline_s: float | None) -> None:
        self._stuck.add(worker)
        if not done.done():
            done.set_exception(self._trouble(deadline_s))
        if len(self._stuck) == self._size:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_exception(self._trouble())
            self._waiting.clear()

    def _trouble(self, deadline_s: float | None = None) -> DiskTrouble:
        return DiskTrouble("a folder hangs" + (f" (no answer for {deadline_s:g} s)" if deadline_s is not None else ""))


def _forget(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


class _Worker:
    """Be one thread with one call at a time."""

    def __init__(self, route: str) -> None:
        self.deadline: asyncio.TimerHandle | None = None
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"route {route}", daemon=True)
        self.thread.start()

    def start(self, call: Callable[[], Any], give_back: Callable[[_Worker], None]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def finish(outcome: list[Any], error: BaseException | None) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None
            give_back(self)
            if done.done():  # nobody waits: a file that was opened late is dropped, and closed, in its thread
                self._calls.put(outcome.clear)
                return
            if error is None:
                done.set_result(outcome.pop())
            elif isinstance(error, StopIteration):  # asyncio cannot carry it
                done.set_exception(RuntimeError("a call in a thread raised StopIteration"))
            else:
                done.set_exception(error)

        def perform() -> None:
            outcome, error = list[Any](), None
            try:
                outcome.append(call())
            except BaseException as raised:  # noqa: BLE001  # it belongs to the caller, whatever it is
                error = raised
            try:
                loop.call_soon_threadsafe(finish, outcome, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self.stop()
            finally:
                error = None  # else the frame and the exception's traceback keep each other

        self._calls.put(perform)
        return done

    def stop(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (perform := self._calls.get()) is not None:
            perform()
            del perform
