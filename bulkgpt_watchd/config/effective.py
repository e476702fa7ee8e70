"""Show the configuration as the daemon takes it: every default filled in, every folder resolved, no secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bulkgpt_watchd.config.api_key import looks_like_key
from bulkgpt_watchd.config.example import scalar
from bulkgpt_watchd.config.models import ConfigFile
from bulkgpt_watchd.config.route import Route
from bulkgpt_watchd.config.settings import Settings

FIRST = ("name", "workflow_id", "inbox", "outbox", "error", "archive", "work")
"""Keys of a route that come before its options."""


def effective(settings: Settings) -> dict[str, Any]:
    """
    Give the settings as a configuration that means the same.

    Shape: plain data, in the words of the configuration; `defaults` and `folder` are gone, since each route has all.
        The key is left out; what looks like it, and user and password of a proxy, show as `…`.
    """
    keys = [key for key in ConfigFile.model_fields if key not in {"defaults", "routes"}]
    shown = {key: getattr(settings, key).model_dump(mode="json") for key in keys}
    del shown["api"]["api_key"]
    if settings.api.api_key_file and looks_like_key(settings.document.folder, settings.api.api_key_file):
        shown["api"]["api_key_file"] = "…"
    if proxy := shown["api"]["proxy"]:
        shown["api"]["proxy"] = re.sub(r"//.*@", "//…@", proxy)
    return {**shown, "routes": [_route(route) for route in settings.routes]}


def _route(route: Route) -> dict[str, Any]:
    values = route.model_dump(mode="json", exclude={"creatable"})
    return {key: values[key] for key in (*FIRST, *(key for key in values if key not in FIRST))}


def as_yaml(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Write mappings as blocks, a list of them as items, and anything else on its line."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:"
            yield from as_yaml(value, f"{indent}  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            for item in value:
                first, *rest = as_yaml(item, f"{indent}    ")
                yield f"{indent}  - {first.strip()}"
                yield from rest
        else:
            yield f"{indent}{key}: {scalar(value)}"
