"""When a file counts as whole (contract: what is taken, and when)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.core.job import Stamp
from bulkgpt_watchd.core.settle import Quiet, Settler

QUIET = Quiet(settle_s=10.0, empty_grace_s=300.0, needs_marker=False)
MARKER = replace(QUIET, needs_marker=True)
RENAME = replace(QUIET, settle_s=0.0)
FILE = Stamp(inode=1, bytes=24, mtime_ns=5)
EMPTY = replace(FILE, bytes=0)


@dataclass
class Inbox:
    """Look at an inbox as the daemon does; of *ended* the last byte is a newline, of *marked* the marker is there."""

    quiet: Quiet = QUIET
    ended: frozenset[str] = frozenset({"a"})
    marked: frozenset[str] = frozenset()
    settler: Settler = field(default_factory=Settler)
    next_s: float = math.inf
    asked: list[str] = field(default_factory=list)

    def look(self, now: float, **files: Stamp) -> list[str]:
        self.asked = self.settler.candidates(files, now, self.quiet)
        ends = {name: name in self.ended for name in self.asked}
        whole, self.next_s = self.settler.observe(files, self.marked, now, self.quiet, ends)
        return whole


# --- rename -----------------------------------------------------------------------------------------------------------


def test_a_file_that_was_renamed_into_place_is_whole_at_the_first_look() -> None:
    inbox = Inbox(RENAME, ended=frozenset())
    for now in (0, 1):
        assert inbox.look(now, a=FILE) == ["a"]
        assert inbox.asked == []


# --- marker -----------------------------------------------------------------------------------------------------------


def test_a_file_with_its_marker_is_whole_at_the_first_look() -> None:
    assert Inbox(MARKER, marked=frozenset({"a"})).look(0, a=FILE, b=FILE) == ["a"]


def test_a_file_without_its_marker_is_never_whole_and_asks_for_no_look() -> None:
    inbox = Inbox(MARKER)
    for now in (0, 10, 10**6):
        assert inbox.look(now, a=FILE) == []
        assert inbox.next_s == math.inf
        assert inbox.asked == []


def test_a_marker_is_a_promise_for_an_empty_file_too() -> None:
    assert Inbox(MARKER, marked=frozenset({"a"})).look(0, a=EMPTY) == ["a"]


# --- quiet ------------------------------------------------------------------------------------------------------------


def test_a_file_is_whole_when_it_was_the_same_for_settle() -> None:
    inbox = Inbox()
    assert inbox.look(100, a=FILE) == []
    assert inbox.look(109.9, a=FILE) == []
    assert inbox.look(110, a=FILE) == ["a"]


def test_a_short_settle_is_kept_to_as_a_long_one_is() -> None:
    inbox = Inbox(replace(QUIET, settle_s=0.25))
    assert inbox.look(0, a=FILE) == []
    assert inbox.next_s == 0.25
    assert inbox.look(0.125, a=FILE) == []
    assert inbox.look(0.25, a=FILE) == ["a"]


def test_one_look_is_never_enough_not_even_for_a_file_that_was_there_at_the_start() -> None:
    for now in (0, 10**9):
        assert Inbox().look(now, a=FILE) == []


def test_nothing_is_known_after_a_restart() -> None:
    inbox = Inbox()
    inbox.look(0, a=FILE)
    inbox.settler = Settler()
    assert inbox.look(1000, a=FILE) == []
    assert inbox.look(1010, a=FILE) == ["a"]


@pytest.mark.parametrize("change", [{"inode": 2}, {"bytes": 25}, {"bytes": 23}, {"mtime_ns": 6}, {"mtime_ns": 4}])
def test_any_change_starts_the_wait_anew(change: dict[str, int]) -> None:
    inbox, changed = Inbox(), replace(FILE, **change)
    inbox.look(0, a=FILE)
    assert inbox.look(9, a=changed) == []
    assert inbox.look(18, a=changed) == []
    assert inbox.look(19, a=changed) == ["a"]


def test_a_file_that_went_and_came_back_starts_anew() -> None:
    inbox = Inbox()
    inbox.look(0, a=FILE)
    inbox.look(5)
    assert inbox.look(10, a=FILE) == []
    assert inbox.look(20, a=FILE) == ["a"]


def test_what_is_whole_stays_whole_until_it_is_taken() -> None:
    inbox = Inbox()
    inbox.look(0, a=FILE)
    assert inbox.look(10, a=FILE) == ["a"]
    assert inbox.look(11, a=FILE) == ["a"]


def test_one_busy_file_holds_up_no_other() -> None:
    inbox = Inbox()
    inbox.look(0, a=FILE, b=FILE)
    assert inbox.look(10, a=FILE, b=replace(FILE, bytes=99)) == ["a"]


@pytest.mark.fault("F25")
@pytest.mark.parametrize("mtime_ns", [-1, 978_307_200 * 10**9, 4_300_000_000 * 10**9, 2**62])
def test_an_mtime_is_never_compared_with_a_clock(mtime_ns: int) -> None:
    """Senders set 2001 and 2106."""
    inbox, stamp = Inbox(), replace(FILE, mtime_ns=mtime_ns)
    assert inbox.look(0, a=stamp) == []
    assert inbox.look(10, a=stamp) == ["a"]


# --- no newline at the end --------------------------------------------------------------------------------------------


def test_a_file_that_ends_without_a_newline_waits_six_times_as_long() -> None:
    inbox = Inbox(ended=frozenset())
    inbox.look(0, a=FILE)
    assert inbox.look(59.9, a=FILE) == []
    assert inbox.look(60, a=FILE) == ["a"]


def test_the_last_byte_is_asked_for_once_and_only_of_a_quiet_file() -> None:
    inbox = Inbox(ended=frozenset())
    asked = list[list[str]]()
    for now in (0, 5, 10, 20, 60):
        inbox.look(now, a=FILE)
        asked.append(inbox.asked)
    assert asked == [[], [], ["a"], [], []]


def test_the_last_byte_is_asked_for_again_when_the_file_changed() -> None:
    inbox, changed = Inbox(ended=frozenset()), replace(FILE, bytes=25)
    for now in (0, 10):
        inbox.look(now, a=FILE)
    inbox.ended = frozenset({"a"})
    inbox.look(11, a=changed)
    assert inbox.look(21, a=changed) == ["a"]


# --- empty ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [QUIET, RENAME])
def test_an_empty_file_is_left_for_empty_grace(quiet: Quiet) -> None:
    inbox = Inbox(quiet, ended=frozenset())
    for now in (0, 10, 299):
        assert inbox.look(now, a=EMPTY) == []
        assert inbox.asked == []
    assert inbox.look(300, a=EMPTY) == ["a"]


def test_content_that_came_after_all_settles_as_any_other() -> None:
    inbox = Inbox()
    inbox.look(0, a=EMPTY)
    inbox.look(200, a=FILE)
    assert inbox.look(210, a=FILE) == ["a"]


# --- the next look ----------------------------------------------------------------------------------------------------


def test_the_next_look_is_worth_while_when_the_first_file_may_be_whole() -> None:
    inbox = Inbox(ended=frozenset({"a"}))
    inbox.look(0, a=FILE)
    assert inbox.next_s == 10
    inbox.look(4, a=FILE, b=FILE)
    assert inbox.next_s == 6
    inbox.look(10, a=FILE, b=FILE)
    assert inbox.next_s == 4
    inbox.look(14, b=FILE)
    assert inbox.next_s == 50
    inbox.look(14, e=EMPTY)
    assert inbox.next_s == 300
    inbox.look(15)
    assert inbox.next_s == math.inf


# --- any inbox, any looks ---------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
FILES = st.dictionaries(st.sampled_from(NAMES), st.builds(Stamp, st.just(1), st.integers(0, 2), st.integers(0, 1)))
LOOKS = st.lists(st.tuples(st.sampled_from([0, 1, 5, 10, 40, 150]), st.none() | st.none() | FILES), max_size=25)
"""Seconds since the look before, and what is there; None: the same."""


def expected(history: list[tuple[int, Mapping[str, Stamp]]], name: str, *, is_ended: bool) -> bool:
    """Say by the words of the contract whether *name* is whole at the last look."""
    now, files = history[-1]
    looks = 0
    since = now
    for then, then_files in reversed(history):
        if then_files.get(name) != files[name]:
            break
        looks, since = looks + 1, then
    if files[name].bytes == 0:
        return now - since >= QUIET.empty_grace_s
    return looks >= 2 and now - since >= (QUIET.settle_s if is_ended else 6 * QUIET.settle_s)


@settings(max_examples=300)
@given(LOOKS, st.frozensets(st.sampled_from(NAMES)), st.integers(-(10**6), 10**6))
def test_any_looks_settle_what_the_contract_says(
    looks: list[tuple[int, dict[str, Stamp] | None]], ended: frozenset[str], start: int
) -> None:
    """Only differences of our own clock count; a look before the told time finds nothing new."""
    inbox, now = Inbox(ended=ended), start
    history: list[tuple[int, Mapping[str, Stamp]]] = []
    whole: list[str] = []
    files: dict[str, Stamp] = {}
    for wait_s, changed in looks:
        is_early = changed is None and wait_s < inbox.next_s
        files = files if changed is None else changed
        before, now = whole, now + wait_s
        history.append((now, files))
        whole = inbox.look(now, **files)
        assert whole == [name for name in files if expected(history, name, is_ended=name in ended)]
        assert inbox.next_s > 0
        if is_early:
            assert sorted(whole) == sorted(before)
