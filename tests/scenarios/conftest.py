"""What the scenarios share: a place with the whole daemon in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon import Place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Give folders, state, clock and BulkGPT; `await place.start()` gives a daemon, and after its `stop` another."""
    place = Place(tmp_path)
    yield place
    await place.close()
