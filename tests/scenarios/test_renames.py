"""A route may be renamed, removed or moved at any moment: its jobs, pause and hold stay with its inbox."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Daemon, Place

CSV = b"Input_1\n1\n2\n3\n"
OTHER = b"Input_1\n7\n"


async def reload(daemon: Daemon, place: Place) -> None:
    await daemon.discovery.take(place.routes.values())


def rename(place: Place, **names: str) -> None:
    """Give routes other names; each keeps its folders, and takes the workflow that goes with its new name."""
    old = {name: place.routes.pop(name) for name in names}
    for name, new in names.items():
        workflow_id = f"workflow of {new}"
        place.routes[new] = old[name].model_copy(update={"name": new, "workflow_id": workflow_id})


def numbers(daemon: Daemon) -> dict[tuple[str, State], int]:
    return {key: number for key, number in daemon.scheduler.book.counts.items() if number}


async def test_the_same_inbox_under_a_new_name_keeps_its_jobs(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    rename(place, leads="customers")
    await reload(daemon, place)

    await daemon.run_to_idle()

    assert place.files("outbox", "customers") == {"a.csv": answer(CSV)}
    assert place.told("route.renamed") == [{"route": "customers", "old": "leads"}]
    assert place.told("job.delivered")[0]["route"] == "customers"
    assert b'"route": "customers"' in place.files("archive", "customers")["a.csv.receipt.json"]
    assert (await daemon.acts.redeliver("a person", (await daemon.job("a.csv")).id))["job"]["route"] == "customers"
    assert place.told("route.unavailable") == []


@pytest.mark.parametrize("names", [("b", "a"), ("b", "c", "a"), ("b", "b", "a")])
async def test_a_name_may_come_and_go_while_effects_run(place: Place, names: tuple[str, ...]) -> None:
    place.route("a")
    place.routes.pop("leads", None)
    for number in range(12):
        place.drop(f"{number}.csv", b"Input_1\n%d\n" % number, "a")
    daemon = await place.start()
    last = "a"
    for name in names:
        await daemon.scheduler.step()  # and while what it started is still running …
        rename(place, **{last: name})
        await reload(daemon, place)
        last = name

    await daemon.run_to_idle()

    assert len(place.api.accepted) == len({sent.csv for sent in place.api.accepted}) == 12
    assert len(place.files("outbox", "a")) == 12
    assert numbers(daemon) == await daemon.store.counts() == {("a", State.DONE): 12}
    assert not place.told("daemon.bug")


async def test_routes_that_swap_their_names_keep_their_files_apart(place: Place) -> None:
    place.drop("a.csv", CSV, "a")
    place.drop("b.csv", OTHER, "b")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 2)
    rename(place, a="b", b="a")
    later = b"Input_1\n8\n"
    place.drop("later.csv", later, "b")  # into the inbox that was a's
    await reload(daemon, place)

    await daemon.run_to_idle()

    assert sorted(place.files("outbox", "b")) == ["a.csv", "later.csv"]
    assert sorted(place.files("outbox", "a")) == ["b.csv"]
    workflows = {CSV: "workflow of a", OTHER: "workflow of b", later: "workflow of b"}
    assert {sent.csv: sent.workflow_id for sent in place.api.accepted} == workflows
    assert len(place.api.accepted) == 3
    assert numbers(daemon) == {("a", State.DONE): 2, ("b", State.DONE): 1}


async def test_a_name_taken_over_leaves_the_jobs_of_its_former_route_alone(place: Place) -> None:
    place.drop("a.csv", CSV, "a")
    place.drop("b.csv", OTHER, "b")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 2)
    former = place.routes.pop("b")
    rename(place, a="b")
    await reload(daemon, place)
    assert sorted(inbox.name for inbox in daemon.scheduler.inboxes.values()) == ["b", "b-removed"]

    await daemon.run_to_idle()

    assert place.files("outbox", "b") == {"a.csv": answer(CSV)}
    assert (former.outbox / "b.csv").read_bytes() == answer(OTHER)
    await daemon.run_for(60.0)
    assert [inbox.name for inbox in daemon.scheduler.inboxes.values()] == ["b"], "what was removed and has ended goes"


async def test_a_renamed_route_stays_paused(place: Place) -> None:
    place.route(hold_backlog=0)
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("route.paused"))
    rename(place, leads="customers")
    await reload(daemon, place)
    await daemon.run_for(600.0)
    assert place.api.accepted == []

    await daemon.stop()
    daemon = await place.start()
    await daemon.run_for(600.0)
    assert place.api.accepted == []

    await daemon.acts.resume("a person", "customers")
    await daemon.run_to_idle()
    assert [sent.workflow_id for sent in place.api.accepted] == ["workflow of customers"]


async def test_a_route_renamed_while_the_daemon_was_down_keeps_its_jobs(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()
    rename(place, leads="customers")

    daemon = await place.start()
    await daemon.run_to_idle()

    assert place.files("outbox", "customers") == {"a.csv": answer(CSV)}
    assert len(place.api.accepted) == 1


async def test_the_waiting_files_of_a_removed_route_are_left_to_their_owner(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.route("other")
    daemon = await place.start()
    await daemon.acts.pause("a person")
    await daemon.run_until(lambda: place.told("job.discovered"))
    leads = place.routes.pop("leads")
    await reload(daemon, place)

    await daemon.run_to_idle()

    assert (leads.inbox / "a.csv").read_bytes() == CSV
    assert (await daemon.job("a.csv")).state is State.WITHDRAWN


async def test_a_claim_that_was_not_written_down_goes_on_although_its_route_was_removed(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.route("other")
    daemon = await place.start()
    await daemon.acts.pause("a person")
    await daemon.run_until(lambda: place.told("job.discovered"))
    job = await daemon.job("a.csv")
    await daemon.stop()
    leads = place.routes.pop("leads")
    (leads.inbox / "a.csv").rename(leads.work / f"{job.id}-a.csv")  # as a claim leaves it that died before its commit

    daemon = await place.start()
    await daemon.acts.resume("a person")
    await daemon.run_to_idle()

    assert (leads.outbox / "a.csv").read_bytes() == answer(CSV)


async def test_a_moved_inbox_takes_nothing_from_where_it_was(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.acts.pause("a person")
    await daemon.run_until(lambda: place.told("job.discovered"))
    old = place.routes["leads"]
    new_inbox = old.inbox.with_name("new-inbox")
    new_inbox.mkdir()
    place.route(inbox=new_inbox, work=new_inbox / ".bulkgpt-watchd")
    place.drop("a.csv", OTHER)
    await reload(daemon, place)
    await daemon.acts.resume("a person")

    await daemon.run_to_idle()

    assert (old.inbox / "a.csv").read_bytes() == CSV
    assert place.files("outbox") == {"a.csv": answer(OTHER)}
