"""The answer to a CSV, held against Python's csv module."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkgpt_watchd.sandbox import answer

CELLS = st.text(alphabet='ab;,"\n\r \té', max_size=6)


def rows_of(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter) if row]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_each_row_comes_back_with_one_cell_more(rows: list[list[str]], end: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["name", "a", "b", "c"])
    writer.writerows(rows)
    expected = [["name", "a", "b", "c", "Output_1"]]
    expected += [[*row, *[""] * (4 - len(row)), f"Result for {row[0]}"] for row in rows]

    assert rows_of(answer(file.getvalue().encode())) == expected


@given(st.text(alphabet='a,"\n\r', max_size=30))
def test_a_csv_that_nobody_should_write_has_as_many_rows_as_for_pythons_reader(text: str) -> None:
    """Stray and unclosed quotes are read as csv.reader reads them, so the count of rows is never in dispute."""
    data = b"name,other\n" + text.encode()
    expected = [row[0] for row in rows_of(data)]

    assert [row[0] for row in rows_of(answer(data))] == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"\n\n", b""),
        (b"name", b"name,Output_1\n"),
        (b"name\nAda\n", b"name,Output_1\nAda,Result for Ada\n"),
        (b"name\nAda", b"name,Output_1\nAda,Result for Ada\n"),
        (b"name\r\nAda\r\n\r\n", b"name,Output_1\r\nAda,Result for Ada\r\n"),
        (b"\xef\xbb\xbfname;age\nAda;36\n", b"\xef\xbb\xbfname;age;Output_1\nAda;36;Result for Ada\n"),
        (b"a\tb,c\nx\ty\n", b"a\tb,c,Output_1\nx\ty,,Result for x\ty\n"),
        (b"name\n\xe9t\xe9\n", b"name,Output_1\n\xe9t\xe9,Result for \xe9t\xe9\n"),
        (b'name\n"a,b"\n', b'name,Output_1\n"a,b","Result for a,b"\n'),
        (b'name\n"a"\n', b'name,Output_1\n"a",Result for a\n'),
        (b'name\n5" pipe\n', b'name,Output_1\n5" pipe,"Result for 5"" pipe"\n'),
        (b'name\n"a\nb"\n', b'name,Output_1\n"a\nb","Result for a\nb"\n'),
        (b'name\n"open\n', b'name,Output_1\n"open\n","Result for open\n"\n'),
    ],
)
def test_the_bytes_of_the_input_are_kept(data: bytes, expected: bytes) -> None:
    assert answer(data) == expected


def test_a_cell_may_be_larger_than_pythons_reader_allows() -> None:
    cell = b"x" * 200_000

    assert answer(b"name\n" + cell + b"\n") == b"name,Output_1\n" + cell + b",Result for " + cell + b"\n"


def test_rows_fail_are_missing_or_too_many() -> None:
    data = b"n\n1\n2\n3\n"

    assert answer(data, rows_failed=2) == b"n,Output_1\n1,\n2,\n3,Result for 3\n"
    assert answer(data, rows_missing=2) == b"n,Output_1\n3,Result for 3\n"
    assert answer(data, rows_extra=1) == b"n,Output_1\n1,Result for 1\n1,Result for 1\n2,Result for 2\n3,Result for 3\n"


def test_a_large_answer_is_that_of_its_parts() -> None:
    rows = [b"%d,some text" % number for number in range(100_000)]

    result = answer(b"number,text\n" + b"\n".join(rows) + b"\n")

    assert result.count(b"\n") == 100_001
    assert result.endswith(b"99999,some text,Result for 99999\n")
