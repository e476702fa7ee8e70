"""Turn jobs and events into rows and back. Knows no connection."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, State

COLUMNS = tuple(field.name for field in fields(Job))

PATHS = frozenset({"file", "inbox", "work", "result_path", "archive_path", "error_path"})
"""Stored as the bytes that the kernel knows."""


def text(value: str) -> str | bytes:
    """
    Make any string fit for a column.

    Shape: TEXT; bytes only where a lone surrogate (a name that is not UTF-8, half an emoji of an API) forbids that.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogatepass")
    return str(value)  # not State: sqlite3 is slower with a subclass


def untext(value: str | bytes) -> str:
    """Undo `text`."""
    return value if isinstance(value, str) else value.decode(errors="surrogatepass")


def _ids(value: Sequence[str]) -> str | None:
    return json.dumps(value) if value else None


_NAMED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    **dict.fromkeys(PATHS, (os.fsencode, os.fsdecode)),
    "state": (State.__str__, State),
    "earlier_task_ids": (_ids, lambda value: tuple(json.loads(value))),
    "inode": (str, int),
    "mtime_ns": (str, int),
    **dict.fromkeys(("is_closed", "may_pay_again", "takes_partial"), (int, bool)),
}
_ENCODERS = {
    field.name: _NAMED[field.name][0] if field.name in _NAMED else text
    for field in fields(Job)
    if field.name in _NAMED or field.type in {"str", "str | None"}
}
_DECODERS = tuple(
    (index, _NAMED[name][1] if name in _NAMED else untext) for index, name in enumerate(COLUMNS) if name in _ENCODERS
)
_facts_json = json.JSONEncoder(default=asdict).encode  # a Stamp is a dataclass, too
_values_of = attrgetter(*COLUMNS)
_EARLIER = COLUMNS.index("earlier_task_ids")


def column_value(name: str, value: Any) -> Any:
    """Give what stands for a field's value in the column of its name."""
    encode = _ENCODERS.get(name)
    return value if encode is None or value is None else encode(value)


def row_of(job: Job) -> list[Any]:
    """Give the values of COLUMNS."""
    return [column_value(name, value) for name, value in zip(COLUMNS, _values_of(job), strict=True)]


def job_of(row: Sequence[Any]) -> Job:
    """Undo `row_of`."""
    values = list(row)
    for index, decode in _DECODERS:
        if values[index] is not None:
            values[index] = decode(values[index])
    values[_EARLIER] = values[_EARLIER] or ()
    return Job(*values)


def difference(old: Job, new: Job) -> tuple[list[str], list[Any]]:
    """Give the columns that differ, and their new values: what did not change touches no index."""
    pairs = zip(COLUMNS, _values_of(old), _values_of(new), strict=True)
    changed = [(name, after) for name, before, after in pairs if before != after]
    return [name for name, _ in changed], [column_value(name, after) for name, after in changed]


def event_name(event: Event) -> str:
    """Name an event in a journal: GaveUp → gave_up."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def event_facts(event: Event) -> str:
    """Write an event's fields as JSON, without those that say nothing."""
    facts = {field.name: value for field in fields(event) if (value := getattr(event, field.name)) not in {None, ()}}
    return _facts_json(facts)
