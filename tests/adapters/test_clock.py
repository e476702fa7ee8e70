from __future__ import annotations

import time
from datetime import UTC, datetime

from bulkgpt_watchd.adapters.clock import SystemClock


async def test_now_is_the_wall_time_of_the_start_plus_monotonic_time_since() -> None:
    clock = SystemClock()
    assert abs(clock.now() - datetime.now(UTC).timestamp()) < 1
    assert abs(clock.monotonic() - time.monotonic()) < 1

    before = clock.now() - clock.monotonic()
    await clock.sleep(0.01)
    assert abs(clock.now() - clock.monotonic() - before) < 0.005


def test_jitter_is_below_one() -> None:
    numbers = [SystemClock().jitter() for _ in range(100)]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) > 90
