"""What is known of a route outlives its neighbours, its name, a full disk and an older way of writing it down."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import DiskTrouble, OutcomeUnknown
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.routes import named
from bulkgpt_watchd.core.status import status
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault

CSV = b"Input_1\n1\n2\n3\n"


async def take(daemon: Daemon, place: Place) -> None:
    await daemon.discovery.take(place.routes.values())


def rename(place: Place, old: str, new: str) -> None:
    place.routes[new] = place.routes.pop(old).model_copy(update={"name": new})


async def shown(daemon: Daemon) -> dict[str, Any]:
    facts, counts = await daemon.store.facts(), await daemon.store.counts()
    return status(facts, counts, [], now=daemon.place.clock.now(), is_running=True)


async def test_routes_that_open_at_once_all_stay_known(place: Place) -> None:
    for name in "abc":
        place.route(name)
    daemon = await place.start()
    await daemon.turn(0.0)

    facts = await daemon.store.facts()
    assert facts["inboxes"] == {str(place.routes[name].inbox): name for name in "abc"}
    assert facts["works"] == {name: [str(place.routes[name].work)] for name in "abc"}
    assert facts["mounts"].keys() == facts["health"].keys() == set("abc")


@pytest.mark.parametrize("name", ["a", "b"])
async def test_an_inbox_that_was_removed_is_the_same_route_when_it_comes_back_under_another_name(
    place: Place, name: str
) -> None:
    """So the bytes of a doubt, put back into the inbox, are its duplicate and are not paid again."""
    place.route("a")
    place.route("b")
    place.api.plan(SubmitFault(OutcomeUnknown("the connection broke"), is_accepted=True))
    place.drop("x.csv", CSV, name)
    daemon = await place.start()
    await daemon.run_to_idle()
    assert (await daemon.job("x.csv")).code == "submission_unknown"
    removed = place.routes.pop(name)
    await take(daemon, place)
    assert name not in daemon.scheduler.inboxes

    place.routes["renamed"] = removed.model_copy(update={"name": "renamed"})
    await take(daemon, place)
    await daemon.acts.resume("a person")
    (removed.error / "x.csv").rename(removed.inbox / "x.csv")
    await daemon.run_to_idle()

    assert daemon.scheduler.inboxes[name].name == "renamed"
    assert [job.code for job in await daemon.jobs()] == ["submission_unknown", "duplicate"]
    assert len(place.api.accepted) == 1


async def test_every_known_route_without_its_marker_waits_until_it_is_adopted(place: Place) -> None:
    for name in "ab":
        place.route(name)
    daemon = await place.start()
    await daemon.turn(0.0)
    await daemon.stop()
    for name in "ab":
        (place.routes[name].work / "route.json").unlink()
        place.drop("x.csv", CSV, name)

    daemon = await place.start()
    await daemon.run_for(60.0)

    reasons = {facts["route"]: facts["reason"] for facts in place.told("route.unavailable")}
    assert {name: f"adopt {name}" in reason for name, reason in reasons.items()} == {"a": True, "b": True}
    assert [place.files("inbox", name) for name in "ab"] == [{"x.csv": CSV}] * 2
    assert place.api.submissions == []
    for name in "ab":
        await daemon.acts.adopt("a person", name)
    await daemon.run_to_idle()
    assert [place.files("outbox", name) for name in "ab"] == [{"x.csv": answer(CSV)}] * 2


async def test_a_route_whose_reload_met_a_full_disk_takes_nothing_after_it_is_removed(place: Place) -> None:
    place.route("a")
    daemon = await place.start()
    await daemon.turn(0.0)
    set_fact, is_full = daemon.store.set_fact, True

    async def failing(key: str, value: Any) -> None:
        if is_full and key == "names":
            raise DiskTrouble("no space left on device")
        await set_fact(key, value)

    daemon.store.set_fact = failing  # type: ignore[method-assign]  # the disk is full for a while
    added = place.route("b")
    with pytest.raises(DiskTrouble):
        await take(daemon, place)
    is_full = False
    await daemon.run_for(30.0)
    del place.routes["b"]
    await take(daemon, place)
    (added.inbox / "z.csv").write_bytes(CSV)
    await daemon.run_for(200.0)

    assert list(daemon.scheduler.inboxes) == ["a"]
    assert (await daemon.store.facts())["routes"].keys() == {"a"}
    assert await daemon.jobs() == []
    assert place.api.submissions == []
    assert (added.inbox / "z.csv").read_bytes() == CSV


async def test_a_removed_route_whose_folders_were_deleted_ends(place: Place) -> None:
    """What waited in its inbox is gone with it: nothing may say for ever that a folder is missing."""
    place.route("a")
    place.route("b")
    daemon = await place.start()
    await daemon.acts.pause("a person", "a")
    place.drop("x.csv", CSV, "a")
    await daemon.run_until(lambda: place.told("job.discovered"))
    await daemon.stop()
    place.routes.pop("a")
    shutil.rmtree(place.folder / "a")

    daemon = await place.start()
    await daemon.run_for(60.0)

    assert (await daemon.job("x.csv")).state is State.WITHDRAWN
    assert list(daemon.scheduler.inboxes) == ["b"]
    assert (await shown(daemon))["problems"] == []


async def test_the_reason_of_a_held_backlog_names_no_route_by_a_name_it_may_lose(place: Place) -> None:
    place.route("old-name", hold_backlog=1)
    for number in range(2):
        place.drop(f"{number}.csv", b"a\n%d\n" % number, "old-name")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("route.paused"))
    rename(place, "old-name", "orders")
    await take(daemon, place)

    (route,) = (await shown(daemon))["routes"]
    assert route["name"] == "orders"
    assert "`bulkgpt-watchd resume`" in route["pause"]["reason"]
    assert "old-name" not in route["pause"]["reason"]
    await daemon.acts.resume("a person", "orders")
    await daemon.run_to_idle()
    assert len(place.files("outbox", "orders")) == 2


async def test_a_state_that_was_written_without_names_knows_its_routes(place: Place) -> None:
    """A route that was removed long ago and comes back with another inbox is the one whose name it has."""
    place.route("a")
    place.route("b")
    place.drop("x.csv", CSV, "a")
    daemon = await place.start()
    await daemon.run_to_idle()
    place.routes.pop("a")
    await take(daemon, place)
    await daemon.run_for(20.0)
    await daemon.stop()
    inboxes = {str(place.folder / name / "inbox"): name for name in "ab"}
    with sqlite3.connect(place.state) as state:
        state.execute("delete from facts where key in ('names', 'works')")
        state.execute("update facts set value = ? where key = 'inboxes'", (json.dumps(inboxes),))
    state.close()
    moved = {role: place.folder / "moved" / role for role in ("inbox", "outbox", "error", "archive")}
    for folder in moved.values():
        folder.mkdir(parents=True)
    place.route("a", **moved, work=moved["inbox"] / ".bulkgpt-watchd")

    daemon = await place.start()
    place.drop("y.csv", b"Input_1\n5\n", "a")
    await daemon.run_to_idle()

    names = (await daemon.store.facts())["names"]
    assert names == {"a": "a", "b": "b"}
    assert [(job.file, named(job, names).route) for job in await daemon.jobs()] == [("x.csv", "a"), ("y.csv", "a")]
    assert [(route["name"], route["done"]) for route in (await shown(daemon))["routes"]] == [("a", 2), ("b", 0)]
