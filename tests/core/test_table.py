"""What counts as a CSV: facts of good ones, and code, line and words for bad ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest

from bulkgpt_watchd.core import table
from bulkgpt_watchd.core.errors import Refused
from bulkgpt_watchd.core.table import Rules, check, rows_of_result, vote


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def refusal(data: bytes | Iterable[bytes], rules: Rules | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        check([data] if isinstance(data, bytes) else data, rules or Rules())
    return caught.value


@pytest.mark.parametrize(
    ("data", "rows", "header"),
    [
        (b"Input_1\n" + b"".join(b"%d\n" % row for row in range(1, 25)), 24, ("Input_1",)),
        (b"a,b\n1,2", 1, ("a", "b")),
        (b"a,b\r\n1,2\r\n3,4\r\n", 2, ("a", "b")),
        (b"a,b\r1,2\r3,4", 2, ("a", "b")),
        (b"a,b\n1,2\r3,4\r\n5,6", 3, ("a", "b")),
        (b'a,b\n"one\ntwo","x\r\ny"\n3,4\n', 2, ("a", "b")),
        (b'"na\nme",b\n1,2\n', 1, ("na\nme", "b")),
        (b'a,b\n"say ""hi""",2\n', 1, ("a", "b")),
        (b'a,b\n5" pipe,2\n', 1, ("a", "b")),
        (b"\n\na,b\n\n1,2\n\r\n3,4\n\n\n", 2, ("a", "b")),
        (b"a,a\n1,2\n", 1, ("a", "a")),
        (b",b\n1,2\n", 1, ("", "b")),
        (b'a\n""\n', 1, ("a",)),
        ("a,b\nMüller\u2028\x85,日本\x0b\x0c\x1c\n".encode(), 1, ("a", "b")),
    ],
)
def test_rows_are_records_below_the_header_and_blank_lines_are_none(
    data: bytes, rows: int, header: tuple[str, ...]
) -> None:
    facts = check([data], Rules())

    assert (rows, header, len(header)) == (facts.rows, facts.header, facts.columns)


def test_a_byte_order_mark_is_told_and_is_no_part_of_the_first_name() -> None:
    marked = check(cut(b"\xef\xbb\xbfa,b\n1,2\n", [1]), Rules(required_columns=("a",)))

    assert (marked.header, marked.encoding) == (("a", "b"), "utf-8-sig")
    assert check([b"a,b\n1,2\n"], Rules()).encoding == "utf-8"


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n\n", b"\xef\xbb\xbf\n", b"a,b\n", b"a,b", b"\na,b\n\n"])
@pytest.mark.parametrize("strictly", [True, False])
def test_a_file_without_a_row_is_empty(data: bytes, strictly: bool) -> None:
    assert refusal(data, Rules(check=strictly)).code == "csv_empty"


def test_a_lone_header_is_named_by_its_line() -> None:
    assert refusal(b"\n\na,b\n").line == 3


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a,b,c\n1,2\n", 2, "2 columns, but the header has 3"),
        (b"a,b\n1,2\n1,2,3\n", 3, "3 columns, but the header has 2"),
        (b'a,b\n"1\n2\n3",4\n\n"5\n6"\n7,8\n', 6, "1 column"),
        (b"a,b\n1,2\n  \n", 3, "1 column"),
        (b'a,b\n1,2\n"x\n\ny"z,4\n', 3, "text after a closing quote"),
        (b'a,b\n1,2\n3,"x\ny\n', 3, "a quote opens here"),
        (b'a,b\n1,2\n"3\n4","x\n\ny\n', 4, "a quote opens here"),
        (b'\n\n"a,b\n1,2\n', 3, "a quote opens here"),
        (b'a,b\n1,"', 2, "a quote opens here"),
        (b'a,b\n1,"x""\n', 2, "a quote opens here"),
        (b"\n,\n1,2\n", 2, "the header names no column"),
        (b'" "\n1\n', 1, "the header names no column"),
        (b"a,b\n1,2\n3,\x004\n", 3, "NUL byte at byte offset 10"),
        (b"a,b\r\n1,2\r\x00", 3, "NUL byte at byte offset 9"),
        (b"PK\x03\x04\x14\x00\x06\x00", 1, "Excel"),
        (b"a,b\n1," + b"x" * (table.MAX_FIELD_CHARS + 1) + b"\n", 2, "a value longer than 4,000,000 characters"),
        (b'a,b\n1,"' + b"x\n" * table.MAX_FIELD_CHARS, 2, "a quote opens here"),
    ],
)
def test_a_broken_csv_is_refused_where_it_breaks(data: bytes, line: int, words: str) -> None:
    refused = refusal(data)

    assert ("csv_invalid", line) == (refused.code, refused.line)
    assert words in str(refused)
    assert str(refused).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a,b\n1,M\xfcller\n", 2, "byte 0xfc at byte offset 7"),
        (b"\xef\xbb\xbfa,b\r\xff", 2, "byte 0xff at byte offset 7"),
        (b"a,b\r\n1,2\r\n3,\xe2\x82", 3, "byte 0xe2 at byte offset 12"),
        (b"a,b\n1,\xe2\x82\x00", 2, "byte 0xe2 at byte offset 6"),
        ("a,b\n1,2\n".encode("utf-16"), 1, "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), 1, "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-be"), 1, "UTF-16"),
        (b"\xfe\xff", 1, "UTF-16"),
    ],
)
def test_a_wrong_encoding_is_told_with_the_byte_and_its_place(data: bytes, line: int, words: str) -> None:
    refused = refusal(data)

    assert ("csv_encoding", line) == (refused.code, refused.line)
    assert words in str(refused)


def test_the_first_mistake_in_the_file_is_told() -> None:
    assert refusal(b"a,b\n1\n\xff,\x00\n").line == 2
    assert refusal(b"a,b\n1,\x00\n\xff,2\n").code == "csv_invalid"
    assert refusal(b"a,b\n1,\xff\n\x00,2\n").code == "csv_encoding"


def test_too_many_rows_are_refused_at_the_first_surplus_one() -> None:
    data = b'a\n"1\n"\n\n2\n3\n4\n'

    assert check([data], Rules(max_rows=4)).rows == 4
    refused = refusal(data, Rules(max_rows=2, check=False))
    assert (refused.code, refused.line) == ("too_many_rows", 6)


def test_a_missing_column_is_told_with_those_present() -> None:
    rules = Rules(required_columns=("email", "id"))
    refused = refusal(b"id,e-mail\n1,2\n", rules)

    assert (refused.code, refused.line) == ("csv_invalid", 1)
    assert "lacks 'email'" in str(refused)
    assert "it has 'id', 'e-mail'" in str(refused)
    assert check([b"id;email\n1;2\n"], rules).columns == 2


def test_names_in_a_message_are_few_short_and_harmless() -> None:
    header = ",".join(["\x1b[2J" + "n" * 90] * 900)
    message = str(refusal(f"{header}\n1\n".encode(), Rules(delimiter=",", required_columns=("x",))))

    assert message.isprintable()
    assert message.endswith("and 880 more")
    assert len(message) < 1_200


@pytest.mark.parametrize(
    ("data", "delimiter"),
    [
        (b"a;b\n1,5;2,5\n", ";"),
        (b"a\tb\n1,5\t2,5\n", "\t"),
        (b"a|b\n1|2\n", "|"),
        (b"a,b;c,d\n1,2;3,4\n", ","),
        (b"a;b,c;d\n1;2,3;4\n", ";"),
        (b"a;b|c\n1;2|3\n", ";"),
        (b"name;note\nAnna;tall, dark\nBob;short\n", ";"),
        (b'a;b\n"1;2";3\n4;"5\n6;7"\n', ";"),
        (b'a,b\n"x;y",1\n"z","2"\n', ","),
        (b"a,b\n" + b"1,2\n" * 30 + b"1\n", ","),
        (b"a;b\n" + b"1;2\n" * 30 + b'"x"y;2\n', ";"),
        (b"a,b,c\n1,2\n", ","),
        (b"url\nhttp://x/?a=1;b=2,c\nhttp://x/;,;\nhttp://y/?a=3;b\n", None),
        (b"url; or address\nhttp://x\nhttp://y\n", None),
        (b"Input_1\n1\n2\n", None),
        (b"", None),
        (b'"a;b', None),
    ],
)
def test_the_delimiter_is_the_one_that_the_records_agree_on(data: bytes, delimiter: str | None) -> None:
    assert vote(data) == delimiter


def test_fifty_records_vote() -> None:
    uneven = b"".join(b"x" + b"," * (row % 3) + b"\n" for row in range(60))

    assert vote(b"a;b\n" + b"1;2\n" * 49 + uneven) == ";"
    facts = check([b"Input\n" + uneven], Rules())
    assert (facts.rows, facts.delimiter) == (60, None)


@pytest.mark.parametrize("chars", [9_000, 300_000])
def test_a_sample_that_ends_inside_a_quoted_field_still_votes(chars: int) -> None:
    text = b"x, y and z\n" * (chars // 11)

    assert check([b"a;b\n" + b'1;"%b"\n' % text * 40], Rules()).delimiter == ";"


def test_a_header_beyond_the_sample_still_votes() -> None:
    names = b",".join(b"%d" % column for column in range(60_000))

    assert check([names + b"\n" + names], Rules()).columns == 60_000


def test_a_given_delimiter_is_not_voted_on() -> None:
    facts = check([b"a:b,c,d\n1:2,3,4\n"], Rules(delimiter=":"))

    assert (facts.columns, facts.delimiter) == (2, ":")


def test_without_checks_rows_are_counted_all_the_same() -> None:
    data = b'a,b\n1\n\xff,\x00,3\n"x"y,2\n"open\n'

    assert check([data], Rules(check=False)).rows == 4


def test_without_checks_a_quote_that_swallows_the_file_is_refused() -> None:
    refused = refusal(b'a\n"' + b"x\n" * table.MAX_FIELD_CHARS, Rules(check=False))

    assert (refused.code, refused.line) == ("csv_invalid", 2)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,2\n3,4", 2),
        (b"a,b\n1\n2,3,4\n\n", 2),
        (b'\xef\xbb\xbfa;b\n"x\ny";2\n', 1),
        (b'a,b\n"He said "hi" to me",2\n3,4\n', 2),
        (b"a,b\n", 0),
        (b"url\nhttp://x/,\n", 1),
    ],
)
def test_a_result_counts_even_where_it_is_ragged(data: bytes, rows: int) -> None:
    assert rows_of_result(cut(data, [3])) == rows


@pytest.mark.fault("F16")
@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"a,b\n1,2\n3", 1),
        (b"a,b\n1,2\n3,", 2),
        (b"a,b\n1\n3,4\n", 2),
        (b"a,b\n1,2\n3,4\n\n", 2),
        (b"a,b\n", 0),
        (b"a,b", 0),
        (b"a\n1\n2", 2),
    ],
)
def test_a_last_row_that_is_narrower_than_the_header_does_not_count_where_it_may_be_cut(data: bytes, rows: int) -> None:
    assert rows_of_result(cut(data, [3]), may_be_cut=True) == rows


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xef\xbb\xbf\r\n",
        b"a,b\n1,\x00\n",
        b"a,b\n1,\xff\n",
        b'a,b\n1,"cut he',
        b"<!DOCTYPE html><p>Sign in",
        b"\n  <html>\n",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n",
        b"<Error><Code>AccessDenied</Code></Error>",
        b'{"error": "expired"}',
        b'[{"error": "expired"}]',
        b'["expired"]',
        b'[["a", "b"], [1, 2]]',
        b"PK\x03\x04",
        b"a\n" + b"x" * (table.MAX_FIELD_CHARS + 1),
    ],
)
def test_what_is_no_table_is_no_result(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        rows_of_result([data])

    assert caught.value.code == "result_invalid"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("header", [b"[[first name]]", b"[{id}]", b"[1]", b"{x}"])
def test_a_header_in_brackets_is_a_table(header: bytes) -> None:
    assert rows_of_result([header + b",Result\nx,y\n"]) == 1
