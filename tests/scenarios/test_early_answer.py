"""A task ID that comes before the last block went is a paid task like any other."""

from __future__ import annotations

import asyncio
from typing import Any

from bulkgpt_watchd.core import gate as gate_rules
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ports import PassPoint, Upload
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Place

CSV = b"Input_1\n1\n2\n3\n"


async def no_point() -> None:
    """Stand for a point of no return that BulkGPT did not wait for."""


async def test_a_task_id_that_came_before_the_last_block_outlives_a_stop(place: Place) -> None:
    """The stop comes while the gate's new position is written: before the ID is in the state, and it must get there."""
    daemon = await place.start()
    await daemon.turn(0.0)
    daemon.scheduler.passage.gate = gate_rules.half(gate_rules.Gate(position="shut", reason="a doubt", since=1.0))
    submit, set_fact, stops = place.api.submit, daemon.store.set_fact, list[asyncio.Task[None]]()

    async def early(upload: Upload, pass_point: PassPoint) -> str:
        del pass_point
        return await submit(upload, no_point)

    async def stopped_here(key: str, value: Any) -> None:
        if key == "gate" and place.api.accepted and not stops:
            stops.append(asyncio.create_task(daemon.scheduler.stop()))
            for _ in range(10):
                await asyncio.sleep(0)
        await set_fact(key, value)

    place.api.submit = early  # type: ignore[method-assign]  # BulkGPT answers before it has read all
    daemon.store.set_fact = stopped_here  # type: ignore[method-assign]  # a disk that takes its time
    place.drop("a.csv", CSV)
    while not stops:
        await daemon.scheduler.step()
        await asyncio.sleep(0.001)
        place.clock.advance(1.0)
    await stops[0]

    task_id = place.api.accepted[0].task_id
    assert [facts["task_id"] for facts in place.told("task.submitted")] == [task_id]
    job = await daemon.job("a.csv")
    assert (job.state, job.task_id) == (State.SUBMITTED, task_id)

    await daemon.stop()
    place.api.submit = submit  # type: ignore[method-assign]  # as it was
    daemon = await place.start()
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert len(place.api.accepted) == 1
    assert place.told("daemon.bug") == []
