"""Sample a daemon's memory, threads and descriptors, and tell whether they grow."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WARM_AFTER_S = 10.0
"""A life's first work fills caches, pools and allocators: what comes after that must stay."""

LEAST_SAMPLES = 5
"""Fewer tell nothing of a median."""

MAY_GROW = {"memory_mb": 20.0, "threads": 8.0, "descriptors": 12.0}
"""
By how much the late median may be above the early one.

Shape: the allocator's leftovers of a large file (seen: 9 MB); pools that fill up to their bound as work comes (seen: 14
    to 24 threads within one life); connections that a fault holds open. What leaks one of them a second passes each
    within a minute.
"""


@dataclass(frozen=True)
class Sample:
    """One look at a process; *age_s* since it was ready."""

    life: int
    age_s: float
    memory_mb: float
    threads: int
    descriptors: int


def sample(pid: int, life: int, age_s: float) -> Sample:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":", 1) for line in file)
    return Sample(
        life,
        age_s,
        int(status["VmRSS"].split()[0]) / 1024,
        int(status["Threads"]),
        len(os.listdir(f"/proc/{pid}/fd")),
    )


def medians(samples: Sequence[Sample], parts: int) -> dict[str, tuple[float, float]]:
    """Give the medians of the first and of the last of so many equal parts."""
    many = len(samples) // parts
    first, last = samples[:many], samples[-many:]
    return {
        what: (
            statistics.median(getattr(each, what) for each in first),
            statistics.median(getattr(each, what) for each in last),
        )
        for what in MAY_GROW
    }


def within_longest_life(samples: Sequence[Sample]) -> list[Sample]:
    """Give the warm samples of the life that has most of them."""
    lives = [each.life for each in samples]
    longest = max(set(lives), key=lives.count)
    return [each for each in samples if each.life == longest and each.age_s >= WARM_AFTER_S]


def over_lives(samples: Sequence[Sample]) -> list[Sample]:
    """Give the samples of all lives at one age, so that an early life is compared with a late one."""
    return [each for each in samples if WARM_AFTER_S / 2 <= each.age_s < 2 * WARM_AFTER_S]


def growth(samples: Sequence[Sample], parts: int) -> dict[str, tuple[float, float]]:
    """Give what has grown, with its first and its last median."""
    if len(samples) < LEAST_SAMPLES * parts:
        return {}
    return {
        what: (first, last) for what, (first, last) in medians(samples, parts).items() if last - first > MAY_GROW[what]
    }
