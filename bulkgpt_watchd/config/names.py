"""Judge the names in a route: its own, its workflow's, file name patterns and templates."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from bulkgpt_watchd.core.names import MARKER_FIELDS, RESULT_FIELDS

_ROUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # fits a metric's label and a column of `status`
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_route_name(value: object) -> bool:
    """Tell whether a route may be called so."""
    return isinstance(value, str) and _ROUTE_NAME.fullmatch(value) is not None


def _check_route_name(value: str) -> str:
    if not is_route_name(value):
        raise ValueError("must be 1 to 64 letters, digits, - _ or . and begin with a letter or a digit")
    return value


def _check_text(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters or line breaks")
    if value != value.strip():
        raise ValueError("must not begin or end with a space")
    return value


def _check_pattern(value: str) -> str:
    if "/" in value:
        raise ValueError("must be a pattern for a file name, without /; `recursive: true` looks into sub-folders")
    return _check_text(value)


def _check_delimiter(value: str) -> str:
    if value != "auto" and (len(value) != 1 or value in '"\r\n\0'):
        raise ValueError('must be auto or one character, such as ";" or "\\t"')
    return value


def _check_template(value: str, fields: frozenset[str]) -> str:
    rest = re.sub(rf"\{{({'|'.join(fields)})\}}", "", value)
    if "{" in rest or "}" in rest:
        known = " ".join(f"{{{field}}}" for field in sorted(fields))
        raise ValueError(f"must be a file name in which {{…}} is one of {known}")
    if "/" in value:
        raise ValueError("must be a file name, without /")
    return _check_text(value)


def _check_marker(value: str) -> str:
    if "{name}" not in value:
        raise ValueError("must contain {name}, the name of the file that the marker belongs to")
    return _check_template(value, MARKER_FIELDS)


def _check_result_name(value: str) -> str:
    if value.startswith((".", "{suffix}")):
        raise ValueError("must not begin with a dot: those names are for results that are still being written")
    return _check_template(value, RESULT_FIELDS)


def _check_result_marker(value: str) -> str:
    _check_result_name(value)
    if not any(field in value for field in ("{name}", "{stem}", "{job}")):
        raise ValueError("must contain {name}, {stem} or {job}, or all results would share one marker")
    if value in {"{name}", "{stem}{suffix}"}:
        raise ValueError("must not be the name of the result itself")
    return value


def _like(pattern: str) -> WithJsonSchema:
    """Say the same for the JSON Schema, as far as one pattern can."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


def _like_template(fields: frozenset[str], beginning: str = "") -> WithJsonSchema:
    return _like(rf"^{beginning}(?!\s)([^{{}}/]|\{{({'|'.join(sorted(fields))})\}})+(?<!\s)$")


_NO_DOT = r"(?!\.|\{suffix\})"


RouteName = Annotated[str, AfterValidator(_check_route_name), _like(f"^{_ROUTE_NAME.pattern}$")]
Text = Annotated[str, AfterValidator(_check_text), _like(r"^\S(.*\S)?$")]
"""One line, not empty."""
Pattern = Annotated[str, AfterValidator(_check_pattern), _like(r"^(?!\s)[^/]*[^/\s]$")]
"""A shell pattern for file names."""
Delimiter = Annotated[str, AfterValidator(_check_delimiter), _like(r'^(auto|[^"\r\n])$')]
"""`auto` or one character."""
MarkerTemplate = Annotated[str, AfterValidator(_check_marker), _like_template(MARKER_FIELDS, r"(?=.*\{name\})")]
"""A file name with {name}, and perhaps {stem}; braces mean nothing else."""
ResultTemplate = Annotated[str, AfterValidator(_check_result_name), _like_template(RESULT_FIELDS, _NO_DOT)]
"""A file name with {name} {stem} {suffix} {job}; braces mean nothing else."""
ResultMarkerTemplate = Annotated[
    str,
    AfterValidator(_check_result_marker),
    _like_template(RESULT_FIELDS, _NO_DOT + r"(?=.*\{(name|stem|job)\})(?!(\{name\}|\{stem\}\{suffix\})$)"),
]
"""The same, and different for every result."""
