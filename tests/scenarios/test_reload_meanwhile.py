"""A reload may come while a look, a submit or an act is under way: none of them acts on what is no more."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import CommandRefused, OutcomeUnknown, Refused, Unavailable, WatchdError
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ports import PassPoint, Upload
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault

CSV = b"Input_1\n1\n2\n3\n"
PATIENCE_S = 5.0


async def take(daemon: Daemon, place: Place) -> None:
    await daemon.discovery.take(place.routes.values())


@dataclass
class Slow:
    """Be a call on a folder that takes until *may_end*; *has_begun* once it has done its work or is about to."""

    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: threading.Event = field(default_factory=threading.Event)


@asynccontextmanager
async def slow(daemon: Daemon, name: str, below: Path) -> AsyncIterator[Slow]:
    """Let the calls of *name* on what lies *below* a folder take their time after they were carried out."""
    folders, loop, state = daemon.scheduler.outside.folders, asyncio.get_running_loop(), Slow()
    real: Callable[..., Any] = getattr(folders, name)

    def late(path: Path, *args: Any) -> Any:
        result = real(path, *args)
        if path.is_relative_to(below):
            loop.call_soon_threadsafe(state.has_begun.set)
            state.may_end.wait(PATIENCE_S)
        return result

    setattr(folders, name, late)
    try:
        yield state
    finally:
        state.may_end.set()
        delattr(folders, name)


async def test_a_reload_that_moves_the_inbox_during_a_look_leaves_the_folders_of_another_daemon_alone(
    place: Place,
) -> None:
    other = place.folder / "other" / "inbox"
    work = other / ".bulkgpt-watchd"
    work.mkdir(parents=True)
    theirs = {"route.json": json.dumps({"state": "another", "route": "x"}), "aaaaaaa1-orders.csv": "Input_1\n1\n"}
    for name, content in theirs.items():
        (work / name).write_text(content)
    daemon = await place.start()
    await daemon.turn(0.0)
    inbox = place.routes["leads"].inbox
    async with slow(daemon, "probe", inbox) as probe:
        place.route(scan_every=11.0)  # whatever is changed, the route is opened anew
        await take(daemon, place)
        await daemon.scheduler.step()
        await probe.has_begun.wait()
        place.route(inbox=other, work=work)
        await take(daemon, place)
        probe.may_end.set()
        await daemon.scheduler.drain()
    await daemon.run_for(300.0)

    assert {path.name: path.read_text() for path in work.iterdir()} == theirs
    assert "belongs to another daemon" in str(daemon.scheduler.inboxes["leads"].reason)
    assert await daemon.jobs() == []
    assert place.api.submissions == []
    assert place.told("daemon.bug") == []


async def test_an_inbox_that_moved_during_a_look_is_opened_like_any_other(place: Place) -> None:
    daemon = await place.start()
    await daemon.turn(0.0)
    old = place.routes["leads"].inbox
    new = old.with_name("new-inbox")
    new.mkdir()
    async with slow(daemon, "probe", old) as probe:
        place.route(scan_every=11.0)
        await take(daemon, place)
        await daemon.scheduler.step()
        await probe.has_begun.wait()
        place.route(inbox=new, work=new / ".bulkgpt-watchd", archive=place.folder / "nowhere")
        await take(daemon, place)
        probe.may_end.set()
        await daemon.scheduler.drain()
    place.drop("a.csv", CSV)
    await daemon.run_for(60.0)
    assert "archive" in str(daemon.scheduler.inboxes["leads"].reason), "the folders it has now were not looked at"
    assert place.files("inbox") == {"a.csv": CSV}

    (place.folder / "nowhere").mkdir()
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}


async def until_it_awaits_its_answer(daemon: Daemon) -> asyncio.Event:
    """Drop `a.csv` and bring it past its point of no return; set what this gives, and the answer comes."""
    api, has_passed, may_answer = daemon.place.api, asyncio.Event(), asyncio.Event()
    real = api.submit

    async def submit(upload: Upload, pass_point: PassPoint) -> str:
        async def pass_and_wait() -> None:
            await pass_point()
            has_passed.set()
            await may_answer.wait()

        return await real(upload, pass_and_wait)

    api.submit = submit  # type: ignore[method-assign]  # the answer takes as long as the test wants
    daemon.place.drop("a.csv", CSV)
    while not has_passed.is_set():
        await daemon.scheduler.step()
        await asyncio.sleep(0.001)
        daemon.place.clock.advance(1.0)
    return may_answer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("HTTP 429"), None),
        (Refused("rejected", "no such workflow", api_message="no such workflow"), "rejected"),
    ],
    ids=["unavailable", "refused"],
)
async def test_a_listing_that_is_older_than_the_answer_makes_no_doubt(
    place: Place, error: WatchdError, code: str | None
) -> None:
    """Work was listed while the file had its sent name; until it is looked at, it has been given back."""
    place.api.plan(SubmitFault(error))
    daemon = await place.start()
    await daemon.turn(0.0)
    may_answer = await until_it_awaits_its_answer(daemon)
    async with slow(daemon, "list_work", place.routes["leads"].work) as listing:
        place.route(scan_every=11.0)
        await take(daemon, place)
        await daemon.scheduler.step()
        await listing.has_begun.wait()
        assert [job.state for job in await daemon.jobs()] == [State.SUBMITTING]
        may_answer.set()
        await asyncio.wait(daemon.scheduler.running.values())
    await daemon.scheduler.drain()
    await daemon.run_for(600.0)

    (job,) = await daemon.jobs()
    assert (job.state, job.code) == ((State.DONE, None) if code is None else (State.FAILED, code))
    assert place.told("job.adopted") == place.told("route.unavailable") == place.told("daemon.bug") == []
    assert len(place.api.accepted) == (1 if code is None else 0)


async def test_a_route_removed_during_its_first_sweep_settles_what_it_found_and_ends(place: Place) -> None:
    place.route("a")
    place.route("b")
    daemon = await place.start()
    await daemon.turn(0.0)
    await daemon.stop()
    removed = place.routes["a"]
    (removed.work / "aaaaaaa1.sent-orders.csv").write_bytes(CSV)

    daemon = await place.start()
    async with slow(daemon, "list_work", removed.work) as listing:
        await daemon.scheduler.step()
        await listing.has_begun.wait()
        place.routes.pop("a")
        await take(daemon, place)
    await daemon.scheduler.drain()
    await daemon.run_for(60.0)

    assert place.told("daemon.bug") == []
    (job,) = await daemon.jobs()
    assert (job.route, job.file, job.state, job.code) == ("a", "orders.csv", State.FAILED, "submission_unknown")
    assert (removed.error / "orders.csv").read_bytes() == CSV
    assert {path.name for path in removed.work.iterdir()} == {"route.json", f"{job.id}.error.json"}
    assert list(daemon.scheduler.inboxes) == list((await daemon.store.facts())["routes"]) == ["b"]
    assert {key: n for key, n in daemon.scheduler.book.counts.items() if n} == {("a", State.FAILED): 1}


async def with_a_failed_file(place: Place) -> Daemon:
    place.route("a")
    place.route("b")
    place.drop("x.csv", b"Input_1\n", "a")
    daemon = await place.start()
    await daemon.run_to_idle()
    assert (await daemon.job("x.csv")).code == "csv_empty"
    return daemon


async def test_a_route_removed_while_an_act_is_written_down_carries_it_out_first(place: Place) -> None:
    daemon = await with_a_failed_file(place)
    save, is_saved, may_return = daemon.store.save, asyncio.Event(), asyncio.Event()

    async def slow_save(change: Any) -> bool:
        result = await save(change)
        is_saved.set()
        await may_return.wait()
        return result

    daemon.store.save = slow_save  # type: ignore[method-assign]  # a slow disk
    act = asyncio.create_task(daemon.acts.retry("a person", [(await daemon.job("x.csv")).id]))
    await is_saved.wait()
    removed = place.routes.pop("a")
    reload = asyncio.create_task(take(daemon, place))
    await asyncio.sleep(0.02)
    may_return.set()
    await asyncio.gather(act, reload)
    await daemon.run_for(60.0)

    job = await daemon.job("x.csv")
    assert (job.state, job.code) == (State.FAILED, "csv_empty")
    assert (removed.error / "x.csv").exists()
    assert list(daemon.scheduler.inboxes) == ["b"]
    assert place.told("daemon.bug") == []


async def test_a_doubt_of_a_removed_route_can_be_closed_and_what_needs_its_folders_names_them(place: Place) -> None:
    route = place.route("a")
    place.route("b")
    place.api.plan(SubmitFault(OutcomeUnknown("connection reset")))
    place.drop("x.csv", CSV, "a")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.failed"))
    await daemon.run_for(60.0)
    place.routes.pop("a")
    await take(daemon, place)
    assert list(daemon.scheduler.inboxes) == ["b"]

    doubt = await daemon.job("x.csv")
    way = f"add a route with the inbox {route.inbox}, .* or `bulkgpt-watchd resolve {doubt.id} --abandon`"
    with pytest.raises(CommandRefused, match=way):
        await daemon.acts.resolve("a person", doubt.id, not_submitted=True)
    await daemon.acts.resolve("a person", doubt.id, abandon=True)

    closed = await daemon.job("x.csv")
    assert (closed.state, closed.is_doubt, closed.is_closed) == (State.FAILED, False, True)
    assert (route.error / "x.csv").read_bytes() == CSV
    assert (await daemon.acts.retry("a person", failed=True))["left"] == [], "what is closed is not asked about"
    assert place.told("daemon.bug") == []


async def test_an_act_on_a_route_that_was_removed_meanwhile_is_refused(place: Place) -> None:
    daemon = await with_a_failed_file(place)
    before = await daemon.job("x.csv")
    async with slow(daemon, "exists", place.routes["a"].error) as look:
        act = asyncio.create_task(daemon.acts.retry("a person", [before.id]))
        await look.has_begun.wait()
        place.routes.pop("a")
        await take(daemon, place)
        assert list(daemon.scheduler.inboxes) == ["b"]
    with pytest.raises(CommandRefused, match=r"route a of job .* is no longer configured: add a route with the inbox"):
        await act

    assert await daemon.job("x.csv") == before
