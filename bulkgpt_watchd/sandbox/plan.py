"""Which planned fault hits which call."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from bulkgpt_watchd.sandbox.fault import Fault
from bulkgpt_watchd.sandbox.spool import SMALL_BYTES, Stored
from bulkgpt_watchd.sandbox.vocabulary import MIDDLE


@dataclass(slots=True, kw_only=True)
class Facts:
    """What is known of a call at the moment a fault is looked for."""

    workflow_id: str | None = None
    sha256: str | None = None
    csv: Stored | bytes = b""
    word: str | None = None
    age_s: float = 0.0


@dataclass(slots=True)
class Planned:
    """A fault with what became of it: how many matching calls it saw, how many it hit."""

    fault: Fault
    seen: int = 0
    hits: int = 0

    @property
    def used_up(self) -> bool:
        return self.fault.times != "always" and self.hits >= int(self.fault.times)


class Plan:
    """Hold the planned faults in order; the first that matches a call acts, at most one in each stage of a call."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self.entries = [Planned(fault) for fault in faults]

    def add(self, *faults: Fault) -> None:
        self.entries += [Planned(fault) for fault in faults]

    def clear(self) -> None:
        self.entries.clear()

    def cuts(self, call: str, length: int | None) -> list[int]:
        """List where in a body of this length a fault is to be looked for, in order."""
        return sorted({_cut(entry.fault, length) for entry in self._open(call, MIDDLE)})

    async def take(self, call: str, at: str, facts: Facts, *, cut: int = 0, length: int | None = None) -> Fault | None:
        """Find the fault that hits this call at this stage, and count it."""
        for entry in self._open(call, at):
            if at == MIDDLE and _cut(entry.fault, length) != cut:
                continue
            if not await _matches(entry.fault, facts) or entry.used_up:
                continue
            entry.seen += 1
            if entry.seen >= entry.fault.nth:
                entry.hits += 1
                return entry.fault
        return None

    def as_list(self) -> list[dict[str, Any]]:
        return [{**entry.fault.as_dict(), "seen": entry.seen, "hits": entry.hits} for entry in self.entries]

    def _open(self, call: str, at: str) -> list[Planned]:
        return [
            entry for entry in self.entries if entry.fault.call == call and entry.fault.at == at and not entry.used_up
        ]


def _cut(fault: Fault, length: int | None) -> int:
    return fault.body_bytes or max(1, (length or 0) // 2)


async def _matches(fault: Fault, facts: Facts) -> bool:
    if fault.workflow not in {None, facts.workflow_id} or fault.sha256 not in {None, facts.sha256}:
        return False
    if fault.when not in {None, facts.word} or (fault.until_s is not None and facts.age_s >= fault.until_s):
        return False
    if fault.contains is None:
        return True
    needle = fault.contains.encode(errors="surrogatepass")
    if isinstance(facts.csv, bytes):
        return needle in facts.csv
    if facts.csv.size_bytes > SMALL_BYTES:
        return await asyncio.to_thread(facts.csv.contains, needle)
    return facts.csv.contains(needle)


def facts_of(head: bytes) -> Facts:
    """Read what the beginning of an upload's body tells: its workflow, and the first of its CSV."""
    workflow = re.search(rb'"workflowId"\s*:\s*("(?:[^"\\]|\\.)*")', head)
    encoded = re.search(rb'"csvBase64"\s*:\s*"([A-Za-z0-9+/]*)', head)
    return Facts(
        workflow_id=json.loads(workflow[1]) if workflow else None,
        csv=b64decode(encoded[1][: len(encoded[1]) // 4 * 4]) if encoded else b"",
    )
