"""A machine's clock may be wrong at one start and right at the next."""

from __future__ import annotations

from bulkgpt_watchd.core.errors import OutcomeUnknown
from bulkgpt_watchd.core.job import State
from tests.daemon import Place
from tests.fakes import SubmitFault
from tests.scenarios.conftest import DAY_S


async def test_a_clock_that_was_ahead_puts_nothing_off_for_long(place: Place) -> None:
    """A machine may boot with a wrong date, and have it corrected while the daemon does not run."""
    place.drop("running.csv")
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("task.submitted"))
    place.api.plan(SubmitFault(OutcomeUnknown("no answer"), contains=b"doubt"))
    place.drop("doubt.csv", b"a\ndoubt\n")
    await daemon.run_until(lambda: place.told("gate.shut"))
    await daemon.stop()

    place.clock.at -= 400 * DAY_S
    for task in place.api.tasks.values():  # BulkGPT's own clock was right all the time
        task.accepted_at -= 400 * DAY_S
    daemon = await place.start()
    await daemon.run_until(lambda: place.told("job.done") and place.told("gate.half_opened"), within_s=3_601.0)

    assert (await daemon.job("running.csv")).state is State.DONE
