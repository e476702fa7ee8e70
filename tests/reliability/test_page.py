"""Hold docs/reliability.md to its rows, to the tests that show them, and to what those came to when they last ran."""

from __future__ import annotations

import json
import re

from tests.reliability.evidence import EVIDENCE
from tests.reliability.page import FAULTS, PAGE, page, shown

EVIDENCE_BY_TEST = json.loads(EVIDENCE.read_text())


def test_the_page_is_what_the_runs_said() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python -m tests.reliability.page"


def test_every_row_has_a_test_or_says_why_not() -> None:
    tests = shown()
    assert [row for row, about in FAULTS["rows"].items() if row not in tests and "not_shown" not in about] == []


def test_every_mark_names_a_row() -> None:
    assert shown().keys() - FAULTS["rows"].keys() == set()


def test_no_test_that_shows_a_fault_failed_when_it_last_ran() -> None:
    """One that has never run is shown as such on the page."""
    marked = {test for tests in shown().values() for test in tests}
    assert EVIDENCE_BY_TEST.keys() - marked == set(), "these are gone: take them out of evidence.json"
    assert [test for test, came_to in EVIDENCE_BY_TEST.items() if not came_to.keys() & {"passed", "skipped"}] == []
    assert [test for test, came_to in EVIDENCE_BY_TEST.items() if came_to.keys() & {"failed", "error"}] == []


def test_the_rows_are_numbered_without_a_gap() -> None:
    numbers = [re.fullmatch(r"([FS])(\d+)", row) for row in FAULTS["rows"]]
    assert [match and (match[1], int(match[2])) for match in numbers] == [
        *(("F", number) for number in range(1, 49)),
        *(("S", number) for number in range(1, 30)),
    ]
