"""Keep the facts that stand beside the jobs: which routes there are, what they are called, how they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bulkgpt_watchd.core.ports import Store


@dataclass
class Notes:
    """
    Hold facts in memory at once, and in the store as soon as it can be written.

    Shape: *unwritten* are those that the store may not have.
    """

    store: Store
    facts: dict[str, Any] = field(default_factory=dict)
    unwritten: set[str] = field(default_factory=set)

    def of(self, key: str) -> dict[str, Any]:
        """Give what stands under a key, to look at."""
        entries: dict[str, Any] = self.facts.get(key) or {}
        return entries

    def put(self, key: str, value: Any) -> None:
        """Put a value in place of the one before; `write` brings it to disk."""
        if self.facts.get(key) != value:
            self.facts[key] = value
            self.unwritten.add(key)

    async def enter(self, key: str, entry: str, value: Any) -> None:
        """Put one entry beside the others of a key, and write what is not written yet."""
        self.put(key, {**self.of(key), entry: value})
        await self.write()

    async def write(self) -> None:
        """
        Write what is not written yet.

        Errors: DiskTrouble: what is left is written the next time.
        """
        for key in sorted(self.unwritten):
            value = self.facts[key]
            await self.store.set_fact(key, value)
            if self.facts[key] is value:
                self.unwritten.discard(key)
