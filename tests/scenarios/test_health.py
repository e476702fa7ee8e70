"""To live depends on nothing outside; to be ready depends on all of it, and says on what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import DiskTrouble, Refused, Unavailable
from bulkgpt_watchd.scheduler.figures import Figures
from bulkgpt_watchd.scheduler.health import SCAN_S, STEP_S, WRITE_EVERY_S, Health
from tests.daemon import Daemon, Place
from tests.fakes import SubmitFault

READY = {"status": "ready", "reasons": []}
OK = {"status": "ok", "reasons": []}


async def start(place: Place) -> tuple[Daemon, Health]:
    daemon = await place.start()
    figures = Figures(daemon.scheduler, lambda _key: False)
    figures.start()
    return daemon, Health(daemon.scheduler, figures)


async def what(health: Health) -> list[tuple[Any, Any]]:
    return [(reason["what"], reason.get("route")) for reason in (await health.ready())["reasons"]]


async def test_it_is_ready_after_the_first_look(place: Place) -> None:
    daemon, health = await start(place)
    assert (await health.ready())["reasons"] == [{"what": "route", "route": "leads", "reason": "not looked at yet"}]
    await daemon.turn()

    assert await health.ready() == READY
    assert await health.alive() == OK


async def test_a_route_that_cannot_be_used_is_told_and_the_return_of_its_folder(place: Place) -> None:
    place.route("other")
    place.route()
    daemon, health = await start(place)
    await daemon.turn()
    away = place.folder / "away"
    place.routes["leads"].outbox.rename(away)
    await daemon.run_for(30.0)
    told = await health.ready()
    assert [(reason["what"], reason["route"]) for reason in told["reasons"]] == [("route", "leads")]
    assert "outbox" in told["reasons"][0]["reason"]
    assert await health.alive() == OK

    away.rename(place.routes["leads"].outbox)
    await daemon.run_for(30.0)
    assert await health.ready() == READY


async def test_what_a_person_paused_is_no_reason(place: Place) -> None:
    daemon, health = await start(place)
    await daemon.turn()
    await daemon.acts.pause("a person", route="leads")
    place.routes["leads"].inbox.rename(place.folder / "away")
    await daemon.run_for(30.0)
    assert await health.ready() == READY

    await daemon.acts.resume("a person", route="leads")
    assert await what(health) == [("route", "leads")]


async def test_a_shut_gate_is_told_with_its_reason(place: Place) -> None:
    place.api.wrong_keys = {"key-1"}
    place.drop("a.csv")
    daemon, health = await start(place)
    await daemon.run_until(lambda: bool(place.told("gate.shut")))
    await daemon.scheduler.drain()
    told = await health.ready()
    assert [reason["what"] for reason in told["reasons"]] == ["gate"]
    assert "Invalid API key" in told["reasons"][0]["reason"]
    assert await health.alive() == OK

    place.api.key_on_disk = "key-2"
    await daemon.run_to_idle()
    assert await health.ready() == READY


async def test_a_held_workflow_is_told_of_its_route(place: Place) -> None:
    place.route("other")
    for number in range(3):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)
    place.api.plan(SubmitFault(Refused("rejected", "no such workflow", http_status=400), times=3))
    daemon, health = await start(place)
    await daemon.run_until(lambda: bool(place.told("gate.held")))
    await daemon.scheduler.drain()

    assert await what(health) == [("gate", "leads")]


async def test_a_full_disk_is_told(place: Place) -> None:
    daemon, health = await start(place)
    place.route(min_free=10**18)
    await daemon.discovery.take(place.routes.values())
    await daemon.run_for(30.0)

    assert await what(health) == [("disk", "leads")]
    assert await health.alive() == OK


async def test_scans_that_no_longer_come_are_told(place: Place) -> None:
    daemon, health = await start(place)
    await daemon.turn(0.0)
    place.clock.advance(3 * place.routes["leads"].scan_every + SCAN_S - 1.0)
    assert await health.ready() == READY
    place.clock.advance(2.0)
    told = await health.ready()

    assert [(reason["what"], reason["route"]) for reason in told["reasons"]] == [("scan", "leads")]
    await daemon.turn(0.0)
    assert await health.ready() == READY


async def test_an_outage_that_costs_nothing_is_no_reason(place: Place) -> None:
    """Files wait and are tried again; nothing is known to be wrong with us or the account."""
    place.api.outage = Unavailable("connection refused")
    place.drop("a.csv")
    daemon, health = await start(place)
    await daemon.run_for(600.0)

    assert await health.ready() == READY


async def test_a_state_that_cannot_be_written_is_told_and_does_not_end_a_life(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, health = await start(place)
    await daemon.turn()
    assert await health.ready() == READY

    async def refuse(*_arguments: Any) -> None:
        raise DiskTrouble("the state cannot be used now: disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(daemon.store, "set_fact", refuse)
        assert await health.ready() == READY, "that was asked just now"
        place.clock.advance(WRITE_EVERY_S)
        assert (await health.ready())["reasons"] == [
            {"what": "state", "reason": "the state cannot be used now: disk is full"}
        ]
        patched.setattr(daemon.store, "get", refuse)
        assert await health.alive() == OK
    place.clock.advance(WRITE_EVERY_S)
    assert await health.ready() == READY


async def test_a_step_that_does_not_end_is_seen(place: Place) -> None:
    daemon, health = await start(place)
    await daemon.scheduler.guarded_step()
    await daemon.scheduler.drain()
    assert daemon.scheduler.stepping_since is None
    daemon.scheduler.stepping_since = place.clock.monotonic()
    place.clock.advance(STEP_S)
    assert await health.alive() == OK
    place.clock.advance(1.0)

    assert (await health.alive())["reasons"] == ["the loop stands since 61 s"]


async def test_a_thread_of_the_state_that_does_not_answer_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, health = await start(place)
    await daemon.turn()
    health.store_s = 0.05

    async def hang(*_arguments: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(daemon.store, "get", hang)
    monkeypatch.setattr(daemon.store, "set_fact", hang)

    assert (await health.alive())["reasons"] == ["the state's thread did not answer for 0.05 s"]
    assert await what(health) == [("state", None)]
