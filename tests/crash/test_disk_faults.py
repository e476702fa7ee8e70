"""
Make the disk below the real process sick: errors, a full disk, too few descriptors, half transfers, slowness.

The long form hits every call of a file's way; the short form draws some by a seed.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import TypeVar

import pytest

from bulkgpt_watchd.cli.control import reach
from tests.crash.endings import has_ended
from tests.crash.faults import (
    A_WHILE,
    ENDS_WITHIN_S,
    KINDS,
    NO_CALLER,
    NO_SOCKET,
    ONCE,
    PACE,
    SYNCS,
    UNTIL_MENDED,
    Kind,
    Sick,
    Span,
    Trouble,
    check,
    live_through,
)
from tests.crash.forked import ForkingBed
from tests.crash.processes import Bed, wait_until
from tests.crash.tracer import why_not
from tests.notified import Manager

NO_FAULTS = "faults: []\n"

FEWEST = 8
"""A file's way has at least so many calls of each kind."""

FLUSH_S = 3.0
WATCHED_S = 20.0
"""A ninth of what our unit allows; an answer about health may take half of that."""

Record = Callable[[str, object], None]
B = TypeVar("B", bound=Bed)


@pytest.mark.timeout(240)  # twenty seconds, most of them waits of the daemon
@pytest.mark.fault("F36", "F38", "F40")
def test_a_sick_disk_loses_nothing_and_pays_nothing_twice(tmp_path: Path, record_property: Record) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CRASH_SEED={seed}")  # noqa: T201  # shown where the test fails
    record_property("seed: CRASH_SEED", seed)
    chance = random.Random(seed)
    sick = bedded(tmp_path)
    with sick.bed.sandbox(0), sick.living():
        hit = [
            suffer(sick, name, Trouble(kind, chance.randint(1, FEWEST), span), record_property)
            for name, kind in KINDS.items()
            for span in (ONCE, A_WHILE)
        ]
    assert all(hit), "each trouble met a call"


# 20 to 150 calls of each kind, each with a file that takes half a second to two: 1 to 3 minutes each on two cores.
@pytest.mark.system
@pytest.mark.timeout(3600)
@pytest.mark.fault("F36", "F38", "F40")
@pytest.mark.parametrize("span", [ONCE, A_WHILE], ids=["once", "a while"])
@pytest.mark.parametrize("name", KINDS)
def test_trouble_at_every_call_loses_nothing_and_pays_nothing_twice(
    name: str, span: Span, tmp_path: Path, record_property: Record
) -> None:
    assert suffer_at_each(name, span, tmp_path, record_property) > FEWEST


@pytest.mark.system  # at the same cost
@pytest.mark.timeout(3600)
@pytest.mark.fault("F36", "F38")
@pytest.mark.parametrize("name", ["EIO at a sync", "ENOSPC"])
def test_a_disk_that_fails_for_good_is_waited_for(name: str, tmp_path: Path, record_property: Record) -> None:
    assert suffer_at_each(name, UNTIL_MENDED, tmp_path, record_property) > FEWEST


def suffer_at_each(name: str, span: Span, root: Path, record: Record) -> int:
    """Live through a trouble at one call of a file's way after the other; give how many there are."""
    sick = bedded(root)
    at = 0
    with sick.bed.sandbox(0), sick.living():
        while suffer(sick, name, Trouble(KINDS[name], at := at + 1, span), record):
            pass
    return at


@pytest.mark.system  # as the other troubles that last, a few seconds
@pytest.mark.timeout(120)
@pytest.mark.fault("F40")
def test_where_no_socket_can_be_made_files_wait_and_who_asks_is_answered_later(
    tmp_path: Path, record_property: Record
) -> None:
    sick = bedded(tmp_path)
    with sick.bed.sandbox(0), sick.living():
        assert suffer(sick, "EMFILE at a socket", Trouble(NO_SOCKET, 1, A_WHILE), record_property)
        sick.trouble = trouble = Trouble(NO_CALLER, 1, A_WHILE)
        assert is_well(sick.bed)
        assert trouble.hit
        check(sick.bed)


@pytest.mark.system  # 60 calls of each kind, each with a start or two of half a second
@pytest.mark.timeout(3600)
@pytest.mark.fault("F36", "F38", "F40")
@pytest.mark.parametrize("name", ["EIO at a sync", "EIO at a write", "ENOSPC", "EMFILE"])
def test_trouble_at_a_start_is_waited_out_or_ends_it_with_74(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    bed = made(ForkingBed, tmp_path)
    sick, ended = Sick(bed), 0
    with bed.sandbox(0), bed.mother():
        for at in itertools.count(1):
            bed.begin_anew(tmp_path / str(at))
            bed.dropper.put("leads", "a.csv", b"Input_1\n1\n")
            trouble = Trouble(KINDS[name], at, A_WHILE)
            with sick.living(trouble, may_end=True):
                is_met = bool(trouble.hit)
                wait_until(lambda: sick.is_over or has_ended(bed), ENDS_WITHIN_S)
            if sick.exit_code != 0:
                ended += 1
                told = bed.lines("daemon.failed")[-1]
                assert (sick.exit_code, told["exit_code"]) == (74, 74), told
                assert str(bed.state.parent) in told["reason"], told
                bed.check_instant()
                with sick.living():
                    wait_until(lambda: has_ended(bed), ENDS_WITHIN_S)
            check(bed)
            if not is_met:
                break
            record_property(f"counted: system calls of a start hit by {name}", len(trouble.hit))
    assert len(bed.lines("daemon.failed")) == ended > 0


@pytest.mark.system  # half a minute, which are flushes
@pytest.mark.timeout(300)
@pytest.mark.fault("F46")
def test_a_flush_of_seconds_keeps_nobody_waiting_but_the_file(tmp_path: Path, record_property: Record) -> None:
    sick = bedded(tmp_path)
    with Manager(WATCHED_S) as manager, sick.bed.sandbox(0):
        sick.bed.before = ("env", *(f"{name}={value}" for name, value in manager.environ.items()))
        with sick.living():
            trouble = sick.trouble = Trouble(Kind(SYNCS, slow_s=FLUSH_S), 1, Span(8, 60.0))
            sick.bed.dropper.put("leads", "a.csv", b"Input_1\n1\n")
            began_at = fed_at = time.monotonic()
            while not has_ended(sick.bed):
                assert is_well(sick.bed)
                fed_at = time.monotonic() if any("WATCHDOG" in facts for facts in manager.heard()) else fed_at
                assert time.monotonic() < fed_at + WATCHED_S
            assert time.monotonic() > began_at + 2 * FLUSH_S
            check(sick.bed)
    record_property(f"counted: flushes of {FLUSH_S:g} s", len(trouble.hit))


def is_well(bed: Bed) -> bool:
    """Ask `/healthz`; an answer that is late is an error."""
    with reach(bed.settings) as connected:
        connected.settimeout(WATCHED_S)
        connection = HTTPConnection("localhost")
        connection.sock = connected
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK


def bedded(root: Path) -> Sick:
    return Sick(made(Bed, root))


def made(kind: type[B], root: Path) -> B:
    if reason := why_not():
        pytest.skip(reason)
    bed = kind(root, 0, NO_FAULTS)
    bed.pace = PACE
    return bed


def suffer(sick: Sick, name: str, trouble: Trouble, record: Record) -> bool:
    """Live through one trouble; tell whether the way was long enough for it."""
    live_through(sick, trouble)
    record(f"counted: system calls hit by {name}", len(trouble.hit))
    return bool(trouble.hit)
