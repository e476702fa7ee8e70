"""A route that cannot be used waits, says so, and returns by itself; the others go on and nothing is lost."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.config import ApiSettings, Route
from bulkgpt_watchd.core.errors import DiskTrouble, Unavailable
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name
from bulkgpt_watchd.core.ports import Change
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Daemon, Place
from tests.sample_jobs import sample_job

CSV = b"Input_1\n1\n2\n3\n"


async def take(daemon: Daemon, place: Place) -> None:
    await daemon.discovery.take(place.routes.values())


@pytest.mark.parametrize("role", ["inbox", "outbox", "error", "archive"])
async def test_a_missing_folder_stops_its_route_only_until_it_is_back(place: Place, role: str) -> None:
    place.drop("a.csv", CSV, "broken")
    place.drop("b.csv", CSV, "whole")
    folder = getattr(place.routes["broken"], role)
    aside = folder.with_name("aside")
    folder.rename(aside)
    daemon = await place.start()
    await daemon.run_for(120.0)

    assert [facts["route"] for facts in place.told("route.unavailable")] == ["broken"]
    assert str(folder) in place.told("route.unavailable")[0]["reason"]
    assert place.files("outbox", "whole") == {"b.csv": answer(CSV)}

    aside.rename(folder)
    await daemon.run_to_idle()
    assert place.files("outbox", "broken") == {"a.csv": answer(CSV)}
    assert place.told("route.available") == [{"route": "broken"}]


async def test_an_outbox_that_vanishes_while_a_task_runs_costs_nothing(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    outbox = place.routes["leads"].outbox
    outbox.rename(outbox.with_name("aside"))
    await daemon.run_for(600.0)
    assert (await daemon.job("a.csv")).state is State.FINISHED

    outbox.with_name("aside").rename(outbox)
    await daemon.run_to_idle()

    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert len(place.api.accepted) == 1


@pytest.mark.fault("F30")
@pytest.mark.parametrize("is_on_network", [False, True])
async def test_what_was_being_sent_to_a_share_that_is_gone_is_a_doubt_at_once_and_holds_up_nobody(
    place: Place, is_on_network: bool
) -> None:
    """The daemon died awaiting an answer, and starts without the folders: the doubt needs none of them."""
    place.is_on_network = is_on_network
    place.settings = ApiSettings(max_outstanding=1)
    gone = place.route("gone")
    place.route("whole")
    daemon = await place.start()
    await daemon.turn(0.0)
    sent = sample_job(
        "a1000000",
        route="gone",
        file="a.csv",
        state=State.SUBMITTING,
        due_at=None,
        inbox=str(gone.inbox),
        work=str(gone.work),
    )
    await daemon.store.add([sent])
    await daemon.stop()
    (gone.work / sent_name(sent.id, sent.file)).write_bytes(CSV)
    (place.folder / "gone").rename(place.folder / "aside")
    place.drop("b.csv", b"a\n1\n", "whole")

    daemon = await place.start()
    await daemon.run_for(3600.0)

    doubt = await daemon.job("a.csv")
    assert (doubt.state, doubt.code) == (State.FAILING, "submission_unknown")
    assert place.files("outbox", "whole") == {"b.csv": answer(b"a\n1\n")}
    assert (daemon.scheduler.passage.gate.position, place.told("daemon.bug")) == ("open", [])

    (place.folder / "aside").rename(place.folder / "gone")
    await daemon.run_to_idle()
    assert place.files("error", "gone")["a.csv"] == CSV
    assert [sent.workflow_id for sent in place.api.accepted] == ["workflow of whole"]


@pytest.mark.fault("F31")
async def test_a_known_route_without_its_marker_is_left_alone_until_adopted(place: Place) -> None:
    daemon = await place.start()
    await daemon.turn()
    await daemon.stop()
    (place.routes["leads"].work / "route.json").unlink()
    place.drop("a.csv", CSV)

    daemon = await place.start()
    await daemon.run_for(60.0)
    assert "adopt leads" in place.told("route.unavailable")[0]["reason"]
    assert place.files("inbox") == {"a.csv": CSV}

    await daemon.acts.adopt("a person", "leads")
    await daemon.run_to_idle()
    assert place.files("outbox") == {"a.csv": answer(CSV)}


async def test_a_backlog_at_the_first_start_waits_for_a_person_and_is_told_in_rows(place: Place) -> None:
    place.route(hold_backlog=3)
    for number in range(5):
        place.drop(f"{number}.csv", b"a\n%d\n2\n" % number)
    daemon = await place.start()
    await daemon.run_for(600.0)

    assert len(place.files("inbox")) == 5
    assert "5 files (10 rows, 30 bytes)" in place.told("route.paused")[0]["reason"]

    await daemon.acts.resume("a person", "leads")
    await daemon.run_to_idle()
    assert len(place.files("outbox")) == 5


async def test_a_backlog_at_a_later_start_is_taken(place: Place) -> None:
    place.route(hold_backlog=3)
    daemon = await place.start()
    await daemon.turn()
    await daemon.stop()
    for number in range(5):
        place.drop(f"{number}.csv", b"a\n%d\n" % number)

    daemon = await place.start()
    await daemon.run_to_idle()

    assert len(place.files("outbox")) == 5


async def test_a_removed_route_finishes_what_it_paid_for_and_takes_nothing_new(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.drop("other.csv", b"a\n1\n", "other")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 2)
    leads = place.routes.pop("leads")
    await take(daemon, place)
    (leads.inbox / "new.csv").write_bytes(b"a\n2\n")

    await daemon.run_for(600.0)

    assert (leads.outbox / "a.csv").read_bytes() == answer(CSV)
    assert (leads.inbox / "new.csv").exists()


async def test_a_route_removed_while_the_daemon_was_down_drains_too(place: Place) -> None:
    place.drop("a.csv", CSV)
    place.route("other")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()
    leads = place.routes.pop("leads")

    daemon = await place.start()
    await daemon.run_for(600.0)

    assert (leads.outbox / "a.csv").read_bytes() == answer(CSV)


async def test_unsent_files_take_the_new_workflow_and_sent_ones_keep_theirs(place: Place) -> None:
    place.drop("sent.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.api.outage = Unavailable("connection refused")
    place.drop("unsent.csv", b"a\n1\n")
    await daemon.run_until(lambda: len(place.told("job.checked")) == 2)
    place.route(workflow_id="another workflow")
    await take(daemon, place)
    place.api.outage = None

    await daemon.run_to_idle()

    workflows = {job.file: job.workflow_id for job in await daemon.jobs()}
    assert workflows == {"sent.csv": "workflow of leads", "unsent.csv": "another workflow"}
    assert [submission.workflow_id for submission in place.api.accepted] == ["workflow of leads", "another workflow"]


@pytest.mark.fault("F36")
async def test_the_task_id_of_an_accepted_submit_outlives_a_full_disk(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    accept, refusals = daemon.store.accept, 0

    async def full(change: Change, settle: object) -> tuple[Change, ...]:
        nonlocal refusals
        refusals += 1
        if refusals <= 5:
            raise DiskTrouble("no space left on device")
        return await accept(change, settle)  # type: ignore[arg-type]  # handed through

    daemon.store.accept = full  # type: ignore[method-assign]  # the disk is full for a while
    await daemon.run_until(lambda: place.told("task.submitted"))
    assert place.told("task.submitted")[0]["task_id"] == place.api.accepted[0].task_id

    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).state is State.DONE
    assert len(place.api.accepted) == 1
    assert len(place.told("state.unwritable")) == 5


async def test_two_routes_keep_their_own_numbers(place: Place) -> None:
    routes: list[Route] = [place.route("one"), place.route("two")]
    for route in routes:
        place.drop("a.csv", CSV, route.name)
    daemon = await place.start()

    await daemon.run_to_idle()

    assert {key: number for key, number in daemon.scheduler.book.counts.items() if number} == {
        ("one", State.DONE): 1,
        ("two", State.DONE): 1,
    }
    assert await daemon.store.counts() == {("one", State.DONE): 1, ("two", State.DONE): 1}
