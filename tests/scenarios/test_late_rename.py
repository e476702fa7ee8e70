"""A share that hung at the point of no return may do the rename when it comes back: that alone is no doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.core.errors import Unavailable
from bulkgpt_watchd.core.events import Deferred, Passed
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.names import sent_name, work_name
from tests.adapters.kernels import Hooked
from tests.daemon import Daemon, Place


class Late(Hooked):
    """Do a rename just before the file is opened under its old name."""

    def __init__(self) -> None:
        self.planned: tuple[Path, Path] | None = None

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self.planned is not None and name == "open" and args[0] == self.planned[0].name:
            source, target = self.planned
            self.planned = None
            source.rename(target)
        return call(*args, **named)


async def with_a_late_rename(place: Place, kernel: Late | None = None) -> Daemon:
    """
    Let a submit pass and be taken back, and the file get its sent name all the same, after that.

    With *kernel* as late as can be: when the next submit opens it.
    """
    place.drop("a.csv")
    place.api.outage = Unavailable("connection refused")
    daemon = await place.build(kernel)
    await daemon.begin()
    await daemon.run_until(lambda: place.told("job.checked"))
    ready = await daemon.job("a.csv")
    passed = await daemon.scheduler.book.commit(ready, Passed("workflow of leads"))
    assert passed is not None
    await daemon.scheduler.book.commit(passed, Deferred("a folder hangs"))
    work = place.routes["leads"].work
    source, target = work / work_name(ready.id, ready.file), work / sent_name(ready.id, ready.file)
    if kernel is None:
        source.rename(target)
    else:
        kernel.planned = source, target
    place.api.outage = None
    return daemon


async def test_a_rename_that_was_done_late_makes_no_doubt_of_what_was_certainly_not_sent(place: Place) -> None:
    daemon = await with_a_late_rename(place)
    daemon.scheduler.inboxes["leads"].is_open = False  # as after every trouble with a folder: it is opened anew
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).state is State.DONE
    assert len(place.api.accepted) == 1


@pytest.mark.parametrize("kernel", [None, Late()])
async def test_the_next_submit_gives_the_name_back_however_late_it_came(place: Place, kernel: Late | None) -> None:
    daemon = await with_a_late_rename(place, kernel)
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).state is State.DONE
    assert len(place.api.accepted) == 1
    assert kernel is None or kernel.planned is None


async def test_another_process_cannot_know_and_asks_a_person(place: Place) -> None:
    daemon = await with_a_late_rename(place)
    await daemon.stop()
    daemon = await place.start()
    await daemon.run_to_idle()

    assert (await daemon.job("a.csv")).code == "submission_unknown"
    assert len(place.api.accepted) == 0
