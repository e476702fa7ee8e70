"""The archive is emptied as `keep.archive` says, of our own and of nothing else."""

from __future__ import annotations

import errno
import json

import pytest

from bulkgpt_watchd.config import KeepSettings
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.scheduler.keeping import Keeper
from tests.adapters.kernels import Failing
from tests.daemon import Daemon, Place
from tests.scenarios.conftest import DAY_S, keep


async def test_the_archive_is_emptied_of_our_own_and_of_nothing_else(place: Place) -> None:
    place.route(keep=KeepSettings(archive=7 * DAY_S))
    for name in ("a.csv", "b.csv", "c.csv"):
        place.drop(name, name.encode() + b"\n1\n")
    daemon = await place.start()
    await daemon.run_to_idle()
    archive = place.routes["leads"].archive
    (archive / "foreign.csv").write_bytes(b"somebody else's")
    (archive / "b.csv.receipt.json").write_text(json.dumps({"job": "another0"}))
    (archive / "c.csv").unlink()

    await keep(daemon, 6 * DAY_S)
    assert "a.csv" in place.files("archive")
    await keep(daemon, 2 * DAY_S)

    assert place.files("archive").keys() == {"foreign.csv", "b.csv", "b.csv.receipt.json"}
    assert {job.archive_path for job in await daemon.jobs()} == {None}
    assert len(place.told("job.cleared")) == 3


async def test_a_result_can_be_had_again_after_its_original_was_removed(place: Place) -> None:
    place.route(keep=KeepSettings(archive=DAY_S))
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    await keep(daemon, 2 * DAY_S)
    job = await daemon.job("a.csv")

    await daemon.acts.redeliver("a person", job.id)
    await daemon.run_to_idle()

    assert len(place.files("outbox")) == 2
    assert sum(spent.files for spent in (await daemon.store.spent(job.passed_at or 0.0)).values()) == 1


async def test_a_result_that_cannot_be_had_again_leaves_the_first_delivery(place: Place) -> None:
    """Its file is in the archive: nothing stands in error, nothing waits for a person, and it is forgotten in time."""
    place.route(keep=KeepSettings(archive=DAY_S, history=7 * DAY_S))
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    before = await daemon.job("a.csv")
    place.api.tasks.clear()

    await daemon.acts.redeliver("a person", before.id)
    await daemon.run_to_idle()

    after = await daemon.job("a.csv")
    assert (after.state, after.code, after.result_path) == (State.DONE, None, before.result_path)
    assert place.files("error") == {}
    assert [facts["code"] for facts in place.told("job.not_redelivered")] == ["task_unknown"]
    await keep(daemon, 2 * DAY_S)
    assert place.files("archive") == {}
    await keep(daemon, 8 * DAY_S)
    assert await daemon.jobs() == []


async def test_an_archive_that_cannot_be_written_is_tried_the_next_time(place: Place) -> None:
    place.route(keep=KeepSettings(archive=DAY_S))
    place.drop("a.csv")
    kernel = Failing({})
    daemon = await place.build(kernel)
    await daemon.begin()
    await daemon.run_to_idle()
    place.clock.advance(2 * DAY_S)
    kernel.errors, kernel.left = {"unlink": errno.EROFS}, {"unlink": -1}
    await Keeper(daemon.scheduler.book).tidy()
    kernel.errors = {}
    assert place.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}

    await keep(daemon, 0.0)

    assert place.files("archive") == {}


async def three_delivered(place: Place, kernel: Failing | None = None) -> Daemon:
    """Deliver a.csv, b.csv and c.csv, one after the other."""
    place.route(keep=KeepSettings(archive=7 * DAY_S))
    daemon = await place.build(kernel)
    await daemon.begin()
    for name in ("a.csv", "b.csv", "c.csv"):
        place.drop(name, name.encode() + b"\n1\n")
        await daemon.run_to_idle()
    return daemon


async def test_an_original_that_cannot_be_removed_keeps_no_other(place: Place) -> None:
    kernel = Failing({})
    daemon = await three_delivered(place, kernel)
    kernel.errors, kernel.left = {"unlink": errno.EBUSY}, {"unlink": 1}

    await keep(daemon, 8 * DAY_S)

    assert place.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}
    [kept] = place.told("archive.kept")
    assert kept["jobs"] == 1
    assert kept["reason"].startswith(f"cannot remove {place.routes['leads'].archive}/a.csv: ")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_a_person_put_in_the_place_of_an_original_is_not_ours(place: Place, kind: str) -> None:
    daemon = await three_delivered(place)
    original = place.routes["leads"].archive / "a.csv"
    original.unlink()
    if kind == "file":
        original.write_bytes(b"mine\n1\n")
    elif kind == "folder":
        original.mkdir()
    else:
        original.symlink_to("elsewhere.csv")

    await keep(daemon, 8 * DAY_S)

    assert original.is_symlink() or original.exists()
    assert {path.name for path in original.parent.iterdir()} == {"a.csv", "a.csv.receipt.json"}
    assert {job.archive_path for job in await daemon.jobs()} == {None}


async def test_a_job_is_known_until_its_original_was_removed(place: Place) -> None:
    """Without the job, nobody would ever know that the original is ours to remove."""
    place.route(keep=KeepSettings(archive=30 * DAY_S))
    place.drop("a.csv")
    daemon = await place.start()
    await daemon.run_to_idle()
    await keep(daemon, 2 * DAY_S)

    assert await daemon.acts.prune("a person", older_than_s=DAY_S) == {
        "forgotten": {},
        "kept": {"whose original stands in the archive until `keep.archive` is over": 1},
        "more": False,
    }
    await keep(daemon, 29 * DAY_S)
    assert place.files("archive") == {}
    assert (await daemon.acts.prune("a person", older_than_s=DAY_S))["forgotten"] == {"done": 1}
