"""Give every part of the configuration the same strictness, and paths one meaning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema


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

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Write defaults as they are written in YAML, and let a section be empty."""
        reference = handler(core_schema)
        written = handler.resolve_ref_schema(reference)
        defaults = cls.model_construct().model_dump(mode="json")
        for key, about in written["properties"].items():
            if "default" in about:
                about["default"] = defaults[key]
        if not written.get("required"):
            written["type"] = ["object", "null"]
        return reference


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


AbsolutePath = Annotated[
    Path, BeforeValidator(_parse_path), WithJsonSchema({"type": "string", "pattern": "^[^~]"}, mode="validation")
]
"""A path; a relative one is taken from the folder of the configuration file."""
