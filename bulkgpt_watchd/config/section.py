"""Give every part of the configuration the same strictness, and paths one meaning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, model_validator


class Section(BaseModel):
    """
    Hold one mapping of the file.

    Frozen; a value of the wrong type is refused and never turned into another; errors never show what was read.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys that are agreed on but that this version does not implement."""

    @model_validator(mode="before")
    @classmethod
    def _read_empty_as_default(cls, value: Any) -> Any:
        """Take `api:` with nothing below it as what it looks like: every key of it is left out."""
        return {} if value is None else value


def _parse_path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    if "\0" in value:
        raise ValueError("must be a path without NUL characters")
    if value.startswith("~"):
        raise ValueError("must be a whole path: ~ is not expanded")
    return Path(os.path.join((info.context or {}).get("folder", "/"), value))


AbsolutePath = Annotated[Path, BeforeValidator(_parse_path, json_schema_input_type=str)]
"""A path; a relative one is taken from the folder of the configuration file."""
