"""Sample a daemon's memory, threads and descriptors, and tell whether they grow."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

WARM_AFTER_S = 45.0
"""By then each pool of threads has met its bound, and each cache and heap the work that fills it (seen: 30 s)."""

PARTS = 4
"""The first and the last quarter of a warm life are compared: far apart, and each long enough for its median."""

MAY_GROW = {"memory_mb": 8.0, "threads": 3.0, "descriptors": 3.0}
"""
By how much the late figure may be above the early one.

Shape: what the allocator and SQLite still settle (seen in 15 minutes: 6 and 7 MB; 11 with a kilobyte lost for each
    answer); pools of threads that fill up (seen: 24, 26, 26, 26); connections that are kept for the next call.
"""

IDLE_SHARE = 0.1
"""Of descriptors the lowest tenth tells: others come and go with the work (seen: medians of 22 to 31 in a life)."""


@dataclass(frozen=True)
class Sample:
    """One look at a process."""

    memory_mb: float
    threads: int
    descriptors: int


def sample(pid: int) -> Sample:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":", 1) for line in file)
    return Sample(int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))


def course(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Give what each part of a life needed, in order; nothing of one too short for that."""
    many = len(samples) // PARTS
    parts = [[asdict(each) for each in samples[at * many : (at + 1) * many]] for at in range(PARTS if many else 0)]
    return {what: [_needed([each[what] for each in part], what) for part in parts] for what in MAY_GROW if parts}


def _needed(values: Sequence[float], what: str) -> float:
    if what == "descriptors":
        return float(sorted(values)[int(len(values) * IDLE_SHARE)])
    return round(statistics.median(values), 1)


def growth(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Give the course of what has grown."""
    return {what: parts for what, parts in course(samples).items() if parts[-1] - parts[0] > MAY_GROW[what]}
