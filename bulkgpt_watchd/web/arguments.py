"""Read what an act is asked with. Nothing is guessed: `"false"` is no false, and taken for true it would pay again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from inspect import signature
from types import NoneType
from typing import Any, get_args, get_type_hints

Act = Callable[..., Awaitable[dict[str, Any]]]

LONGEST_S = 36500 * 86400
"""A century, as in the configuration: longer times cannot be told as a date."""


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()  # it is shown on terminals


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_S


KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a line of text", _is_line),
    float: (f"a number of seconds, at most {LONGEST_S}", _is_time),
    Sequence[str]: ("a list of texts", lambda value: isinstance(value, list) and all(map(_is_line, value))),
    NoneType: ("null", lambda value: value is None),
}
"""What may stand for each type that an act's arguments have."""


def arguments_of(act: Act, body: bytes) -> dict[str, Any]:
    """
    Read the named arguments of an act, which its signature tells; *by* is not for the asker to say.

    Errors: ValueError, in plain words.
    """
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004  # for the asker: it is no type of ours
    known = {name: parameter for name, parameter in signature(act).parameters.items() if name != "by"}
    if unknown := given.keys() - known.keys():
        raise ValueError(f"unknown argument {min(unknown)!r}; there are: {', '.join(known) or 'none'}")
    if missing := [name for name, one in known.items() if one.default is one.empty and name not in given]:
        raise ValueError(f"{missing[0]} is missing")
    hints = get_type_hints(act)
    for name, value in given.items():
        kinds = [KINDS[kind] for kind in (hints[name],) if kind in KINDS] or [KINDS[it] for it in get_args(hints[name])]
        if not any(is_one(value) for _, is_one in kinds):
            raise ValueError(f"{name} must be {' or '.join(words for words, _ in kinds)}")
    return given
