"""
Read durations, sizes and file modes as people write them, and write them back the same way.

Messages never repeat what was read: it might be a key typed on the wrong line.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
BYTES = {
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "KB": 10**3,
    "TiB": 2**40,
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "B": 1,
}

LONGEST_S = 36500 * 86400.0
"""A hundred years: any date plus this is still one that Python can show (before the year 9999)."""

LARGEST_BYTES = 2**63 - 1
"""What the kernel's off_t holds: no file can be larger."""

DURATION_FORMS = "write 200ms, 5s, 10m, 2h, 7d or a number of seconds"
SIZE_FORMS = "write 20MB, 512KiB or a whole number of bytes (MB is 1000², MiB is 1024²)"
MODE_FORMS = 'write three octal digits in quotes, such as "0640"'

_AMOUNT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?) ?([a-zA-Z]{1,3})", re.ASCII)
_UNIT_BYTES = {unit.lower(): factor for unit, factor in BYTES.items()}


def parse_duration(value: Any) -> float:
    """
    Read a duration.

    Shape: text of a number and one unit, or a plain number of seconds. Less than a millisecond is rounded: so every
        duration can be written back, also in the state, from where a removed route is read.
    Units: gives seconds.
    Errors: ValueError, in plain words.
    """
    if isinstance(value, str) and (found := _AMOUNT.fullmatch(value)) and (factor := SECONDS.get(found[2])):
        seconds = float(found[1]) * factor
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        seconds = float(min(value, LONGEST_S * 2))
    else:
        raise ValueError(f"must be a duration: {DURATION_FORMS}")
    if seconds < 0:
        raise ValueError(f"must not be negative: {DURATION_FORMS}")
    if seconds > LONGEST_S:
        raise ValueError("must be at most 36500d")
    return round(seconds * 1000) / 1000


def format_duration(seconds: float) -> str:
    """Write a duration in the largest unit that holds it as a whole number; `parse_duration` gives it back."""
    if seconds == 0:
        return "0s"
    milliseconds = round(seconds * 1000)
    units = {unit: round(factor * 1000) for unit, factor in SECONDS.items()}
    return next(f"{milliseconds // size}{unit}" for unit, size in units.items() if milliseconds % size == 0)


def parse_size(value: Any) -> int:
    """
    Read a size.

    Shape: text of a number and one unit in any case, or a whole number of bytes.
    Units: gives bytes; a broken byte is dropped.
    Errors: ValueError, in plain words.
    """
    if isinstance(value, str) and (found := _AMOUNT.fullmatch(value)) and (factor := _UNIT_BYTES.get(found[2].lower())):
        size_bytes = int(Decimal(found[1]) * factor)
    elif isinstance(value, int) and not isinstance(value, bool):
        size_bytes = value
    else:
        raise ValueError(f"must be a size: {SIZE_FORMS}")
    if size_bytes < 0:
        raise ValueError(f"must not be negative: {SIZE_FORMS}")
    if size_bytes > LARGEST_BYTES:
        raise ValueError("must be at most 8388607TiB")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Write a size in the unit that needs the fewest digits and is exact; `parse_size` gives it back."""
    exact = [f"{size_bytes // factor}{unit}" for unit, factor in BYTES.items() if size_bytes % factor == 0]
    return min(exact, key=len) if size_bytes else "0B"


def parse_mode(value: Any) -> int:
    """
    Read a file mode.

    Errors: ValueError, in plain words. A bare 0640 is refused: YAML 1.2 reads it as the decimal number 640.
    """
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError(f"must be a file mode: {MODE_FORMS}")
    return int(value, 8)


def format_mode(mode: int) -> str:
    """Write a file mode as four octal digits."""
    return f"{mode:04o}"


_AMOUNT_LIKE = r"^[0-9]{1,20}(\.[0-9]{1,20})? ?"

Duration = Annotated[
    float,
    BeforeValidator(
        parse_duration,
        json_schema_input_type=Annotated[str, Field(pattern=f"{_AMOUNT_LIKE}({'|'.join(SECONDS)})$")]
        | Annotated[float, Field(ge=0, le=LONGEST_S)],
    ),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
]
"""Seconds; zero is allowed."""

PositiveDuration = Annotated[Duration, Field(gt=0)]

Size = Annotated[
    int,
    BeforeValidator(
        parse_size,
        json_schema_input_type=Annotated[str, Field(pattern=f"{_AMOUNT_LIKE}([kKmMgGtT][iI]?)?[bB]$")]
        | Annotated[int, Field(ge=0, le=LARGEST_BYTES)],
    ),
    PlainSerializer(format_size, return_type=str, when_used="json"),
]
"""Bytes; zero is allowed."""

PositiveSize = Annotated[Size, Field(gt=0)]

Count = Annotated[int, Field(le=10**9)]
"""How many; a billion is more than any of them can mean, and fits every integer that it is handed to."""

Mode = Annotated[
    int,
    BeforeValidator(parse_mode, json_schema_input_type=Annotated[str, Field(pattern="^0?[0-7]{3}$")]),
    PlainSerializer(format_mode, return_type=str, when_used="json"),
]
"""Permission bits of a file."""
