"""What a job and its row have to do with one another."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.adapters.sqlite_file import connect_to_write, prepare
from bulkgpt_watchd.adapters.sqlite_rows import COLUMNS, difference, job_of, row_of
from bulkgpt_watchd.core.job import Job, State

any_text = st.text(st.characters(), max_size=20)  # surrogates and NUL included
any_name = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
any_integer = st.integers(-(2**63), 2**63 - 1)
any_number = st.floats(allow_nan=False)

BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": any_text,
    "float": any_number,
    "int": any_integer,
    "bool": st.booleans(),
    "State": st.sampled_from(State),
    "tuple[str, ...]": st.lists(any_text, max_size=3).map(tuple),
}
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("file", "inbox", "work", "result_path", "archive_path", "error_path"), any_name),
    "inode": st.integers(0, 2**64),
    "mtime_ns": st.integers(-(2**80), 2**80),
}


def any_field(name: str, kind: str) -> st.SearchStrategy[Any]:
    plain = BY_NAME[name] if name in BY_NAME else BY_TYPE[kind.removesuffix(" | None")]
    return st.none() | plain if kind.endswith(" | None") else plain


any_job = st.builds(Job, **{field.name: any_field(field.name, str(field.type)) for field in fields(Job)})


def empty_state(folder: Path) -> sqlite3.Connection:
    path = folder / "state.db"
    prepare(path, lambda: 0.0, lambda: "uuid")
    return connect_to_write(path)


def test_jobs_has_one_column_for_every_field(tmp_path: Path) -> None:
    with closing(empty_state(tmp_path)) as state:
        columns = {row[1]: bool(row[3]) for row in state.execute("PRAGMA table_info(jobs)")}

    del columns["number"]  # order of arrival, the store's own
    assert columns == {field.name: "None" not in str(field.type) and field.default != () for field in fields(Job)}


@given(any_job)
def test_every_job_survives_its_row(job: Job) -> None:
    with closing(sqlite3.connect(":memory:")) as memory:
        row = memory.execute(f"SELECT {', '.join('?' * len(COLUMNS))}", row_of(job)).fetchone()

    assert job_of(row) == job


@given(any_job, any_job)
def test_a_difference_is_all_that_a_row_needs_to_become_the_other(old: Job, new: Job) -> None:
    names, values = difference(old, new)

    row = dict(zip(COLUMNS, row_of(old), strict=True)) | dict(zip(names, values, strict=True))
    assert list(row.values()) == row_of(new)
