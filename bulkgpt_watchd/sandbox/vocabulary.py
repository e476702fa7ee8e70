"""
The words of planned faults: KEYS is the whole table of what a fault may say.

A scenario file, a control call and Python use the same names. Nothing here acts.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

SUBMIT, STATUS, DOWNLOAD = CALLS = ("submit", "status", "download")
START, MIDDLE, END = STAGES = ("start", "middle", "end")
STATUS_WORDS = ("preparing", "inProgress", "finalizing", "completed", "error", "canceled")
REPLIES = {
    "garbage": CALLS,
    "html": CALLS,
    "xml": CALLS,
    "empty": CALLS,
    "ordinary": CALLS,
    "truncated": (SUBMIT, STATUS),
    "deep": (SUBMIT, STATUS),
    "expired": (DOWNLOAD,),
    "redirect": (DOWNLOAD,),
}
TRANSFERS = ("truncated", "close_delimited", "chunked", "stalled", "dripping", "gzipped", "endless", "reset")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Name the closest of the known words, if one is close."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {close[0]}" if close else ""


def listed(*words: str) -> str:
    """Write words as a person lists them."""
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(listed(*words))
        return str(value)

    return check


def whole(least: int, word: str | None = None) -> Callable[[Any], int | str]:
    """Make a check for a whole number, or a word in its place; it raises ValueError, saying what would do."""

    def check(value: Any) -> int | str:
        if word is not None and value == word:
            return word
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"a whole number of at least {least}" + (f", or {word}" if word else ""))
        return value

    return check


def seconds(value: Any) -> float:
    """Check a number of seconds, bytes a second, or the like; it raises ValueError, saying what would do."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("a number of at least 0")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004  # one kind of error for any wrong value
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text; put it in quotes")  # noqa: TRY004  # the same
    return value


def _http_status(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 200 <= value <= 599:
        raise ValueError("an HTTP status from 200 to 599")
    return value


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str | int) for each in value.values()):
        raise ValueError("header names, each with text or a number")
    if not all(str(each).isprintable() for pair in value.items() for each in pair):
        raise ValueError("header names and values without control characters")
    return {str(name): str(each) for name, each in value.items()}


def _json(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"what JSON can say ({error})") from None
    return value


def _object(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("names, each with any JSON value")  # noqa: TRY004  # the same
    return _json(value)


def names(value: Any) -> tuple[str, ...]:
    """Check a list of names; it raises ValueError, saying what would do."""
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("a list of names, each as text")
    return tuple(value)


class Key(NamedTuple):
    """One word of the vocabulary: what it takes, which calls it goes with, what it means."""

    check: Callable[[Any], Any]
    calls: tuple[str, ...]
    meaning: str


_POSTS = (SUBMIT, STATUS)
_TASK = (STATUS, DOWNLOAD)

KEYS: dict[str, Key] = {
    "call": Key(_one_of(*CALLS), CALLS, "which call it hits"),
    "nth": Key(whole(1), CALLS, "from the n-th matching call on, counted since the fault was planned"),
    "times": Key(whole(1, "always"), CALLS, "how many matching calls it hits"),
    "workflow": Key(_text, CALLS, "only this workflow ID"),
    "sha256": Key(_text, CALLS, "only the CSV with this hash (hexadecimal)"),
    "contains": Key(_text, CALLS, "only a CSV with this text in it"),
    "when": Key(_one_of(*STATUS_WORDS), _TASK, "only while the task has this status"),
    "until_s": Key(seconds, _TASK, "only in the first so many seconds of the task"),
    "name": Key(_text, CALLS, "how the ledger and the log call it"),
    "at": Key(_one_of(*STAGES), _POSTS, "before the body is read, in the middle of it, or after it"),
    "body_bytes": Key(whole(1), _POSTS, "how much of the body is read in the middle; otherwise half"),
    "delay_s": Key(seconds, CALLS, "wait so long, then go on; at the end, after it was accepted"),
    "reset": Key(_flag, CALLS, "reset the connection (RST) instead of answering"),
    "hang": Key(_flag, CALLS, "never answer, and keep the connection"),
    "accept": Key(_flag, (SUBMIT,), "whether it is accepted (and paid) all the same"),
    "http_status": Key(_http_status, CALLS, "the HTTP status of the answer"),
    "headers": Key(_headers, CALLS, "headers of the answer, such as Retry-After or Location"),
    "body": Key(_text, CALLS, "the body of the answer"),
    "json": Key(_json, CALLS, "the body of the answer, as JSON"),
    "error": Key(_text, _POSTS, 'the body {"error": TEXT}'),
    "reply": Key(_one_of(*REPLIES), CALLS, "a ready-made answer"),
    "replace": Key(
        _object, _POSTS, "keys of the answer (for a status call: of its inner object) that get other values"
    ),
    "omit": Key(names, _POSTS, "keys of that object that are left out"),
    "link": Key(_one_of("expired", "forged"), (STATUS,), "the downloadUrl is expired, or its signature wrong"),
    "transfer": Key(_one_of(*TRANSFERS), CALLS, "how the body of the answer is sent"),
    "answer_bytes": Key(whole(0), CALLS, "how much of it comes; otherwise half (close_delimited: all)"),
    "bytes_per_s": Key(seconds, CALLS, "how fast it drips; otherwise 16"),
    "task_id": Key(_text, (SUBMIT,), "the task gets this ID; `previous`: the one handed out last"),
    "task_end": Key(_one_of("error", "canceled", "never"), (SUBMIT,), "how the task ends"),
    "rows_failed": Key(whole(0, "all"), (SUBMIT,), "so many rows (or all) fail and have an empty result"),
    "rows_missing": Key(whole(0), (SUBMIT,), "so many rows are not in the result"),
    "rows_extra": Key(whole(0), (SUBMIT,), "so many rows too many are in the result"),
}

BODIES = {"body", "json", "error", "reply"}
ANSWER = BODIES | {"http_status", "headers", "replace", "omit", "link", "transfer", "answer_bytes", "bytes_per_s"}
_TASK_KEYS = {"task_id", "task_end", "rows_failed", "rows_missing", "rows_extra"}
ACTS = ANSWER | _TASK_KEYS | {"delay_s", "reset", "hang", "accept"}
_EARLY = _TASK_KEYS | {"accept", "replace", "omit", "sha256"}
NEEDS_BODY = {START: _EARLY | {"workflow", "contains"}, MIDDLE: _EARLY, END: set[str]()}
NEEDS = (
    ("body_bytes", "at", (MIDDLE,)),
    ("bytes_per_s", "transfer", ("dripping",)),
    ("answer_bytes", "transfer", ("truncated", "close_delimited", "stalled", "reset")),
)
