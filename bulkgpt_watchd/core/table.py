"""
Say what a CSV is, and refuse what would be paid for nothing, before it is sent.

Owns the meaning of columns, records and delimiters; knows nothing of files or of BulkGPT. Its one rule: a stream goes
in, facts come out, and no more than one record is in memory.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from bulkgpt_watchd.core.errors import Refused
from bulkgpt_watchd.core.lines import HEAD_BYTES, Lines, split_lines

if TYPE_CHECKING:
    from _csv import Reader  # it has no public name

# A million tokens, the most that a large model reads at once, are some four million characters.
MAX_FIELD_CHARS = 4_000_000
# csv keeps one limit for the whole process, so it is set here, once, and is no rule of a route: two checks in two
# threads would change it under each other.
csv.field_size_limit(MAX_FIELD_CHARS)

# In the order in which ties are decided.
DELIMITERS = (",", ";", "\t", "|")

# Enough to tell a delimiter from a comma in a text: right for 8 of 8 samples; csv.Sniffer fails on a list of URLs.
VOTE_RECORDS = 50

# csv.reader must have a delimiter, a file of one column has none: a lone surrogate cannot come out of UTF-8.
_NO_DELIMITER = "\ud800"

# NUL cannot come out of strict Lines either, so a record of its own can only be ours.
_END = "\0"

# How an error page of a web server or an object store begins; a CSV field with a quote in it would itself be quoted.
_NOT_A_TABLE = (b"<!doctype", b"<html", b"<?xml", b"<error", b'{"', b'["', b'[{"', b'[["')

# In a message for a person: so many column names, each cut to so many characters.
_NAMES_SHOWN, _NAME_CHARS = 20, 40


@dataclass(frozen=True, slots=True)
class Rules:
    """
    Say what a route asks of a CSV.

    Shape: delimiter None: vote. check False: count only; encoding, NUL, quotes and widths are not judged.
    """

    delimiter: str | None = None
    required_columns: tuple[str, ...] = ()
    max_rows: int | None = None
    check: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """
    Say what a CSV holds.

    Shape: encoding "utf-8" or "utf-8-sig" (with a byte order mark); delimiter None: one column.
    Units: rows are records below the header without blank lines: each is work that costs money.
    """

    rows: int
    columns: int
    header: tuple[str, ...]
    encoding: str
    delimiter: str | None


def check(blocks: Iterable[bytes], rules: Rules) -> Facts:
    """
    Read a whole CSV and count its rows.

    Shape: *blocks* of any size; no more are drawn after the first mistake, so a caller that hashes goes on by itself.
    Units: `line` of an error counts physical lines (ended by LF, CRLF or CR, inside quotes too) from 1 and names
        the one where the record starts; for an open quote, where the quote is.
    Errors: Refused: csv_empty, csv_encoding, csv_invalid, too_many_rows. What *blocks* raises goes through.
    """
    lines = Lines(blocks, lenient=not rules.check)
    delimiter = rules.delimiter or vote(lines.head)
    reader = csv.reader(lines, delimiter=delimiter or _NO_DELIMITER, strict=rules.check)
    try:
        header_line, header = _first_record(reader, lines)
        _judge_header(header, header_line, rules)
        rows = _count(reader, lines, len(header) if rules.check else None, rules.max_rows)
    except csv.Error as error:
        raise _explain(error, lines, reader.line_num, delimiter) from None
    if rows == 0:
        message = f"line {header_line}: the file has a header but no rows: give it at least one"
        raise Refused("csv_empty", message, line=header_line)
    return Facts(rows, len(header), tuple(header), lines.encoding, delimiter)


def rows_of_result(blocks: Iterable[bytes], *, may_be_cut: bool = False) -> int:
    """
    Count the rows of a result, content with whatever can be counted: it is paid for.

    Shape: rows may be ragged and quotes sloppy; a quote that is open at the end tells of a cut result. Where it
        *may_be_cut*, a last row that is narrower than the header does not count.
    Errors: Refused: result_invalid. What *blocks* raises goes through.
    """
    rows = -2  # the header and _END are no rows
    header: list[str] = []
    before: list[str] = []
    record: list[str] = []
    try:
        lines = Lines(blocks)
        beginning = lines.head.removeprefix(b"\xef\xbb\xbf").lstrip()[:40]
        if beginning.lower().startswith(_NOT_A_TABLE):
            raise Refused("result_invalid", f"it begins like a web page or an error message: {beginning!r}")
        delimiter = vote(lines.head)
        reader = csv.reader(chain(lines, (_END,)), delimiter=delimiter or _NO_DELIMITER)
        try:
            for following in reader:
                before, record = record, following
                header = header or record
                rows += bool(record)
                lines.ended = reader.line_num
        except csv.Error as error:
            raise _explain(error, lines, reader.line_num, delimiter) from None
        if record != [_END]:
            raise Refused("result_invalid", "it ends inside a quoted field")
        if rows < 0:
            raise Refused("result_invalid", "it is empty")
    except Refused as refused:
        raise Refused("result_invalid", f"the result is not a CSV: {refused}", line=refused.line) from None
    return rows - (may_be_cut and 0 < len(before) < len(header))


def vote(head: bytes) -> str | None:
    """
    Find the delimiter from the beginning of a file; None: one column.

    Shape: the widest of those for which all sampled records have one width > 1. Else the one with a header of more
        than one column that most records agree with; a comma needs no agreement, so `a,b,c` above `1,2` is refused
        as ragged and not taken for one column. Ties: in the order of DELIMITERS.
    """
    lines = split_lines(head.decode("utf-8-sig", "replace"))
    is_cut = len(head) >= HEAD_BYTES
    if is_cut and len(lines) > 1:
        lines.pop()
    winner, best = None, (False, -1)
    for delimiter in DELIMITERS:
        widths: list[int] = []
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        is_sound = True
        try:
            for record in islice(filter(None, reader), VOTE_RECORDS):
                widths.append(len(record))  # noqa: PERF401 - what came before an error counts
        except csv.Error:
            is_sound = is_cut and reader.line_num == len(lines)  # the cut went through a quoted field
        if not widths or widths[0] == 1:
            continue
        agreeing = widths.count(widths[0]) - 1
        is_even = is_sound and agreeing == len(widths) - 1
        if is_even or agreeing or delimiter == ",":
            rank = (is_even, widths[0] if is_even else agreeing)
            if rank > best:
                best, winner = rank, delimiter
    return winner


def _first_record(reader: Reader, lines: Lines) -> tuple[int, list[str]]:
    for record in reader:
        line = lines.ended + 1
        lines.ended = reader.line_num
        if record:
            return line, record
    raise Refused("csv_empty", "the file has no content: give it a header and at least one row")


def _judge_header(header: list[str], line: int, rules: Rules) -> None:
    if rules.check and not any(map(str.strip, header)):
        raise Refused("csv_invalid", f"line {line}: the header names no column", line=line)
    if missing := [name for name in rules.required_columns if name not in header]:
        message = f"line {line}: the header lacks {_names(missing)} (csv.required_columns); it has {_names(header)}"
        raise Refused("csv_invalid", message, line=line)


def _count(reader: Reader, lines: Lines, width: int | None, max_rows: int | None) -> int:
    """Count the records; *width* None: of any width. This loop decides the speed of a check."""
    rows = 0
    limit = math.inf if max_rows is None else max_rows
    for record in reader:
        if len(record) == width or (record and width is None):
            rows += 1
        elif record:
            line = lines.ended + 1
            found = "1 column" if len(record) == 1 else f"{len(record)} columns"
            message = (
                f"line {line}: {found}, but the header has {width}: "
                "put quotes around values that hold the delimiter, and give every row the same columns"
            )
            raise Refused("csv_invalid", message, line=line)
        if rows > limit:
            line = lines.ended + 1
            message = f"line {line}: more than {max_rows:,} rows (csv.max_rows): divide the file or raise the limit"
            raise Refused("too_many_rows", message, line=line)
        lines.ended = reader.line_num
    return rows


def _explain(error: csv.Error, lines: Lines, at_line: int, delimiter: str | None) -> Refused:
    """Turn what csv says into where and what to do."""
    line = lines.ended + 1
    if "expected after" in str(error):
        message = 'text after a closing quote: put quotes around the whole value and double those inside it ("")'
        return Refused("csv_invalid", f"line {line}: {message}", line=line)
    text = lines.record(at_line)
    end = re.escape(delimiter or _NO_DELIMITER)
    whole_field = re.compile(rf'(?:"(?:[^"]++|"")*+"|(?!"))[^{end}\r\n]*+(?:{end}|\r\n?|\n)')
    position = 0
    while match := whole_field.match(text, position):
        position = match.end()
    if text.startswith('"', position):
        line += len(split_lines(text[:position] + ".")) - 1
        message = "a quote opens here and is not closed: close it, or double it if it is part of the text"
    else:
        message = f"a value longer than {MAX_FIELD_CHARS:,} characters"
    return Refused("csv_invalid", f"line {line}: {message}", line=line)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:_NAME_CHARS]) for name in names[:_NAMES_SHOWN])
    return f"{shown} and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else shown
