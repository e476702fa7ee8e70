"""`run --once` ends by itself, whatever keeps the files from going on."""

from __future__ import annotations

import asyncio
import errno
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bulkgpt_watchd.core import exit_codes
from bulkgpt_watchd.core.errors import Denied, OutcomeUnknown, Unavailable
from bulkgpt_watchd.core.exit_codes import HELD
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.scheduler.once import Once
from tests.adapters.kernels import RENAMES, Failing, Hooked, Interrupted
from tests.daemon import STEPS, Daemon, Place
from tests.fakes import SubmitFault

REFUSED = Unavailable("connection refused")
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

    assert [await again(place), await again(place)] == [exit_codes.REFUSED, exit_codes.REFUSED]
    assert "401" in place.told("gate.shut")[-1]["reason"]


async def test_what_really_runs_is_awaited_and_then_it_is_77(place: Place) -> None:
    place.api.runs_s = 600.0
    place.drop("first.csv")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.drop("second.csv", b"a\npoor\n")
    place.api.plan(SubmitFault(NO_CREDIT, at="before", contains=b"poor", times=math.inf))

    assert await once(daemon) == exit_codes.REFUSED
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

    place.api.status = refuse  # type: ignore[method-assign]  # of one task it answers no

    assert await once(daemon) == HELD
    assert (await daemon.job("b.csv")).state is State.DONE


# --- an API that does not answer --------------------------------------------------------------------------------------


async def test_files_that_nobody_takes_are_held_and_tried_by_every_run(place: Place) -> None:
    for number in range(30):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    place.api.outage = REFUSED
    started = place.clock.now()

    assert await again(place) == HELD
    assert place.clock.now() - started < 60
    posts = len(place.api.submissions)
    assert await again(place) == HELD
    assert len(place.api.submissions) > posts

    place.api.outage = None
    assert await again(place) == 0
    assert len(place.api.accepted) == 30


async def test_a_shut_gate_whose_questions_nobody_answers_is_11(place: Place) -> None:
    place.drop("first.csv")
    assert await again(place) == 0
    for number in range(9):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)

    def break_down() -> None:
        if place.told("gate.shut"):
            place.api.outage = REFUSED

    place.api.plan(SubmitFault(GATEWAY))
    assert await again(place, break_down) == HELD
    assert place.told("gate.probed")
    assert place.daemon is not None
    assert not place.daemon.scheduler.passage.gate.is_locked


async def test_a_paid_task_is_awaited_through_an_outage(place: Place) -> None:
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.api.outage = REFUSED
    back_at = place.clock.now() + 1_800.0

    def come_back() -> None:
        if place.clock.now() >= back_at:
            place.api.outage = None

    assert await once(daemon, come_back) == 0


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CLAIMED, State.FINISHED])
async def test_a_disk_that_fails_is_11_before_and_after_paying(place: Place, state: State) -> None:
    kernel = Failing({})
    daemon = await place.build(kernel)
    await daemon.begin()
    place.drop("a.csv")
    await daemon.run_until(lambda: place.told("task.submitted" if state is State.FINISHED else "job.claimed"))
    kernel.errors, kernel.left = {"write": errno.EIO, "read": errno.EIO}, {"write": -1, "read": -1}

    assert await once(daemon) == HELD
    assert (await daemon.job("a.csv")).state is state


class Hanging(Hooked):
    """From the first rename after it is armed, let every call of one route wait until it is let go."""

    def __init__(self, route: str) -> None:
        self.thread = f"route {route}"
        self.is_armed = self.is_hung = False
        self.let_go = threading.Event()

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if threading.current_thread().name == self.thread:
            self.is_hung = self.is_hung or (self.is_armed and name == "rename_noreplace")
            if self.is_hung:
                self.let_go.wait()
        return super().around(name, call, *args, **named)


async def test_a_share_that_hangs_is_11_and_the_others_are_done(place: Place) -> None:
    place.deadline_share = 0.01
    place.drop("a.csv", b"a\n1\n", "share")
    place.drop("b.csv", b"a\n2\n")
    kernel = Hanging("share")
    daemon = await place.build(kernel)
    await daemon.begin()
    scheduler, run, code = daemon.scheduler, await Once.begin(daemon.scheduler), None
    try:
        while code is None:
            kernel.is_armed = kernel.is_armed or scheduler.inboxes["share"].is_open
            wait_s = await scheduler.guarded_step()
            code = await run.verdict()
            try:
                await asyncio.wait_for(scheduler.wake.wait(), 0.01)
            except TimeoutError:
                place.clock.advance(min(wait_s, 1.0))
        assert [(job.route, job.state) for job in await daemon.jobs() if job.id in scheduler.running] == [
            ("share", State.DISCOVERED)
        ]
    finally:
        kernel.let_go.set()
    assert code == HELD
    assert place.files("outbox").keys() == {"b.csv"}


async def test_a_file_that_was_replaced_while_it_was_claimed_is_taken_as_it_now_is(place: Place) -> None:
    """Nobody rings for it, and no look was due yet."""
    newer = b"a\nnewer\n"
    place.drop("a.csv", b"a\nolder\n")
    kernel = Interrupted(
        lambda name, args: name in RENAMES and args[1].endswith("-a.csv"), lambda: place.drop("a.csv", newer)
    )
    daemon = await place.build(kernel)
    await daemon.begin()

    assert await once(daemon) == 0
    assert place.files("archive")["a.csv"] == newer
    assert place.files("inbox") == {}
