"""
Cut a stream of byte blocks into the physical lines that csv.reader wants, in bounded memory.

Owns decoding and line numbers; knows nothing of columns. Its one rule: what it tells depends on the bytes, never
on how they were cut into blocks.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from bulkgpt_watchd.core.errors import Refused

# Looked at before the first line is given out: 50 records of 5 KB each for the vote over the delimiter.
HEAD_BYTES = 262_144

# Two fields of the largest size. A quote that is never closed must not eat the memory; csv needs up to twenty times
# this for a record of nothing but short fields.
MAX_RECORD_CHARS = 8_000_000

# More than one NUL in four bytes is no accident: UTF-16 of western text has one in two, a slip of a program very few.
_NUL_SHARE = 0.25

# What str.splitlines takes for the end of a line as well, but csv does not.
_MORE_ENDS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_LINE = re.compile(r"[^\r\n]*+(?:\r\n?|\n)|[^\r\n]++")


class _Trouble(Exception):
    """Say what is wrong; becomes Refused once its line is known."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Lines:
    """
    Give out the physical lines of *blocks* (ended by LF, CRLF or CR), with their ends.

    Shape: iterate once. `head` holds the first HEAD_BYTES, `encoding` is "utf-8" or "utf-8-sig". Whoever reads
        records sets `ended` to the last line of the last whole record: what lies before it is forgotten.
    Errors: Refused (csv_encoding, csv_invalid), after all lines before the fault were given out; with *lenient*
        only for a record beyond MAX_RECORD_CHARS, and wrong bytes are replaced. What *blocks* raises goes through.
    """

    def __init__(self, blocks: Iterable[bytes], *, lenient: bool = False) -> None:
        rest = iter(blocks)
        start = bytearray()
        for block in rest:
            start += block
            if len(start) >= HEAD_BYTES:
                break
        self.head = bytes(start[:HEAD_BYTES])
        self.encoding = "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"
        self.ended = 0
        self._offset = len(codecs.BOM_UTF8) if self.encoding == "utf-8-sig" else 0
        self._blocks = chain((bytes(start[self._offset :]),), rest)
        self._lenient = lenient
        self._before: list[str] = []  # text of the record under way from earlier blocks
        self._lines: list[str] = []  # the lines of the current block
        self._first = 1  # the number of the first of them
        if not lenient:
            _refuse_other_formats(self.head)

    def __iter__(self) -> Iterator[str]:
        # Chained lists keep the way of each line in C: this costs 1.1 times a bare csv.reader over an open file.
        return chain.from_iterable(self._lists())

    def record(self, upto: int) -> str:
        """Return the text of the record under way, up to and with line *upto*."""
        used = max(self.ended + 1 - self._first, 0)
        return "".join((*self._before, *self._lines[used : upto + 1 - self._first]))

    def _lists(self) -> Iterator[list[str]]:
        parts: list[str] = []  # of a line whose end is still to come
        try:
            for text in self._texts():
                parts.append(text)
                if "\n" in text or "\r" in text or parts[0].endswith("\r"):
                    lines = split_lines("".join(parts))
                    # A CR at the end may be half a CRLF.
                    parts = [] if lines[-1].endswith("\n") else [lines.pop()]
                    yield self._turn(lines)
                self._bound(sum(map(len, parts)))
        except _Trouble as trouble:
            rest = "".join(parts)
            yield self._turn([rest] if rest.endswith("\r") else [])
            line = self._first + len(self._lines)
            raise Refused(trouble.code, f"line {line}: {trouble}", line=line) from None
        if parts:
            yield self._turn(["".join(parts)])

    def _turn(self, lines: list[str]) -> list[str]:
        """Put *lines* in the place of the current ones; keep the text of a record that goes on."""
        used = self.ended + 1 - self._first
        if used > 0:
            self._before = []
        self._before.append("".join(self._lines[max(used, 0) :]))
        self._first += len(self._lines)
        self._lines = lines
        return lines

    def _bound(self, waiting_chars: int) -> None:
        used = max(self.ended + 1 - self._first, 0)
        chars = sum(map(len, self._before)) + sum(map(len, self._lines[used:])) + waiting_chars
        if chars > MAX_RECORD_CHARS:
            line = self.ended + 1
            message = (
                f"line {line}: the record that starts here is longer than {MAX_RECORD_CHARS:,} characters: "
                "is a quote never closed, or a line end missing?"
            )
            raise Refused("csv_invalid", message, line=line)

    def _texts(self) -> Iterator[str]:
        errors = "replace" if self._lenient else "strict"
        offset = self._offset
        pending = b""
        for block in self._blocks:
            data = pending + block
            nul = -1 if self._lenient else data.find(0)
            if nul >= 0:
                data = data[:nul]
            try:
                text, used = codecs.utf_8_decode(data, errors, nul >= 0)
            except UnicodeDecodeError as error:
                yield data[: error.start].decode()
                raise _not_utf8(data[error.start], offset + error.start) from None
            yield text
            if nul >= 0:
                message = f"a NUL byte at byte offset {offset + nul}: no CSV has one; write the file again as text"
                raise _Trouble("csv_invalid", message)
            pending = data[used:]
            offset += used
        if pending and not self._lenient:
            raise _not_utf8(pending[0], offset)


def split_lines(text: str) -> list[str]:
    """Cut *text* after each LF, CRLF and CR."""
    if any(mark in text for mark in _MORE_ENDS):
        return _LINE.findall(text)
    return text.splitlines(keepends=True)  # ten times as fast


def _not_utf8(byte: int, offset: int) -> _Trouble:
    message = f"byte 0x{byte:02x} at byte offset {offset} is not UTF-8: save the file as UTF-8 and drop it again"
    return _Trouble("csv_encoding", message)


def _refuse_other_formats(head: bytes) -> None:
    if head.startswith(b"PK\x03\x04"):
        message = "line 1: this is an Excel workbook or another ZIP file, not a CSV: export it as CSV (UTF-8)"
        raise Refused("csv_invalid", message, line=1)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or head.count(0) > len(head) * _NUL_SHARE:
        message = "line 1: the file is UTF-16, not UTF-8: save it as UTF-8 and drop it again"
        raise Refused("csv_encoding", message, line=1)
