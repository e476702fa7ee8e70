from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.threads import STOP_S, RouteThreads
from bulkgpt_watchd.core.errors import DiskTrouble
from tests.adapters.loopback import until


@pytest.fixture
async def threads() -> AsyncIterator[RouteThreads]:
    threads = RouteThreads(2)
    yield threads
    threads.stop()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Give a file that blocks whoever opens it to read, as a dead share does."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def free(fifo: Path) -> None:
    os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))


async def test_a_call_gives_its_result(threads: RouteThreads) -> None:
    assert await threads.run("leads", divmod, 7, 2) == (3, 1)
    assert await threads.run("leads", threading.get_ident) != threading.get_ident()


async def test_what_a_call_raises_arrives_as_it_is(threads: RouteThreads) -> None:
    error = KeyError("x")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await threads.run("leads", fail)
    assert caught.value is error


async def test_a_call_that_raises_stop_iteration_is_told_and_hangs_nothing(threads: RouteThreads) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(threads.run("leads", next, iter(())), 5)


async def test_a_timeout_that_a_call_raises_is_its_own(threads: RouteThreads) -> None:
    def fail() -> None:
        raise TimeoutError(110, "connection timed out")

    with pytest.raises(TimeoutError):
        await threads.run("leads", fail, deadline_s=5)
    assert not threads.is_hung("leads")


@pytest.mark.fault("F29")
async def test_a_route_has_no_more_threads_than_it_may(threads: RouteThreads) -> None:
    running = most = 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        return threading.get_ident()

    idents = await asyncio.gather(*(threads.run("leads", work, deadline_s=5) for _ in range(20)))
    assert most == len(set(idents)) == 2


async def test_a_hung_call_is_given_up_and_keeps_its_thread(threads: RouteThreads, fifo: Path) -> None:
    with pytest.raises(DiskTrouble, match=r"^a folder hangs \(no answer for 0\.05 s\)$"):
        await threads.run("leads", fifo.read_bytes, deadline_s=0.05)
    assert threads.is_hung("leads")
    assert await threads.run("leads", int, "7", deadline_s=5) == 7

    free(fifo)
    await until(lambda: not threads.is_hung("leads"))


async def test_a_route_whose_threads_all_hang_fails_at_once_and_alone(threads: RouteThreads, fifo: Path) -> None:
    hung = [threads.run("leads", fifo.read_bytes, deadline_s=0.05) for _ in range(2)]
    waiting = threads.run("leads", int, "7", deadline_s=5)
    results = await asyncio.gather(*hung, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [DiskTrouble] * 3
    with pytest.raises(DiskTrouble, match=r"^a folder hangs$"):
        await threads.run("leads", int, "7")

    assert await threads.run("orders", int, "7") == 7
    assert not threads.is_hung("orders")

    free(fifo)
    await until(lambda: not threads.is_hung("leads"))
    assert await threads.run("leads", int, "7") == 7


async def test_a_deadline_counts_the_wait_for_a_thread(threads: RouteThreads) -> None:
    """A route may have all its threads at calls that may take long; who has a deadline waits no longer for them."""
    gate = threading.Event()
    busy = [asyncio.create_task(threads.run("leads", gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    late = [asyncio.create_task(threads.run("leads", int, "7", deadline_s=0.05)) for _ in range(3)]
    try:
        await asyncio.wait(late, timeout=5)
        assert [type(call.exception()) for call in late if call.done()] == [DiskTrouble] * 3
        assert "hangs (no answer for 0.05 s)" in str(late[0].exception())
    finally:
        gate.set()

    assert await asyncio.gather(*busy) == [True, True]
    assert await asyncio.gather(*(threads.run("leads", int, "7") for _ in range(4))) == [7] * 4
    assert not threads.is_hung("leads")


async def test_a_cancelled_call_that_hangs_is_still_told(threads: RouteThreads, fifo: Path) -> None:
    call = asyncio.create_task(threads.run("leads", fifo.read_bytes, deadline_s=0.05))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: threads.is_hung("leads"))

    free(fifo)
    await until(lambda: not threads.is_hung("leads"))


async def test_a_cancelled_wait_for_a_thread_loses_no_thread(threads: RouteThreads) -> None:
    gate = threading.Event()
    busy = [asyncio.create_task(threads.run("leads", gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    waits = [asyncio.create_task(threads.run("leads", int, "7")) for _ in range(4)]
    await asyncio.sleep(0)
    for wait in waits[:3]:
        wait.cancel()
    gate.set()

    assert await waits[3] == 7
    assert await asyncio.gather(*busy) == [True, True]
    assert await asyncio.gather(*(threads.run("leads", int, "7") for _ in range(4))) == [7] * 4


def test_a_hung_call_does_not_keep_the_program_from_ending(fifo: Path) -> None:
    """`asyncio.to_thread` would wait for it, here and at exit."""

    async def main() -> None:
        threads = RouteThreads(1)
        with pytest.raises(DiskTrouble):
            await threads.run("leads", partial(os.open, fifo, os.O_RDONLY), deadline_s=0.05)
        threads.stop()

    asyncio.run(main())
    free(fifo)


async def test_a_stop_lets_a_call_under_way_end_and_waits_only_a_moment_for_one_that_hangs(fifo: Path) -> None:
    threads, is_going, may_end = RouteThreads(2), threading.Event(), threading.Event()
    ended: list[bool] = []

    def probe() -> None:
        is_going.set()
        ended.append(may_end.wait(0.2))

    calls = [asyncio.create_task(threads.run("leads", call)) for call in (probe, partial(os.open, fifo, os.O_RDONLY))]
    await until(is_going.is_set)
    for call in calls:
        call.cancel()
    began = asyncio.get_running_loop().time()
    threads.stop()

    assert ended == [False], "it ran to its end"
    assert 0.2 < asyncio.get_running_loop().time() - began < 2 * STOP_S
    free(fifo)


async def test_a_call_for_later_runs_in_a_thread_of_its_route(threads: RouteThreads) -> None:
    names: list[str] = []
    threads.later("leads", lambda: names.append(threading.current_thread().name))
    await until(lambda: names != [])
    assert names == ["route leads"]
    assert threads.is_hung("leads") is False


async def test_calls_for_later_need_no_more_threads_than_a_route_may_have(threads: RouteThreads) -> None:
    idents: list[int] = []
    for _ in range(20):
        threads.later("leads", lambda: idents.append(threading.get_ident()))
    await until(lambda: len(idents) == 20)
    assert len(set(idents)) <= 2
    assert await threads.run("leads", int, "7", deadline_s=5) == 7


async def test_a_call_for_later_waits_until_a_hung_one_is_let_go(threads: RouteThreads, fifo: Path) -> None:
    """Nobody may stand where it would: neither who asked for it, nor the loop that collects what was dropped."""
    hung = [threads.run("leads", fifo.read_bytes, deadline_s=0.05) for _ in range(2)]
    await asyncio.gather(*hung, return_exceptions=True)
    names: list[str] = []
    threads.later("leads", lambda: names.append(threading.current_thread().name))
    threads.later("leads", lambda: names.append(threading.current_thread().name))
    await asyncio.sleep(0.05)
    assert names == []

    free(fifo)
    await until(lambda: len(names) == 2)
    assert names == ["route leads"] * 2
    await until(lambda: not threads.is_hung("leads"))
    assert await threads.run("leads", int, "7", deadline_s=5) == 7


async def test_calls_for_later_go_before_callers_that_wait_and_these_are_served_then() -> None:
    """What is left to close holds a file open; whoever waits gets the thread after it."""
    threads, gate, order = RouteThreads(1), threading.Event(), list[str]()
    busy = asyncio.create_task(threads.run("leads", gate.wait))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(threads.run("leads", order.append, f"caller {n}", deadline_s=5)) for n in range(2)]
    await asyncio.sleep(0)
    for number in range(2):
        threads.later("leads", partial(order.append, f"later {number}"))
    gate.set()
    await asyncio.gather(busy, *waiting)
    threads.stop()

    assert order == ["later 0", "later 1", "caller 0", "caller 1"]


async def test_what_a_call_for_later_raises_is_dropped_and_costs_no_thread(
    threads: RouteThreads, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError(5, "input/output error")

    for _ in range(4):
        threads.later("leads", fail)
    assert await asyncio.gather(*(threads.run("leads", int, "7", deadline_s=5) for _ in range(4))) == [7] * 4
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.records == []  # asyncio tells there of an exception that nobody has looked at


async def test_what_was_given_up_is_dropped_in_its_thread(threads: RouteThreads) -> None:
    """A file that a share opened late is closed where closing may hang again, and not in the loop."""
    goes_on, dropped_in = threading.Event(), list[str]()

    class Opened:
        def __del__(self) -> None:
            dropped_in.append(threading.current_thread().name)

    def open_late() -> Opened:
        goes_on.wait()
        return Opened()

    with pytest.raises(DiskTrouble):
        await threads.run("leads", open_late, deadline_s=0.05)
    goes_on.set()
    await until(lambda: bool(dropped_in))
    assert dropped_in == ["route leads"]
