"""
What the sandbox answers to a CSV: each of its rows, with one column more.

A pure function of the input, so that a test can compute what it must get. It knows CSV and nothing of tasks or HTTP.
The cells of the input pass byte for byte, whatever their encoding, because text is read as Latin-1.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

EVERY_ROW = 2**63
"""More rows than any file has."""

_BLOCK_CHARACTERS = 1 << 20
"""How much is answered at once: large enough for few disk calls, small enough for any memory."""

_BYTE_ORDER_MARK = "\xef\xbb\xbf"
_QUOTED = re.compile(r'"((?:[^"]+|"")*)"?')


def answer(csv_bytes: bytes, *, rows_failed: int = 0, rows_missing: int = 0, rows_extra: int = 0) -> bytes:
    """
    Give the result that the sandbox serves for this CSV, byte for byte.

    Shape:
        The header gets `Output_1`, each row `Result for <its first cell>`. Delimiter and line end are those of the
        header, blank lines are dropped, a short row is padded. The first *rows_failed* rows get an empty cell, the
        first *rows_missing* are left out, the first row comes *rows_extra* times more.
    """
    reader = AnswerReader(
        io.BytesIO(csv_bytes), rows_failed=rows_failed, rows_missing=rows_missing, rows_extra=rows_extra
    )
    return b"".join(reader)


class AnswerReader:
    """
    Read a CSV from a file and give its answer in blocks; memory holds one block and the longest row.

    Shape: after the last block, *rows* counts the rows that came in and *first_row* is the first of them, as it came.
    """

    def __init__(self, source: BinaryIO, *, rows_failed: int = 0, rows_missing: int = 0, rows_extra: int = 0) -> None:
        self._text = io.TextIOWrapper(source, "latin-1", newline="")
        self._rows_failed = rows_failed
        self._rows_missing = rows_missing
        self._rows_extra = rows_extra
        self.rows = 0
        self.first_row = b""

    def __iter__(self) -> Iterator[bytes]:
        mark = ""
        first = self._text.readline()
        if first.startswith(_BYTE_ORDER_MARK):
            mark, first = _BYTE_ORDER_MARK, first.removeprefix(_BYTE_ORDER_MARK)
        while first and not first.rstrip("\r\n"):
            first = self._text.readline()
        if not first:
            return
        delimiter = _delimiter_of(first)
        end = first[len(first.rstrip("\r\n")) :] or "\n"
        records = _records(chain([first], self._text), delimiter)
        header, width = next(records)
        lines = [f"{mark}{header}{delimiter}Output_1{end}"]
        size, rows = len(header), 0
        for record, cells in records:
            rows += 1
            if rows == 1:
                self.first_row = record.encode("latin-1")
            if rows <= self._rows_missing:
                continue
            result = "" if rows <= self._rows_failed else _result_for(record, delimiter)
            padding = delimiter if cells >= width else delimiter * (width - cells + 1)
            lines.append(f"{record}{padding}{result}{end}")
            if rows == 1:
                lines += lines[-1:] * self._rows_extra
            size += len(record)
            if size >= _BLOCK_CHARACTERS:
                yield "".join(lines).encode("latin-1")
                lines.clear()
                size = 0
        self.rows = rows
        yield "".join(lines).encode("latin-1")


def _delimiter_of(header: str) -> str:
    """Take what stands most often in the header outside quotes; a comma if in doubt."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=bare.count)


def _records(lines: Iterator[str], delimiter: str) -> Iterator[tuple[str, int]]:
    """
    Join lines to records, each without its line end and with its number of cells; blank lines are none.

    Source: the rules of Python's csv.reader, without its limit of 128 KiB for a cell (a setting of the whole process).
    """
    for line in lines:
        if '"' not in line:
            if record := line.rstrip("\r\n"):
                yield record, record.count(delimiter) + 1
            continue
        parts = [line]
        cells, inside = _scan(line, delimiter, inside=False)
        while inside:
            more = next(lines, None)
            if more is None:
                parts.append('"')  # never closed: close it, or the new column would be a part of this cell
                break
            parts.append(more)
            delimiters, inside = _scan(more, delimiter, inside=True)
            cells += delimiters
        yield "".join(parts).rstrip("\r\n"), cells + 1


def _scan(line: str, delimiter: str, *, inside: bool) -> tuple[int, bool]:
    """Count the delimiters outside quotes, and tell whether the line ends inside; only a cell's first quote opens."""
    delimiters = at = 0
    if not inside and line.startswith('"'):
        inside, at = True, 1
    while True:
        if inside:
            at = line.find('"', at)
            if at < 0:
                return delimiters, True
            if line.startswith('""', at):
                at += 2
                continue
            inside = False
        at = line.find(delimiter, at)
        if at < 0:
            return delimiters, False
        delimiters += 1
        at += 1
        if line.startswith('"', at):
            inside = True
            at += 1


def _result_for(record: str, delimiter: str) -> str:
    if '"' not in record:
        return f"Result for {record.partition(delimiter)[0]}"
    if quoted := _QUOTED.match(record):
        cell = quoted[1].replace('""', '"') + record[quoted.end() :].partition(delimiter)[0]
    else:
        cell = record.partition(delimiter)[0]
    if any(character in cell for character in (delimiter, '"', "\r", "\n")):
        cell = cell.replace('"', '""')
        return f'"Result for {cell}"'
    return f"Result for {cell}"
