"""Facts beside the jobs: in memory at once, in the store as soon as it can be written."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.ports import Store
from bulkgpt_watchd.scheduler.notes import Notes


class Disk:
    """Be the part of a store that facts need: slow, and full as long as *is_full*."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.is_full = False
        self.writes = 0

    async def set_fact(self, key: str, value: Any) -> None:
        if self.is_full:
            raise DiskTrouble("no space left on device")
        for _ in range(3):
            await asyncio.sleep(0)
        self.facts[key] = value
        self.writes += 1


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def notes(disk: Disk) -> Notes:
    return Notes(cast("Store", disk))


async def test_entries_that_are_made_at_once_are_all_kept(disk: Disk, notes: Notes) -> None:
    await asyncio.gather(*(notes.enter("inboxes", name, f"/{name}") for name in "abc"))

    assert notes.of("inboxes") == disk.facts["inboxes"] == {"a": "/a", "b": "/b", "c": "/c"}
    assert notes.unwritten == set()


async def test_what_is_put_during_a_write_is_written_too(disk: Disk, notes: Notes) -> None:
    notes.put("names", {"a": "a"})
    write = asyncio.create_task(notes.write())
    await asyncio.sleep(0)
    notes.put("names", {"a": "orders"})
    await write
    assert notes.unwritten == {"names"}

    await notes.write()
    assert disk.facts == {"names": {"a": "orders"}}
    assert notes.unwritten == set()


async def test_what_could_not_be_written_is_known_at_once_and_written_later(disk: Disk, notes: Notes) -> None:
    disk.is_full = True
    notes.put("names", {"a": "a"})
    with pytest.raises(DiskTrouble):
        await notes.enter("health", "a", "well")
    assert notes.of("names") == {"a": "a"}
    assert notes.of("health") == {"a": "well"}
    assert disk.facts == {}

    disk.is_full = False
    await notes.enter("mounts", "a", "/")
    assert disk.facts == {"names": {"a": "a"}, "health": {"a": "well"}, "mounts": {"a": "/"}}


async def test_a_fact_that_is_said_again_after_a_failed_write_is_written(disk: Disk, notes: Notes) -> None:
    disk.is_full = True
    with pytest.raises(DiskTrouble):
        await notes.enter("health", "a", "well")
    disk.is_full = False
    await notes.enter("health", "a", "well")
    assert disk.facts == {"health": {"a": "well"}}


async def test_what_has_not_changed_is_not_written_again(disk: Disk, notes: Notes) -> None:
    for _ in range(3):
        await notes.enter("health", "a", "well")
    assert disk.writes == 1
