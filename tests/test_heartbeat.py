"""What feeds the watchdog, and what does not; the same with a whole daemon: tests/system/test_watchdog.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.service.heartbeat import Heartbeat
from tests.adapters.open_state import open_state
from tests.notified import Manager

MEALS_S = 0.5
"""Five times the interval at which a watchdog of 0.2 s is fed: what comes is seen, on a busy machine too."""


@pytest.fixture
def manager() -> Iterator[Manager]:
    with Manager() as manager:
        yield manager


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_state(tmp_path / "state.db")
    yield store
    await store.close()


async def meals(manager: Manager) -> int:
    manager.heard()
    await asyncio.sleep(MEALS_S)
    return sum("WATCHDOG" in facts for facts in manager.heard())


@pytest.fixture
async def heart(manager: Manager, store: SqliteStore) -> AsyncIterator[Heartbeat]:
    heart = Heartbeat(manager.environ)
    async with heart.beating():
        heart.watch(lambda: store.get(""), lambda: "as it is")
        heart.ready()
        yield heart


@pytest.mark.usefixtures("heart")
async def test_a_loop_that_turns_and_a_store_that_answers_feed_the_watchdog(manager: Manager) -> None:
    assert await meals(manager) > 1


@pytest.mark.usefixtures("heart")
async def test_a_loop_that_is_blocked_does_not(manager: Manager) -> None:
    assert await meals(manager) > 0
    manager.heard()
    time.sleep(MEALS_S)  # here, nothing else of this loop runs
    assert manager.heard() == []


@pytest.mark.usefixtures("heart")
async def test_a_thread_of_the_store_that_is_stuck_does_not(manager: Manager, store: SqliteStore) -> None:
    stuck = Event()
    asked = store._thread.ask(lambda _state: stuck.wait(), writes=False)  # noqa: SLF001  # nothing we ask for hangs
    await meals(manager)
    assert await meals(manager) == 0
    stuck.set()
    await asked
    assert await meals(manager) > 0


@pytest.mark.fault("F46")
async def test_trouble_is_an_answer(manager: Manager) -> None:
    async def full() -> None:
        raise DiskTrouble("the disk is full")

    heart = Heartbeat(manager.environ)
    async with heart.beating():
        heart.watch(full, lambda: "")
        heart.ready()
        assert await meals(manager) > 0


async def test_a_start_asks_for_time_and_feeds_nothing(manager: Manager) -> None:
    """The watch begins when the start is over; until then only the time that it allows counts."""
    async with Heartbeat(manager.environ).beating():
        await asyncio.sleep(MEALS_S)
    first, *more = manager.heard()

    assert first == {"STATUS": "starting", "EXTEND_TIMEOUT_USEC": "60000000"}
    assert more
    assert {tuple(facts.items()) for facts in more} == {(("EXTEND_TIMEOUT_USEC", "60000000"),)}


async def test_the_end_is_told_and_fed_to_the_last(manager: Manager, tmp_path: Path) -> None:
    store = await open_state(tmp_path / "state.db")
    heart = Heartbeat(manager.environ)
    async with heart.beating():
        heart.watch(lambda: store.get(""), lambda: "on the way out")
        heart.ready()
        manager.heard()
        heart.stopping()
        assert manager.heard()[0]["STOPPING"] == "1"
        await store.close()
        assert await meals(manager) > 0


async def test_the_status_is_sent_when_it_changes(manager: Manager) -> None:
    lines = iter(["one", "one", "two", *["three"] * 100])
    heart = Heartbeat(manager.environ)
    async with heart.beating():
        heart.watch(partial(asyncio.sleep, 0), lambda: next(lines))
        heart.ready()
        await asyncio.sleep(MEALS_S)

    assert [facts["STATUS"] for facts in manager.heard() if "STATUS" in facts] == ["one", "two", "three"]


async def test_without_a_manager_nothing_beats() -> None:
    heart = Heartbeat({"WATCHDOG_USEC": "1000"})
    async with heart.beating():
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= 2
