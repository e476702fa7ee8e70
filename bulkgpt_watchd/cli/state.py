"""Look into the state, beside a daemon or without one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.cli.ending import Ended
from bulkgpt_watchd.cli.options import config_path
from bulkgpt_watchd.cli.words import typed_path
from bulkgpt_watchd.core.exit_codes import NO_SUCH, STATE_TROUBLE
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.names import printable

if TYPE_CHECKING:
    from bulkgpt_watchd.config import Place

NAMED_AT_MOST = 5
"""Jobs that are listed where a beginning of an ID fits several: enough to see how much more to type."""


ID_LENGTH = 8
"""Of a whole job ID (contract: commands)."""


def start_it() -> str:
    """Say how to start the daemon of this configuration."""
    from bulkgpt_watchd.config import default_path

    path = config_path()
    named = "" if path == default_path({}) else f"-c {typed_path(path)} "
    return f"start it with `systemctl start bulkgpt-watchd` or `bulkgpt-watchd {named}run`"


@contextmanager
def open_state(place: Place) -> Iterator[StateReader]:
    """
    Open the state for one look.

    Errors: Ended, StateUnusable, DiskTrouble.
    """
    with StateReader.open(state_path(place)) as state:
        yield state


def state_path(place: Place) -> Path:
    """
    Give the path of a state that is there.

    Errors: Ended.
    """
    path = place.state.path
    try:
        os.lstat(path)
    except FileNotFoundError:
        raise Ended(
            f"no state at {printable(str(path))} yet: the daemon has not run with this configuration; {start_it()}",
            STATE_TROUBLE,
        ) from None
    except OSError:
        pass  # opening it says what is wrong
    return path


def find_job(state: StateReader, name: str) -> Job:
    """
    Find a job by its ID or the beginning of it.

    Errors: Ended: there is none, or there are several.
    """
    found = _by_id(state, name)
    if len(found) == 1:
        return found[0]
    latest = state.latest(name)
    hint = "" if latest is None else f"; the latest job of that file is {latest.id}"
    raise _no_job(name, found, hint)


def find_job_or_file(state: StateReader, name: str) -> Job:
    """
    Find a job by its ID, the beginning of it, or the name of its file: then the latest one.

    Errors: Ended: there is none, or there are several.
    """
    found = _by_id(state, name)
    if len(found) == 1:
        return found[0]
    latest = state.latest(name)
    if latest is None:
        raise _no_job(name, found, "; `bulkgpt-watchd jobs` lists them")
    return latest


def no_route(name: str, known: Iterable[str]) -> Ended:
    """Say which routes there are, where there is none of that name."""
    names = ", ".join(sorted(map(printable, known)))
    return Ended(f"there is no route {printable(name)!r}; there are: {names or 'none'}", NO_SUCH)


def _by_id(state: StateReader, name: str) -> list[Job]:
    job = state.get(name)
    if job is not None:
        return [job]
    return state.matching(name) if name else []


def _no_job(name: str, found: list[Job], hint: str) -> Ended:
    if not found:
        pruned = "; one that ended long ago is forgotten (`keep.history`)" if len(name) == ID_LENGTH else ""
        return Ended(f"there is no job {printable(name)!r}{hint}{pruned}", NO_SUCH)
    names = ", ".join(f"{job.id} ({printable(job.file)})" for job in found[:NAMED_AT_MOST])
    more = f" and {len(found) - NAMED_AT_MOST} more" if len(found) > NAMED_AT_MOST else ""
    return Ended(f"{printable(name)!r} may be {names}{more}: write more of the ID", NO_SUCH)
