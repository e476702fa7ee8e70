"""A sent name in work wins over older rows of jobs that had failed, also over those that know a task."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkgpt_watchd.core.errors import CommandRefused
from bulkgpt_watchd.core.job import State
from tests.daemon import Place
from tests.scenarios.test_restored_state import CSV, copy_state, fail_for_its_rows, restore_state, retry_and_send


async def test_a_file_on_its_way_to_error_in_the_older_state_is_a_doubt(place: Place, tmp_path: Path) -> None:
    daemon = await fail_for_its_rows(place)
    await daemon.stop()
    # The same file once more, up to where its verdict is written down and it is not moved yet.
    route = place.routes["leads"]
    place.route(csv=route.csv.model_copy(update={"max_rows": 2}))
    place.drop("b.csv", b"a\n1\n2\n3\n")
    daemon = await place.start()
    await daemon.run_until(lambda: len(place.told("job.failed")) == 2)
    job = await daemon.job("b.csv")
    assert job.state is State.FAILING
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    place.route(csv=route.csv)
    await (await place.start()).run_to_idle()
    await place.close()
    await retry_and_send(place, job.id)

    restore_state(place, tmp_path / "backup")
    daemon = await place.start()
    await daemon.run_for(600.0)
    try:
        await daemon.acts.retry("a person", [job.id])
        await daemon.run_for(600.0)
    except CommandRefused:
        pass

    assert len(place.api.accepted) == 1, "paid twice"
    assert any(found.is_doubt for found in await daemon.jobs())


@pytest.mark.parametrize("is_paid", [False, True])
async def test_a_file_paid_again_after_the_backup_is_a_doubt(place: Place, tmp_path: Path, is_paid: bool) -> None:
    place.drop("a.csv", CSV)
    place.api.on_accept = lambda task: setattr(task, "end", "error")
    daemon = await place.start()
    await daemon.run_to_idle()
    job = await daemon.job("a.csv")
    assert job.code == "task_error"
    if is_paid:
        await daemon.acts.retry("a person", [job.id], pay_again=True)
    await daemon.stop()
    copy_state(place, tmp_path / "backup")
    place.api.on_accept = lambda _task: None
    daemon = await place.start()
    if not is_paid:
        await daemon.acts.retry("a person", [job.id], pay_again=True)
    await daemon.run_until(lambda: len(place.told("task.submitted")) == 2)
    await daemon.stop()

    restore_state(place, tmp_path / "backup")
    daemon = await place.start()
    await daemon.run_for(600.0)
    place.drop("again.csv", CSV)  # after task_error the same bytes may simply be dropped again
    await daemon.run_for(600.0)

    assert len(place.api.accepted) == 2, "paid a third time, and the second result is never fetched"
