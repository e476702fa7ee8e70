"""
Write the JSON Schema of the configuration from the models, for editors and other programs.

It says less than `config check`: nothing that needs two keys, the disk, or arithmetic.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.route import RouteEntry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Describe a configuration file."""
    return {"$schema": DIALECT, "title": "bulkgpt-watchd: config.yaml", **_mended(ConfigFile.model_json_schema())}


def schema_of_included() -> dict[str, Any]:
    """Describe a file in routes.d."""
    written: dict[str, Any] = _mended(TypeAdapter(tuple[RouteEntry, ...]).json_schema())
    return {"$schema": DIALECT, "title": "bulkgpt-watchd: routes.d/*.yaml", **written, "type": ["array", "null"]}


def _mended(value: Any) -> Any:
    """Leave out what is for readers of the code, and say `gt`, which pydantic invented, in JSON Schema's words."""
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if not isinstance(value, dict):
        return value
    mended = {key: _mended(inner) for key, inner in value.items() if not (key == "title" and isinstance(inner, str))}
    if "properties" in mended:
        mended.pop("description", None)  # the docstring of the class
    if (bound := mended.pop("gt", None)) is not None:
        of_text, of_number = sorted(mended["anyOf"], key=lambda choice: choice["type"] != "string")[:2]
        of_text["pattern"] = of_text["pattern"].replace("^", "^(?=.*[1-9])", 1)
        of_number["exclusiveMinimum"] = bound
        of_number.pop("minimum")
    return mended
