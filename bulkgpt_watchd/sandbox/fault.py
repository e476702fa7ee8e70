"""
The vocabulary of planned faults: one fault is which call, when in it, and what happens then.

KEYS is the whole table; a scenario file, a control call and Python use the same names. Nothing here acts.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from bulkgpt_watchd.sandbox.answer import EVERY_ROW

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


class WrongFault(ValueError):
    """Say which key of a fault is wrong and what it takes."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """
    One planned fault.

    Errors: WrongFault, if a value is not one that KEYS allows, or keys do not go together.
    """

    call: str
    nth: int = 1
    times: int | str = 1
    workflow: str | None = None
    sha256: str | None = None
    contains: str | None = None
    when: str | None = None
    until_s: float | None = None
    name: str = ""
    at: str = END
    body_bytes: int | None = None
    delay_s: float = 0
    reset: bool = False
    hang: bool = False
    accept: bool | None = None
    http_status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    json: Any = None
    error: str | None = None
    reply: str | None = None
    replace: Mapping[str, Any] = field(default_factory=dict)
    omit: tuple[str, ...] = ()
    link: str | None = None
    transfer: str | None = None
    answer_bytes: int | None = None
    bytes_per_s: float | None = None
    task_id: str | None = None
    task_end: str | None = None
    rows_failed: int | str = 0
    rows_missing: int = 0
    rows_extra: int = 0

    def __post_init__(self) -> None:
        for key in sorted(self.given, key=list(KEYS).index):
            try:
                object.__setattr__(self, key, KEYS[key].check(getattr(self, key)))
            except ValueError as error:
                raise WrongFault(key, f"{getattr(self, key)!r} is wrong: it takes {error}") from None
            if self.call not in KEYS[key].calls:
                raise WrongFault(key, f"does not go with call: {self.call}, only with {' or '.join(KEYS[key].calls)}")
        self._check_together()

    def _check_together(self) -> None:
        given = self.given
        if not given & _ACTS:
            raise WrongFault("call", f"this fault does nothing; give it one of {', '.join(sorted(_ACTS))}")
        if len(bodies := given & _BODIES) > 1:
            raise WrongFault(min(bodies), f"give only one of {', '.join(sorted(bodies))}")
        if "reset" in given or "hang" in given:
            for key in sorted(given & (_ANSWER | {"hang"}) if "reset" in given else given & _ANSWER):
                raise WrongFault(key, f"cannot happen together with {'reset' if self.reset else 'hang'}")
        for key in sorted(given & _WHOLE_BODY[self.at]):
            raise WrongFault(key, f"is not known, or too early, at: {self.at}; leave one of the two out")
        for key, needs, values in _NEEDS:
            if key in given and getattr(self, needs) not in values:
                raise WrongFault(key, f"goes only with {needs}: {' or '.join(values)}")
        if self.reply is not None and self.call not in REPLIES[self.reply]:
            raise WrongFault("reply", f"{self.reply} goes only with call: {' or '.join(REPLIES[self.reply])}")

    @property
    def given(self) -> set[str]:
        """The keys that differ from their default."""
        return {each.name for each in fields(self) if getattr(self, each.name) not in _unset(each.name)}

    @property
    def accepts(self) -> bool:
        """Whether a submit that this fault hits is accepted all the same."""
        if self.accept is not None:
            return self.accept
        if self.reset or self.hang or self.error is not None:
            return False
        return (self.http_status or 200) < 300 or self.reply == "ordinary"

    @property
    def answers(self) -> bool:
        """Whether the answer is this fault's."""
        return bool(self.given & _ANSWER)

    @property
    def failed_rows(self) -> int:
        return EVERY_ROW if isinstance(self.rows_failed, str) else self.rows_failed

    def __str__(self) -> str:
        return self.name or " ".join(f"{key}={getattr(self, key)}" for key in KEYS if key in self.given)

    def as_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in KEYS if key in self.given}


def fault_from(mapping: Mapping[str, Any]) -> Fault:
    """
    Make a fault of the words of a scenario file or a control call.

    Errors: WrongFault, which names the key.
    """
    for key in mapping:
        if key not in KEYS:
            raise WrongFault(str(key), f"unknown{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}")
    if "call" not in mapping:
        raise WrongFault("call", f"is missing; it takes {_words(*CALLS)}")
    return Fault(**mapping)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Name the closest of the known words, if one is close."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {close[0]}" if close else ""


def _words(*words: str) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _unset(key: str) -> tuple[Any, ...]:
    default = Fault.__dataclass_fields__[key]
    return ({},) if callable(default.default_factory) else (default.default,)


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(_words(*words))
        return str(value)

    return check


def _whole(least: int, word: str | None = None) -> Callable[[Any], int | str]:
    def check(value: Any) -> int | str:
        if word is not None and value == word:
            return word
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"a whole number of at least {least}" + (f", or {word}" if word else ""))
        return value

    return check


def seconds(value: Any) -> float:
    """
    Check a number of seconds, bytes a second, or the like.

    Errors: ValueError, saying what would do.
    """
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
    return {str(name): str(each) for name, each in value.items()}


def _object(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("names, each with any JSON value")  # noqa: TRY004  # the same
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("a list of names")
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
    "nth": Key(_whole(1), CALLS, "from the n-th matching call on, counted since the fault was planned"),
    "times": Key(_whole(1, "always"), CALLS, "how many matching calls it hits"),
    "workflow": Key(_text, CALLS, "only this workflow ID"),
    "sha256": Key(_text, CALLS, "only the CSV with this hash (hexadecimal)"),
    "contains": Key(_text, CALLS, "only a CSV with this text in it"),
    "when": Key(_one_of(*STATUS_WORDS), _TASK, "only while the task has this status"),
    "until_s": Key(seconds, _TASK, "only in the first so many seconds of the task"),
    "name": Key(_text, CALLS, "how the ledger and the log call it"),
    "at": Key(_one_of(*STAGES), _POSTS, "before the body is read, in the middle of it, or after it"),
    "body_bytes": Key(_whole(1), _POSTS, "how much of the body is read in the middle; otherwise half"),
    "delay_s": Key(seconds, CALLS, "wait so long, then go on; at the end, after it was accepted"),
    "reset": Key(_flag, CALLS, "reset the connection (RST) instead of answering"),
    "hang": Key(_flag, CALLS, "never answer, and keep the connection"),
    "accept": Key(_flag, (SUBMIT,), "whether it is accepted (and paid) all the same"),
    "http_status": Key(_http_status, CALLS, "the HTTP status of the answer"),
    "headers": Key(_headers, CALLS, "headers of the answer, such as Retry-After or Location"),
    "body": Key(_text, CALLS, "the body of the answer"),
    "json": Key(lambda value: value, CALLS, "the body of the answer, as JSON"),
    "error": Key(_text, _POSTS, 'the body {"error": TEXT}'),
    "reply": Key(_one_of(*REPLIES), CALLS, "a ready-made answer"),
    "replace": Key(
        _object, _POSTS, "keys of the answer (for a status call: of its inner object) that get other values"
    ),
    "omit": Key(_names, _POSTS, "keys of that object that are left out"),
    "link": Key(_one_of("expired", "forged"), (STATUS,), "the downloadUrl is expired, or its signature wrong"),
    "transfer": Key(_one_of(*TRANSFERS), CALLS, "how the body of the answer is sent"),
    "answer_bytes": Key(_whole(0), CALLS, "how much of it comes; otherwise half (close_delimited: all)"),
    "bytes_per_s": Key(seconds, CALLS, "how fast it drips; otherwise 16"),
    "task_id": Key(_text, (SUBMIT,), "the task gets this ID; `previous`: the one handed out last"),
    "task_end": Key(_one_of("error", "canceled", "never"), (SUBMIT,), "how the task ends"),
    "rows_failed": Key(_whole(0, "all"), (SUBMIT,), "so many rows (or all) fail and have an empty result"),
    "rows_missing": Key(_whole(0), (SUBMIT,), "so many rows are not in the result"),
    "rows_extra": Key(_whole(0), (SUBMIT,), "so many rows too many are in the result"),
}

_BODIES = {"body", "json", "error", "reply"}
_ANSWER = _BODIES | {"http_status", "headers", "replace", "omit", "link", "transfer", "answer_bytes", "bytes_per_s"}
_TASK_KEYS = {"task_id", "task_end", "rows_failed", "rows_missing", "rows_extra"}
_ACTS = _ANSWER | _TASK_KEYS | {"delay_s", "reset", "hang", "accept"}
_EARLY = _TASK_KEYS | {"accept", "replace", "omit", "sha256"}
_WHOLE_BODY = {START: _EARLY | {"workflow", "contains"}, MIDDLE: _EARLY, END: set[str]()}
_NEEDS = (
    ("body_bytes", "at", (MIDDLE,)),
    ("bytes_per_s", "transfer", ("dripping",)),
    ("answer_bytes", "transfer", ("truncated", "close_delimited", "stalled", "reset")),
)
