"""
Check data against the models, and say every mistake in plain words.

Messages never repeat a value that was read: it might be a key typed on the wrong line.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic_core import ErrorDetails

from bulkgpt_watchd.config.document import Trail
from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.section import Section


def section_in(annotation: Any) -> type[Section] | None:
    """Find the section that a field's type is made of: itself, or what is optional or listed."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((section for part in get_args(annotation) if (section := section_in(part))), None)


def section_at(trail: Trail) -> type[Section]:
    """Find the section that stands at a trail of known keys."""
    section: type[Section] = ConfigFile
    for key in trail:
        if isinstance(key, str):
            section = section_in(section.model_fields[key].annotation) or section
    return section


def key_paths(section: type[Section] = ConfigFile, prefix: str = "") -> Iterator[str]:
    """Give every key there is, written as `routes[].poll.min`."""
    for key, field in section.model_fields.items():
        yield f"{prefix}{key}"
        if inner := section_in(field.annotation):
            dots = "[]." if key == "routes" else "."
            yield from key_paths(inner, f"{prefix}{key}{dots}")


_PLAIN_WORDS = {
    "missing": "this key is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": 'must be a list, such as ["a", "b"]',
    "model_type": "must be a mapping, with lines such as `key: value`",
    "too_short": "must not be an empty list",
}


def plain_words(error: ErrorDetails) -> str:
    """Say what pydantic found, for somebody who never heard of it."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(error["loc"])
    if value is None and kind != "missing":
        return "has no value" if _is_needed(error["loc"]) else "has no value; leave the key out for its default"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "must be text; put it in quotes"
    if kind == "literal_error":
        return f"must be {context['expected']}".replace("'", "")
    said = error["msg"].replace("Input should be", "must be")
    said = said.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    return _PLAIN_WORDS.get(kind, said)


def _is_needed(trail: Trail) -> bool:
    *parents, key = trail
    field = section_at(tuple(parents)).model_fields.get(str(key))
    return field is None or field.is_required()  # without a field it is an item of a list


def unknown_key(trail: Trail) -> str:
    """Say what to do about a key that is not there: where it belongs, first below this place, or the nearest here."""
    *parents, key = trail
    section = section_at(tuple(parents))
    if key in section.LATER:
        return "not implemented in this version; leave it out"
    if key == "<<":
        return "unknown key; merge keys are not YAML 1.2, put what routes share under defaults"
    paths = (*key_paths(section), *key_paths())
    if elsewhere := next((path for path in paths if path.endswith(f".{key}")), None):
        return f"unknown key here; did you mean '{elsewhere}'?"
    if near := get_close_matches(str(key).lower().replace("-", "_"), section.model_fields, n=1):
        return f"unknown key; did you mean '{near[0]}'?"
    return "unknown key"
