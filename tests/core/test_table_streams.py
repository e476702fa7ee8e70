"""A CSV as a stream: any blocks, any bytes, any size, within bounded memory."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.core import lines, table
from bulkgpt_watchd.core.errors import Refused
from bulkgpt_watchd.core.table import Facts, Rules, check, rows_of_result
from tests.core.test_table import cut, refusal

BLOCK = 65_536
"""As large as the blocks that a file is read in."""

CALM = settings(deadline=None)
"""Other tests share the processors, so one example may take long."""

CUTS = st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=5)
"""Sizes of blocks, used in turn."""


def outcome(blocks: Iterable[bytes], rules: Rules) -> Facts | tuple[str, int | None, str]:
    try:
        return check(blocks, rules)
    except Refused as refused:
        return refused.code, refused.line, str(refused)


@pytest.mark.fault("S12")
@pytest.mark.parametrize(
    ("start", "block"),
    [
        (b"1,", b"x" * BLOCK),
        (b'1,"', b"x" * BLOCK),
        (b'1,"', b"x\n" * (BLOCK // 2)),
        (b"1,", b"," * BLOCK),
        (b"1,", b'"x\n",' * (BLOCK // 5)),
    ],
)
def test_an_endless_record_is_refused_before_it_fills_the_memory(start: bytes, block: bytes) -> None:
    tracemalloc.start()
    try:
        refused = refusal(itertools.chain([b"a,b\n", start], itertools.repeat(block)), Rules(delimiter=","))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (refused.code, refused.line) == ("csv_invalid", 2)
    assert peak < 20 * lines.MAX_RECORD_CHARS


@pytest.mark.fault("S12")
def test_memory_does_not_grow_with_the_file() -> None:
    blocks = itertools.chain([b"a,b\n"], itertools.repeat(b"1,some longer text\n" * 3_000, 200))
    tracemalloc.start()
    try:
        assert check(blocks, Rules()).rows == 600_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_trouble_with_the_file_goes_through() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"a,b\n" * lines.HEAD_BYTES
        raise OSError("the share is gone")

    with pytest.raises(OSError, match="the share is gone"):
        check(blocks(), Rules())


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=8)


@CALM
@given(
    st.integers(min_value=2, max_value=5).flatmap(
        lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=2, max_size=8)
    ),
    st.sampled_from(table.DELIMITERS),
    # A Python before 3.13 does not quote a CR in a file of LF lines by itself, nor an LF in one of CR lines.
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL)]),
    CUTS,
)
def test_whatever_a_writer_wrote_is_counted_right(
    records: list[list[str]], delimiter: str, style: tuple[str, Literal[0, 1]], sizes: list[int]
) -> None:
    records[0][0] += "name"
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=style[0], quoting=style[1]).writerows(records)
    data = text.getvalue().encode()

    facts = check(cut(data, sizes), Rules(delimiter=delimiter))

    assert facts == Facts(len(records) - 1, len(records[0]), tuple(records[0]), "utf-8", delimiter)


@CALM
@given(
    st.integers(min_value=2, max_value=5).flatmap(
        lambda width: st.lists(
            st.lists(st.text("ab \"'\n\r", max_size=5), min_size=width, max_size=width), min_size=2, max_size=60
        )
    ),
    st.sampled_from(table.DELIMITERS),
    CUTS,
)
def test_the_vote_finds_the_delimiter_that_a_writer_used(
    records: list[list[str]], delimiter: str, sizes: list[int]
) -> None:
    records[0][0] += "name"
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(records)
    data = text.getvalue().encode()

    facts = check(cut(data, sizes), Rules())

    assert Facts(len(records) - 1, len(records[0]), tuple(records[0]), "utf-8", delimiter) == facts
    assert rows_of_result([data]) == facts.rows


PIECES = [b"a", b"1", b",", b";", b'"', b'""', b"\n", b"\r\n", b"\r", "ü".encode(), b"\x0b", b"\xff", b"\0"]
ALMOST_CSV = st.lists(st.sampled_from(PIECES)).map(b"".join)


@CALM
@given(ALMOST_CSV, CUTS, st.booleans())
@example(b'a,b\r1,"\r\n\r', [1], True)
def test_what_is_told_does_not_depend_on_the_blocks(data: bytes, sizes: list[int], strictly: bool) -> None:
    rules = Rules(check=strictly, max_rows=3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "HEAD_BYTES", 4)
        patch.setattr(table, "HEAD_BYTES", 4)
        assert outcome([data], rules) == outcome(cut(data, sizes), rules)


@pytest.mark.fault("S12")
@CALM
@given(st.binary(max_size=200) | ALMOST_CSV, st.sampled_from([Rules(), Rules(check=False), Rules(delimiter=";")]))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, rules: Rules) -> None:
    told = outcome([data], rules)

    if not isinstance(told, Facts):
        assert told[0] in {"csv_empty", "csv_encoding", "csv_invalid", "too_many_rows"}
        assert told[2].isprintable()
    with contextlib.suppress(Refused):
        assert rows_of_result([data]) >= 0
