"""Feed what strangers write, changed here and there: it ends in words, soon, and in little memory."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.config import ConfigInvalid, load
from bulkgpt_watchd.core.errors import (
    Denied,
    OutcomeUnknown,
    Refused,
    ReplyNotUnderstood,
    TaskNotKnown,
    Unavailable,
)
from bulkgpt_watchd.core.lines import MAX_RECORD_CHARS
from bulkgpt_watchd.core.table import Facts, Rules, check, rows_of_result
from bulkgpt_watchd.core.wire import Reply, read_status_reply, read_submit_reply
from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.web.arguments import arguments_of

EXAMPLE = (Path(__file__).parents[2] / "config.example.yaml").read_bytes()

LONGEST_S = 5.0
"""For one input. The slowest, a megabyte of brackets, took a tenth of that alone; machines that test are busy."""

MOST_BYTES = 20 * MAX_RECORD_CHARS
"""Of memory for one input: what csv needs for the largest record (see core/lines.py)."""

CALM = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
DEEP = settings(CALM, derandomize=False, max_examples=20_000, print_blob=True)

MUTATION = st.tuples(
    st.sampled_from(["cut", "repeat", "flip", "put"]),
    st.integers(0, 10**6),
    st.integers(0, 200),
    st.binary(max_size=12),
)
INTERESTING = (
    b"[",
    b"{",
    b"&a ",
    b"*a",
    b"!!python/object:os.system ",
    b"<<: ",
    b": ",
    b"\t",
    b"\xff",
    b"\0",
    b'"',
    b"|",
    b"9" * 60,
)


def mutated(seed: bytes, mutations: list[tuple[str, int, int, bytes]]) -> bytes:
    """Change bytes here and there, as a slip of an editor, a disk, or an enemy does."""
    data = bytearray(seed)
    for kind, at, length, put in mutations:
        start = at % (len(data) + 1)
        if kind == "cut":
            del data[start : start + length]
        elif kind == "repeat":
            data[start:start] = data[start : start + length] * (1 + length % 5)
        elif kind == "flip" and data:
            data[start % len(data)] ^= 1 << (length % 8)
        else:
            data[start:start] = put or INTERESTING[length % len(INTERESTING)]
    return bytes(data)


def mutations_of(*seeds: bytes) -> st.SearchStrategy[bytes]:
    return st.builds(mutated, st.sampled_from(seeds), st.lists(MUTATION, max_size=8))


@contextmanager
def bounded() -> Iterator[None]:
    """Fail where it takes long or much memory."""
    began = time.monotonic()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < LONGEST_S
    assert peak < MOST_BYTES


def may_be_refused(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    with bounded():
        mistakes: Sequence[object] = ()
        try:
            assert load(path).routes
        except ConfigInvalid as error:
            mistakes = error.mistakes or ["not a word"]
    return all(str(mistake).isprintable() and str(mistake) != "not a word" for mistake in mistakes)


ANSWERS = (
    b'{"taskId": "MTcyNjAzNjU5M18yMDI0LTA5LTExLTA2OjM2OjMz"}',
    b'{"error": "Invalid API key"}',
    b'{"status": {"status": "inProgress", "numOfTasksCompleted": 3, "numOfTaskSuccess": 2, "totalNumOfTasks": 24}}',
    b'{"status": {"status": "completed", "downloadUrl": "https://store.example/a.csv?X-Amz-Signature=1"}}',
    b'{"taskId": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    b'{"status": {"status": "completed", "totalNumOfTasks": ' + b"9" * 4400 + b"}}",
)


def means_what_it_may(code: int, body: bytes, retry_after: str) -> bool:
    reply = Reply(code, {"retry-after": retry_after}, body)
    with bounded():
        for passed in (True, False):
            with suppress(Unavailable, Denied, Refused, *[OutcomeUnknown] * passed):
                task_id = read_submit_reply(reply, passed=passed, now=1.8e9)
                assert task_id.isprintable()
                assert len(task_id) <= 512
        with suppress(Unavailable, Denied, TaskNotKnown, ReplyNotUnderstood):
            status = read_status_reply(reply, now=1.8e9)
            assert status.word.isprintable()
            assert all(
                number is None or number >= 0 for number in (status.rows_done, status.rows_ok, status.rows_total)
            )
    return True


TABLES = (
    b"Input_1\n" + b"".join(b"%d\n" % row for row in range(1, 25)),
    b'name;age;text\r\n"a ""b""";1;"two\r\nlines"\r\nc;2;=cmd|\' /C calc\'!A0\r\n',
    "\ufeffä,ö\nü,ß\n".encode(),
    "a\tb\n1\t2\n".encode("utf-16"),
    b"a|b|c\r1|2|3\r",
    b'{"error": "no"}',
)
RULES = (Rules(), Rules(check=False), Rules(delimiter=";"), Rules(required_columns=("Input_1",), max_rows=5))


def is_a_table_or_refused(data: bytes, rules: Rules) -> bool:
    with bounded():
        found: Facts | Refused
        try:
            found = check(iter([data]), rules)
        except Refused as refused:
            found = refused
        if isinstance(found, Facts):
            assert 1 <= found.rows <= len(data)
        else:
            assert found.code in {"csv_empty", "csv_encoding", "csv_invalid", "too_many_rows"}
            assert found.line is None or 1 <= found.line <= len(re.split(rb"\r\n|\r|\n", data))
        with suppress(Refused):
            assert 0 <= rows_of_result([data], may_be_cut=True) <= rows_of_result([data])
    return True


ACTS = ("retry", "resolve", "redeliver", "adopt", "pause", "resume", "prune", "scan")
ARGUMENTS = (
    b'{"jobs": ["k3v9q0xw"], "failed": false, "route": null, "pay_again": true}',
    b'{"job_id": "k3v9q0xw", "task_id": "T", "not_submitted": false, "abandon": false}',
    b'{"route": "leads", "for_s": 3600, "reason": "because"}',
    b'{"older_than_s": 1e3, "dry_run": true}',
)


def is_of_its_kind_or_refused(act: str, body: bytes) -> bool:
    with bounded():
        try:
            arguments = arguments_of(getattr(Acts.__new__(Acts), act), body)
        except ValueError:
            return True
        assert "by" not in arguments
        for name in ("pay_again", "failed", "not_submitted", "abandon", "dry_run", "over_budget"):
            assert isinstance(arguments.get(name, False), bool)
        json.dumps(arguments).encode()
    return True


@CALM
@given(content=mutations_of(EXAMPLE))
def test_no_change_of_the_example_configuration_does_more_than_be_refused(content: bytes, tmp_path: Path) -> None:
    assert may_be_refused(tmp_path / "config.yaml", content)


@pytest.mark.fault("F9", "F13", "S21", "S22")
@CALM
@given(st.integers(100, 599), mutations_of(*ANSWERS), st.text(max_size=40) | st.from_regex(r"\A[0-9]{1,30}\Z"))
def test_no_change_of_an_answer_means_more_than_it_may(code: int, body: bytes, retry_after: str) -> None:
    assert means_what_it_may(code, body, retry_after)


@pytest.mark.fault("S12")
@CALM
@given(mutations_of(*TABLES), st.sampled_from(RULES))
def test_no_change_of_a_table_does_more_than_be_refused(data: bytes, rules: Rules) -> None:
    assert is_a_table_or_refused(data, rules)


@CALM
@given(st.sampled_from(ACTS), mutations_of(*ARGUMENTS))
def test_no_change_of_the_arguments_of_an_act_means_something_else(act: str, body: bytes) -> None:
    assert is_of_its_kind_or_refused(act, body)


@pytest.mark.system
@pytest.mark.timeout(1800)  # a few minutes each on two processors
@pytest.mark.fault("F9", "F13", "S12", "S21", "S22")
@pytest.mark.parametrize("what", ["configurations", "answers", "tables", "arguments"])
def test_twenty_thousand_changes_do_no_more_than_be_refused(
    what: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    count = 0

    def counted(one: Callable[..., bool], *args: object) -> None:
        nonlocal count
        count += 1
        assert one(*args)

    @DEEP
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        if what == "configurations":
            counted(may_be_refused, tmp_path / "config.yaml", data.draw(mutations_of(EXAMPLE)))
        elif what == "answers":
            code, retry_after = data.draw(st.integers(100, 599)), data.draw(st.text(max_size=40))
            counted(means_what_it_may, code, data.draw(mutations_of(*ANSWERS)), retry_after)
        elif what == "tables":
            counted(is_a_table_or_refused, data.draw(mutations_of(*TABLES)), data.draw(st.sampled_from(RULES)))
        else:
            counted(is_of_its_kind_or_refused, data.draw(st.sampled_from(ACTS)), data.draw(mutations_of(*ARGUMENTS)))

    fuzz()
    record_property(f"counted: mutated {what} read", count)
    assert count >= 20_000
