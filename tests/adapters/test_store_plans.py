"""No question of a running daemon reads all jobs."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters import sqlite_reads, sqlite_writes
from bulkgpt_watchd.adapters.sqlite_file import connect_to_write, prepare

STATEMENTS = {
    name: statement
    for module in (sqlite_reads, sqlite_writes)
    for name, statement in vars(module).items()
    if name.isupper() and isinstance(statement, str) and name not in {"SELECT", "INSERT", "ADD_UP"}
}

OPEN_JOBS = "SCAN jobs USING INDEX jobs_due"
"""The jobs that wait for something, and no other: read as a whole at the start, and when the clock was set."""


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_question_is_answered_from_an_index(name: str, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    prepare(path, lambda: 0.0, lambda: "uuid")
    statement = STATEMENTS[name]
    named = dict.fromkeys(re.findall(r":(\w+)", statement))

    with closing(connect_to_write(path)) as state:
        plan = [
            row[3] for row in state.execute(f"EXPLAIN QUERY PLAN {statement}", named or [None] * statement.count("?"))
        ]

    assert plan
    assert [line for line in plan if re.match(r"SCAN (?!counts|\w+ VIRTUAL TABLE)", line) and line != OPEN_JOBS] == []


def test_the_questions_are_all_there() -> None:
    assert {"DUE", "LISTED", "NEXT_DUE", "TWINS", "HOLDERS", "OUTSTANDING", "JOURNAL", "IS_CURRENT"} | {
        "SPENT",
        "ENDED",
        "ARCHIVED",
        "FORGET",
    } <= set(STATEMENTS)
