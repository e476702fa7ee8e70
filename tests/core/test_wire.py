"""What each answer of BulkGPT means: accepted, certainly not, or a doubt; and that hostile bytes mean no more."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.core import wire
from bulkgpt_watchd.core.errors import (
    Denied,
    OutcomeUnknown,
    Refused,
    ReplyNotUnderstood,
    TaskNotKnown,
    Unavailable,
    WatchdError,
)
from bulkgpt_watchd.core.wire import Reply, TaskStatus, read_status_reply, read_submit_reply

TASK_ID = "MTcyNjAzNjU5M18yMDI0LTA5LTExLTA2OjM2OjMz"
NOW = 1_445_412_420.0
"""Wed, 21 Oct 2015 07:27:00 GMT: a minute before the date in RFC 9110's example."""

EVERY_CODE = [*range(100, 600), 0, 999]

HOSTILE = [
    b"",
    b"null",
    b"7",
    b'"taskId"',
    b"[]",
    b"{}",
    b"[" * 200_000,
    b'{"error":' * 100_000,
    b'{"taskId": ' + b"9" * 5_000 + b"}",
    b'{"taskId": NaN}',
    b'{"taskId": 1e999, "error": {"message": "no"}}',
    b'{"taskId": "\xff"}',
    b'{"taskId": "a", "taskId": "b"}',
    b'{"taskId": "a"',
    b'{"task_id": "a"}',
    b'{"error": ""}',
    b'{"error": 7}',
    b'{"status": "completed"}',
    b'{"status": {"status": 7}}',
    b'{"status": {"status": ""}}',
    b'{"status": {}}',
    b'{"status": {"status": "a\\u001b[2J"}}',
    b"<html>Sign in</html>",
    '{"taskId": "a"}'.encode("utf-16"),
]


def reply(code: int, answer: object = None, **headers: str) -> Reply:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def submitted(answer: Reply, *, passed: bool = True) -> str | WatchdError:
    try:
        return read_submit_reply(answer, passed=passed, now=NOW)
    except WatchdError as error:
        return error


def polled(answer: Reply) -> TaskStatus | WatchdError:
    try:
        return read_status_reply(answer, now=NOW)
    except WatchdError as error:
        return error


@pytest.mark.parametrize("workflow_id", ["v0#Workflow#6b056f#1721762149339", 'a"\\b', "Käse\u2028", "\udce4", ""])
@pytest.mark.parametrize("csv", [b"", b"a", b"ab", b"abc", b"a,b\n1,2\n"])
def test_a_submit_is_the_json_of_the_vendor_and_its_length_is_known_before(workflow_id: str, csv: bytes) -> None:
    before, after = wire.submit_envelope(workflow_id)
    body = before + base64.b64encode(csv) + after

    assert json.loads(body) == {"workflowId": workflow_id, "csvBase64": base64.b64encode(csv).decode()}
    assert wire.body_bytes(workflow_id, len(csv)) == len(body)


def test_a_body_without_its_end_is_no_json() -> None:
    before, after = wire.submit_envelope("w")
    body = before + base64.b64encode(b"a,b\n") + after

    for length in range(len(body)):
        with pytest.raises(json.JSONDecodeError):
            json.loads(body[:length])


def test_a_status_call_names_the_task() -> None:
    assert json.loads(wire.status_request(TASK_ID)) == {"taskId": TASK_ID}


@pytest.mark.fault("F11")
@pytest.mark.parametrize("passed", [True, False])
def test_a_task_id_means_accepted_whatever_the_code(passed: bool) -> None:
    for code in EVERY_CODE:
        answer = reply(code, {"taskId": TASK_ID, "error": "Invalid API key"}, retry_after="5")

        assert submitted(answer, passed=passed) == TASK_ID


def test_a_task_id_is_read_behind_a_byte_order_mark() -> None:
    assert submitted(reply(200, b'\xef\xbb\xbf\r\n{"taskId": "a+/= b"}')) == "a+/= b"


CERTAINLY_NOT = {
    **dict.fromkeys(sorted({*range(300, 400)} - {303}), Denied),
    **dict.fromkeys(sorted({*range(400, 500)} - {408, 413, 429, 499}), Denied),
    413: Refused,
    429: Unavailable,
}
"""By code, for bodies that are not BulkGPT's. All others are doubts."""


@pytest.mark.fault("F8")
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"{}", b'{"message": "Forbidden"}'])
def test_what_is_not_on_the_list_of_certain_refusals_is_a_doubt(body: bytes) -> None:
    for code in EVERY_CODE:
        answer = submitted(reply(code, body))

        assert type(answer) is CERTAINLY_NOT.get(code, OutcomeUnknown), code


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"{}"])
def test_before_the_point_of_no_return_nothing_is_a_doubt(body: bytes) -> None:
    for code in EVERY_CODE:
        answer = submitted(reply(code, body), passed=False)

        assert type(answer) is CERTAINLY_NOT.get(code, Unavailable), code


def test_an_error_in_json_is_believed_under_200_and_4xx_only() -> None:
    expected: dict[int, type] = {
        **CERTAINLY_NOT,
        200: Refused,
        **dict.fromkeys(sorted({*range(400, 500)} - {401, 402, 403, 408, 429, 499}), Refused),
    }
    for code in EVERY_CODE:
        answer = submitted(reply(code, {"error": "Workflow not found"}))

        assert type(answer) is expected.get(code, OutcomeUnknown), code


def test_a_rejection_carries_the_words_of_the_api() -> None:
    answer = submitted(reply(200, {"error": "Workflow \x1b[2Jnot\nfound"}))

    assert isinstance(answer, Refused)
    assert (answer.code, answer.http_status) == ("rejected", 200)
    assert answer.api_message == r"Workflow \x1b[2Jnot\x0afound"


def test_too_large_is_told_apart_from_rejected() -> None:
    answer = submitted(reply(413, {"error": "Upgrade your plan to send larger files"}))

    assert isinstance(answer, Refused)
    assert (answer.code, answer.http_status) == ("too_large", 413)


@pytest.mark.parametrize("code", [200, 400, 401, 402, 403, 404, 422])
@pytest.mark.parametrize("passed", [True, False])
def test_an_error_about_the_account_blames_no_file(code: int, passed: bool) -> None:
    answer = submitted(reply(code, {"error": "You have run out of credits"}), passed=passed)

    assert isinstance(answer, Denied)
    assert (answer.http_status, answer.api_message) == (code, "You have run out of credits")


@pytest.mark.parametrize("code", [408, 499])
def test_a_timeout_of_the_server_is_a_doubt_even_with_an_error(code: int) -> None:
    assert isinstance(submitted(reply(code, {"error": "Invalid API key"})), OutcomeUnknown)
    assert isinstance(submitted(reply(code, {"error": "Request timeout"}), passed=False), Unavailable)


@pytest.mark.fault("S22")
@pytest.mark.parametrize("code", [200, 400, 401, 413, 429, 503])
@pytest.mark.parametrize("task_id", [7, True, [], {}, " ", "a" * 513, "a\nb", "\ud800", "\u202e"])
def test_a_task_id_that_cannot_be_one_is_a_doubt(code: int, task_id: object) -> None:
    answer = reply(code, {"taskId": task_id, "error": "no"}, retry_after="5")

    assert isinstance(submitted(answer), OutcomeUnknown)
    assert isinstance(submitted(answer, passed=False), Unavailable)


@pytest.mark.fault("S15")
def test_a_redirect_is_told_with_its_target_and_without_a_query() -> None:
    words = "HTTP 307, a redirect to https://a.example/x\\x1b: not followed, since the key would go along"
    assert str(submitted(reply(307, location="https://a.example/x\x1b?sig=1"))) == words
    assert str(polled(reply(307, location="https://a.example/x\x1b?sig=1"))) == words


@pytest.mark.fault("S25")
def test_a_key_that_is_repeated_is_told_to_nobody() -> None:
    def echo(code: int, body: str, secret: str = "sk-1234567890") -> Reply:
        answer = body.replace("KEY", secret).encode()
        return Reply(code, {"content-type": f"text/{secret}"}, answer, secret=secret)

    refused = submitted(echo(401, '{"error": "Invalid API key: KEY"}'))
    assert isinstance(refused, Denied)
    assert (str(refused), refused.api_message) == ("HTTP 401: Invalid API key: ***", "Invalid API key: ***")
    assert isinstance(submitted(echo(200, '{"taskId": "task-KEY"}')), OutcomeUnknown)
    assert "(text/***)" in str(submitted(echo(500, "KEY")))
    assert str(polled(echo(404, '{"error": "no task of KEY"}'))) == "no task of ***"
    status = polled(echo(200, '{"status": {"status": "KEY", "downloadUrl": "https://a.example/?k=KEY"}}'))
    assert isinstance(status, TaskStatus)
    assert (status.word, status.download_url) == ("***", None)
    assert submitted(echo(200, '{"taskId": "taskKEY"}', secret="ask")) == "taskask", "so short is no key"


@pytest.mark.parametrize("task_id", [None, ""])
def test_an_empty_task_id_beside_an_error_is_none(task_id: object) -> None:
    assert isinstance(submitted(reply(200, {"taskId": task_id, "error": "no"})), Refused)
    assert isinstance(submitted(reply(200, {"taskId": task_id})), OutcomeUnknown)


@pytest.mark.fault("F9", "S21")
@pytest.mark.parametrize("body", HOSTILE)
@pytest.mark.parametrize("code", [200, 201, 500])
def test_a_hostile_answer_to_a_submit_is_a_doubt(code: int, body: bytes) -> None:
    assert isinstance(submitted(reply(code, body)), OutcomeUnknown)


def test_a_cut_answer_is_not_read() -> None:
    body = json.dumps({"taskId": TASK_ID, "status": {"status": "completed"}}).encode()

    assert isinstance(submitted(Reply(200, {}, body, truncated=True)), OutcomeUnknown)
    assert isinstance(polled(Reply(200, {}, body, truncated=True)), ReplyNotUnderstood)


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("1.5", 1.5),
        ("-7", 0),
        ("9" * 5_000, 365 * 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60),
        ("Wed, 21 Oct 2015 07:26:00 GMT", 0),
        ("Wed, 21 Oct 2025 07:28:00 GMT", 365 * 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 365 * 86_400),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("1e9", None),
        ("1_000", None),
        ("٣", None),
        ("Wed, 35 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_and_bounded(value: str, wait_s: float | None) -> None:
    for code in (429, 503):
        answers = [submitted(reply(code, b"", retry_after=value)), polled(reply(code, b"", retry_after=value))]

        for answer in answers:
            assert isinstance(answer, Unavailable)
            assert answer.retry_after_s == wait_s


@pytest.mark.fault("F8")
def test_a_503_with_retry_after_is_certain_and_without_it_a_doubt() -> None:
    assert isinstance(submitted(reply(503, {"error": "no"}, retry_after="soon")), Unavailable)
    assert isinstance(submitted(reply(503, {"error": "no"})), OutcomeUnknown)
    assert isinstance(submitted(reply(502, b"", retry_after="5")), OutcomeUnknown)


def test_a_message_never_shows_a_body_that_may_show_the_request() -> None:
    echo = b"<pre>POST /upload-trigger x-api-key: secret</pre>"

    assert "secret" not in str(submitted(reply(502, echo, content_type="text/html")))
    assert "text/html" in str(polled(reply(502, echo, content_type="text/html")))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["completed", "API key"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["status", "downloadUrl"]), inner),
    max_leaves=5,
)
ANSWERS = st.dictionaries(st.sampled_from(["taskId", "error", "status", "message"]), JSON).map(
    lambda answer: json.dumps(answer).encode()
)


@pytest.mark.fault("S21")
@settings(deadline=None)  # other tests share the processors
@given(st.sampled_from(EVERY_CODE), st.binary() | ANSWERS, st.dictionaries(st.just("retry-after"), st.text()))
@example(200, b'{"status": {"status": "completed", "totalNumOfTasks": -0.0}}', {})
def test_no_answer_raises_anything_but_what_it_may_mean(code: int, body: bytes, headers: dict[str, Any]) -> None:
    answer = Reply(code, headers, body)

    for passed in (True, False):
        with contextlib.suppress(Unavailable, Denied, Refused, *[OutcomeUnknown] * passed):
            task_id = read_submit_reply(answer, passed=passed, now=NOW)
            assert task_id.isprintable()
    with contextlib.suppress(Unavailable, Denied, TaskNotKnown, ReplyNotUnderstood):
        assert read_status_reply(answer, now=NOW).word.isprintable()
