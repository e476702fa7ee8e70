"""Tell the time: the only module of the daemon that asks the machine for it."""

from __future__ import annotations

import asyncio
import random
import time


class SystemClock:
    """Be `core.ports.Clock` by the machine's clocks; a step of the wall clock changes nothing here."""

    def __init__(self) -> None:
        self._wall_at_zero = time.time() - time.monotonic()

    def now(self) -> float:
        return self._wall_at_zero + time.monotonic()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        return random.random()  # noqa: S311  # spreads load, keeps no secret
