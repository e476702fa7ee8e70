"""
Give every store that there is to the suites of what a store must do.

Another store joins by a name in STORES and a branch in `store`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.core.ports import Store
from tests.adapters.open_state import open_state

STORES = ("sqlite",)


@pytest.fixture(params=STORES)
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened: SqliteStore = await open_state(tmp_path / "state.db")
    yield opened
    await opened.close()
