"""One file goes there and back: what every other scenario takes for granted."""

from __future__ import annotations

import pytest

from bulkgpt_watchd.config.route import PollSettings
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.sandbox import answer
from tests.daemon import Place
from tests.fakes import STARTED_AT

CSV = b"Input_1\n1\n2\n3\n"


async def test_a_dropped_file_comes_back_and_its_original_is_archived(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()

    await daemon.run_until(lambda: place.told("job.done"))

    assert place.files("outbox") == {"a.csv": answer(CSV)}
    assert place.files("archive").keys() == {"a.csv", "a.csv.receipt.json"}
    assert place.files("work").keys() == {"route.json"}
    assert place.files("inbox") == place.files("error") == {}
    assert [submission.csv for submission in place.api.accepted] == [CSV]


async def test_a_restart_forgets_nothing_and_submits_nothing_twice(place: Place) -> None:
    place.drop("a.csv", CSV)
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    await daemon.stop()

    daemon = await place.start()
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).state is State.DONE
    assert len(place.api.accepted) == 1


@pytest.mark.fault("F12")
async def test_a_task_of_a_week_takes_no_time(place: Place) -> None:
    place.route(task_timeout=30 * 86_400.0, scan_every=3_600.0, poll=PollSettings(max=3_600.0))
    place.drop("a.csv", CSV)
    place.api.runs_s = 7 * 86_400.0
    daemon = await place.start()

    await daemon.run_until(lambda: place.told("job.done"), within_s=8 * 86_400.0)

    assert place.clock.now() - STARTED_AT > 7 * 86_400.0


async def test_a_recursive_route_keeps_the_path_in_every_folder(place: Place) -> None:
    place.route(recursive=True)
    place.drop("north/2026/a.csv", CSV)
    place.drop("south/bad.csv", b"a,b\n1\n")
    daemon = await place.start()

    await daemon.run_to_idle()

    assert place.files("outbox") == {"north/2026/a.csv": answer(CSV)}
    assert place.files("archive").keys() == {"north/2026/a.csv", "north/2026/a.csv.receipt.json"}
    assert place.files("error").keys() == {"south/bad.csv", "south/bad.csv.error.json"}
