"""What the scenarios share: a place with the whole daemon in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkgpt_watchd.scheduler.keeping import Keeper
from tests.daemon import Daemon, Place

DAY_S = 86_400.0


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Give folders, state, clock and BulkGPT; `await place.start()` gives a daemon, and after its `stop` another."""
    place = Place(tmp_path)
    yield place
    await place.close()


async def keep(daemon: Daemon, after_s: float) -> None:
    """Let so much time go by, and tidy up."""
    daemon.place.clock.advance(after_s)
    await daemon.turn(0.0)
    await Keeper(daemon.scheduler.book).tidy()
