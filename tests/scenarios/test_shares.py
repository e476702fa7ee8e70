"""A share that hangs stops its own route, and neither the others nor the end of the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import CommandRefused
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.status import status
from bulkgpt_watchd.scheduler import condition, loop
from bulkgpt_watchd.scheduler.inbox import Inbox
from tests.adapters.kernels import RENAMES, Hanging, Interrupted, When, WithoutNames
from tests.daemon import Daemon, Place

CSV = b"Input_1\n1\n2\n3\n"

SHARE = 1 / 200
"""What is waited for of each deadline: 0.3 s for a minute, longer than a machine under load takes for one call."""

PATIENCE_S = 20.0
"""Much longer than all deadlines of a story together; only what hangs for ever takes it."""


def is_witness(name: str, args: tuple[Any, ...]) -> bool:
    """Pick the rename by which a file gets its sent name."""
    return name in RENAMES and ".sent-" in args[1]


async def ends_in_time(what: Coroutine[Any, Any, None]) -> None:
    """Wait with patience; what hangs is not cancelled, since that may hang as well."""
    task = asyncio.create_task(what)
    await asyncio.wait({task}, timeout=PATIENCE_S)
    assert task.done(), f"it hangs: {task}"
    task.result()


@asynccontextmanager
async def hanging(
    place: Place, when: When, kind: Callable[[When], Hanging] = Hanging
) -> AsyncIterator[tuple[Daemon, Hanging]]:
    """Start a daemon with the routes `hung` and `whole`; the share of the first hangs from *when* on."""
    place.deadline_share = SHARE
    place.route("hung")
    place.route("whole")
    kernel = kind(when)
    daemon = await place.build(kernel)
    try:
        await daemon.begin()
        yield daemon, kernel
    finally:
        kernel.freed.set()


async def until_it_hangs(daemon: Daemon, kernel: Hanging) -> None:
    """Step, and wait for nothing that was started."""
    while kernel.route is None:
        await daemon.scheduler.step()
        await asyncio.sleep(0.001)
        daemon.place.clock.advance(1.0)


async def until_told(daemon: Daemon, event: str, times: int) -> None:
    """Step until an event was told so often, and wait for nothing that was started."""
    while len(daemon.place.told(event)) < times:
        await daemon.scheduler.step()
        await asyncio.sleep(0.001)
        daemon.place.clock.advance(1.0)


async def test_a_share_that_hangs_at_the_witness_lets_the_other_routes_submit(place: Place) -> None:
    """That rename is made in the turn in which nobody else may pass the point of no return."""
    async with hanging(place, is_witness) as (daemon, kernel):
        place.drop("a.csv", CSV, "hung")
        await ends_in_time(until_it_hangs(daemon, kernel))
        assert kernel.route == "hung"
        for number in range(3):
            place.drop(f"{number}.csv", b"a\n%d\n" % number, "whole")

        await ends_in_time(daemon.run_until(lambda: daemon.scheduler.book.counts["whole", State.DONE] == 3))

        assert [submission.workflow_id for submission in place.api.accepted] == ["workflow of whole"] * 3
        told = place.told("route.unavailable")
        assert next(facts["route"] for facts in told if "hangs" in facts["reason"]) == "hung"
    # The rename that nobody waits for any more is made late; then the name says more than is so, and that is safe.
    await daemon.run_to_idle()
    (job,) = [job for job in await daemon.jobs() if job.route == "hung"]
    assert job.state is State.DONE or job.is_doubt
    assert len([submission for submission in place.api.accepted if submission.csv == CSV]) <= 1


async def test_a_share_that_hangs_at_the_witness_does_not_keep_the_daemon_from_ending(place: Place) -> None:
    async with hanging(place, is_witness) as (daemon, kernel):
        place.drop("a.csv", CSV, "hung")
        await ends_in_time(until_it_hangs(daemon, kernel))

        await ends_in_time(daemon.scheduler.stop())

        assert daemon.scheduler.running == {}
        assert (await daemon.job("a.csv")).state is State.READY
    await daemon.stop()
    daemon = await place.start()
    await daemon.run_to_idle()
    assert len(place.api.accepted) <= 1
    assert place.files("inbox", "hung") == {}


async def test_a_share_that_hangs_under_a_download_does_not_keep_the_daemon_from_ending(place: Place) -> None:
    def is_result(name: str, args: tuple[Any, ...]) -> bool:
        return name == "write" and ".part" in os.readlink(f"/proc/self/fd/{args[0]}") and place.api.downloads > 0

    async with hanging(place, is_result) as (daemon, kernel):
        place.drop("a.csv", CSV, "hung")
        await ends_in_time(until_it_hangs(daemon, kernel))
        assert [state for _, state in daemon.scheduler.lanes.running.values()] == [State.FINISHED]

        await ends_in_time(daemon.scheduler.stop())

        assert daemon.scheduler.running == {}
    await daemon.stop()
    daemon = await place.start()
    await daemon.run_to_idle()
    assert (await daemon.job("a.csv")).state is State.DONE
    assert place.files("outbox", "hung").keys() == {"a.csv"}
    assert len(place.api.accepted) == 1


async def test_a_result_that_hangs_is_never_closed_where_everything_else_waits(place: Place) -> None:
    """To close a file may wait for its share; where all threads of the route are stuck, that waits for one of them."""
    closed_in: list[str] = []

    def is_result(opened: int) -> bool:
        return place.api.downloads > 0 and ".part" in os.readlink(f"/proc/self/fd/{opened}")

    class HangingWrites(Hanging):
        def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
            if name == "write" and is_result(args[0]):
                self.route = "hung"
                self.freed.wait()
            if name == "close" and self.route is not None and is_result(args[0]):
                closed_in.append(threading.current_thread().name)
            return call(*args, **named)

    async with hanging(place, is_witness, HangingWrites) as (daemon, kernel):
        for number in range(8):
            place.drop(f"{number}.csv", b"a\n%d\n" % number, "hung")
        place.api.runs_s = 1e6
        await daemon.run_until(lambda: len(place.told("task.submitted")) == 8)
        for task in place.api.tasks.values():
            task.runs_s, task.result = 1.0, b"a,b\n" + b"1,2\n" * 100_000  # so long that it is written block by block
        await ends_in_time(until_it_hangs(daemon, kernel))
        await ends_in_time(until_told(daemon, "job.deferred", 5))
        assert "MainThread" not in closed_in
    await daemon.run_to_idle()

    assert set(closed_in) == {"route hung"}
    assert len(place.files("outbox", "hung")) == 8


async def test_retrying_all_that_failed_leaves_what_hangs_and_goes_on_with_the_others(place: Place) -> None:
    is_asked = False

    def is_look(name: str, _args: tuple[Any, ...]) -> bool:
        return is_asked and name == "stat" and threading.current_thread().name == "route hung"

    async with hanging(place, is_look) as (daemon, _):
        for number in range(2):
            place.drop(f"{number}.csv", b"Input_1\n", "hung")
            place.drop(f"{number}.csv", b"Input_1\n", "whole")
        await daemon.run_to_idle()
        failed = {job.id: job for job in await daemon.jobs()}
        assert [job.code for job in failed.values()] == ["csv_empty"] * 4
        answers: list[dict[str, Any]] = []

        async def retry() -> None:
            answers.append(await daemon.acts.retry("a person", failed=True))

        is_asked = True
        await ends_in_time(retry())

        (said,) = answers
        assert {failed[job["job"]].route for job in said["jobs"]} == {"whole"}
        assert len(said["jobs"]) == 2
        assert {failed[left["job"]].route for left in said["left"]} == {"hung"}
        assert [left["reason"].partition(" (")[0] for left in said["left"]] == ["a folder hangs"] * 2
        assert [job.state for job in await daemon.jobs() if job.route == "hung"] == [State.FAILED] * 2


async def test_a_decision_about_a_file_that_hangs_on_its_way_to_error_is_refused(place: Place) -> None:
    def is_reason(name: str, args: tuple[Any, ...]) -> bool:
        return name in RENAMES and args[1].endswith(".error.json")

    async with hanging(place, is_reason) as (daemon, kernel):
        place.drop("a.csv", b"a,b\n1\n", "hung")
        await ends_in_time(until_it_hangs(daemon, kernel))
        before = await daemon.job("a.csv")

        with pytest.raises(CommandRefused, match="still on its way to the error folder"):
            await daemon.acts.retry("a person", [before.id])

        assert await daemon.job("a.csv") == before
        assert before.state is State.FAILING
    await daemon.run_to_idle()
    assert place.files("error", "hung").keys() == {"a.csv", "a.csv.error.json"}


RESULTS = ("/outbox", "/archive", "/error")
ON_CIFS = WithoutNames("\\", within=RESULTS)
ON_VFAT = WithoutNames('\\:*?"<>|', is_told=False, within=RESULTS)


@pytest.mark.fault("F34")
@pytest.mark.parametrize("kernel", [ON_CIFS, ON_VFAT])
async def test_a_paid_result_does_not_hang_on_a_name_that_its_share_cannot_have(
    place: Place, kernel: WithoutNames
) -> None:
    place.drop(r"C:\a.csv", CSV)
    place.drop(r"C:\bad.csv", b"a,b\n1\n")
    daemon = await place.build(kernel)
    await daemon.begin()
    await daemon.run_to_idle()

    assert [job.state for job in await daemon.jobs()] == [State.DONE, State.FAILED]
    assert place.files("outbox").keys() == {"C__a.csv"}
    assert place.files("archive").keys() == {"C__a.csv", "C__a.csv.receipt.json"}
    assert place.files("error").keys() == {"C__bad.csv", "C__bad.csv.error.json"}
    assert json.loads(place.files("archive")["C__a.csv.receipt.json"])["file"] == r"C:\a.csv"


@pytest.mark.fault("F34")
@pytest.mark.parametrize("kernel", [ON_CIFS, ON_VFAT])
async def test_a_paid_result_does_not_hang_on_a_folder_that_its_share_cannot_have(
    place: Place, kernel: WithoutNames
) -> None:
    """Two folders that come to one name share it, and no file is replaced there."""
    place.route(recursive=True)
    for folder in (r"x\y", "x_y"):
        place.drop(f"{folder}/a.csv", CSV + folder.encode() + b"\n")
        place.drop(f"{folder}/bad.csv", b"a,b\n1\n" + folder.encode())
    daemon = await place.build(kernel)
    await daemon.begin()
    await daemon.run_to_idle()

    assert {job.state for job in await daemon.jobs()} == {State.DONE, State.FAILED}
    for role, files in (("outbox", 1 + 1), ("archive", 2 + 2), ("error", 2 + 2)):
        assert {os.path.dirname(file) for file in place.files(role)} == {"x_y"}
        assert len(place.files(role)) == files
    assert {*place.dropped} <= {*place.files("archive").values(), *place.files("error").values()}


async def test_one_move_that_hangs_is_told_and_holds_up_no_other_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder answers all else, so no look finds anything wrong."""
    monkeypatch.setattr(condition, "SLOW_S", 0.2)
    freed = threading.Event()
    place.drop("a.csv", CSV)
    kernel = Interrupted(lambda name, args: name in RENAMES and args[1] == "a.csv", partial(freed.wait, PATIENCE_S))
    daemon = await place.build(kernel)
    try:
        await daemon.begin()
        place.drop("b.csv", b"Input_1\n9\n")
        await ends_in_time(until_told(daemon, "job.done", 1))
        store, now, problem = daemon.store, place.clock.now(), "a.csv is being moved or checked for long"
        await ends_in_time(until_told(daemon, "job.slow", 1))
        while problem not in str(status(await store.facts(), {}, (), now=now, is_running=True)["problems"]):
            await daemon.scheduler.step()
            await asyncio.sleep(0.001)
    finally:
        freed.set()
    await daemon.run_to_idle()

    assert ("a.csv", "fetched") in {(facts["file"], facts["at"]) for facts in place.told("job.slow")}
    assert [facts["file"] for facts in place.told("job.done")] == ["b.csv", "a.csv"]
    await daemon.run_for(20.0)
    assert (await daemon.store.facts())["health"]["leads"]["slow"] == []


async def test_a_stop_does_not_wait_for_ever_for_what_it_cannot_cut(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CUT_S", 0.05)
    daemon = await place.start()
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def deaf(_inbox: Inbox) -> None:
        has_begun.set()
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    daemon.scheduler.tend = deaf
    await daemon.scheduler.step()
    await has_begun.wait()
    looks = list(daemon.scheduler.looking.values())
    try:
        await ends_in_time(daemon.scheduler.stop())
        assert [look.done() for look in looks] == [False]
    finally:
        may_end.set()
        await asyncio.wait(looks)
