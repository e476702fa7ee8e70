"""`run --once` ends by itself, whatever keeps the files from going on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bulkgpt_watchd.core.errors import Denied, OutcomeUnknown
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.scheduler.once import GATE_SHUT, HELD, Once
from tests.daemon import STEPS, Daemon, Place
from tests.fakes import SubmitFault

GATEWAY = OutcomeUnknown("HTTP 502", http_status=502)
NO_CREDIT = Denied("HTTP 402: no credit", http_status=402)


async def once(daemon: Daemon, at_step: Callable[[], object] = lambda: None) -> int:
    """Do as the service does for `run --once`."""
    scheduler = daemon.scheduler
    run = await Once.begin(scheduler)
    for _ in range(STEPS):
        at_step()
        wait_s = await scheduler.guarded_step()
        code = await run.verdict()
        if code is not None:
            return code
        await scheduler.drain()
        if not scheduler.wake.is_set():
            assert wait_s < math.inf, "nothing will ever happen again"
            daemon.place.clock.advance(wait_s)
    raise AssertionError(f"it does not end within {STEPS} steps")


async def again(place: Place, at_step: Callable[[], object] = lambda: None) -> int:
    """Do `run --once` in another process."""
    if place.daemon is not None:
        await place.daemon.stop()
    return await once(await place.start(), at_step)


# --- the key or the account -------------------------------------------------------------------------------------------


async def test_a_denied_question_is_77_also_where_a_doubt_shut_the_gate(place: Place) -> None:
    place.api.runs_s = math.inf
    place.drop("first.csv")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    for number in range(9):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    place.api.plan(SubmitFault(GATEWAY))
    await daemon.run_until(lambda: place.told("gate.shut"))
    await daemon.stop()
    place.api.wrong_keys = {"key-1"}

    assert [await again(place), await again(place)] == [GATE_SHUT, GATE_SHUT]
    assert "401" in place.told("gate.shut")[-1]["reason"]


async def test_what_really_runs_is_awaited_and_then_it_is_77(place: Place) -> None:
    place.api.runs_s = 600.0
    place.drop("first.csv")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.drop("second.csv", b"a\npoor\n")
    place.api.plan(SubmitFault(NO_CREDIT, at="before", contains=b"poor", times=math.inf))

    assert await once(daemon) == GATE_SHUT
    assert (await daemon.job("first.csv")).state is State.DONE
    assert (await daemon.job("second.csv")).state is State.READY


async def test_a_task_that_one_route_may_not_ask_about_is_11(place: Place) -> None:
    place.drop("a.csv", b"a\n1\n", "more")
    place.drop("b.csv", b"a\n2\n")
    place.api.runs_s = 60.0
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 2)
    status = place.api.status
    forbidden = (await daemon.job("a.csv")).task_id

    async def refuse(task_id: str) -> Any:
        if task_id == forbidden:
            raise Denied("HTTP 403: not your workflow", http_status=403)
        return await status(task_id)

    place.api.status = refuse  # type: ignore[method-assign]

    assert await once(daemon) == HELD
    assert (await daemon.job("b.csv")).state is State.DONE
