"""Tell the time: the only module of the daemon that asks the machine for it."""

from __future__ import annotations

import asyncio
import random
import time

STEP_S = 2.0
"""What counts as set: network time steps from 0.128 s on, and slews both clocks below; a second hurts no wait."""


class SystemClock:
    """Be `core.ports.Clock` by the machine's clocks."""

    def __init__(self) -> None:
        self._wall_at_zero = time.time() - time.monotonic()

    def now(self) -> float:
        return self._wall_at_zero + time.monotonic()

    def follow(self) -> float:
        step_s = time.time() - self.now()
        if abs(step_s) < STEP_S:
            return 0.0
        self._wall_at_zero += step_s
        return step_s

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        return random.random()  # noqa: S311  # spreads load, keeps no secret
