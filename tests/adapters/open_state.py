"""Open a state as the service does."""

from __future__ import annotations

from pathlib import Path

from bulkgpt_watchd.adapters.sqlite import SqliteStore

NOW = 1_800_000_000.0


async def open_state(path: Path, fstype: str = "ext4") -> SqliteStore:
    """Give a store that stamps all at NOW and calls a new state `fresh`."""
    return await SqliteStore.open(path, fstype=fstype, now=lambda: NOW, new_uuid=lambda: "fresh")
