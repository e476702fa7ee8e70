"""Find the API key. Its value leaves this module only as `ApiKey.value`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bulkgpt_watchd.config.document import Trail
from bulkgpt_watchd.config.mistakes import ConfigInvalid
from bulkgpt_watchd.config.reading import Unreadable, read_small
from bulkgpt_watchd.config.settings import Settings
from bulkgpt_watchd.core.names import printable

CREDENTIAL = "bulkgpt-api-key"
VARIABLE = "BULKGPT_API_KEY"

LARGEST_KEY_BYTES = 4096
"""No key is that long: many servers refuse header lines of 8 KB. A CSV named by mistake is."""

KEY_LENGTH = 20
"""A file name of so many letters, without a dot, that does not exist is taken for the key itself."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Hold the API key and where it is from; it never shows itself."""

    value: str = field(repr=False)
    source: str
    warnings: tuple[str, ...] = ()


def read_api_key(settings: Settings, environ: Mapping[str, str]) -> ApiKey:
    """
    Read the API key from the first place that has one.

    Shape: systemd's credential, `api_key_file`, the environment, `api_key`, in this order.
    Errors: ConfigInvalid: there is none, or it cannot be one; the value is never in it.
    """
    api = settings.api
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", ""), CREDENTIAL)
    if environ.get("CREDENTIALS_DIRECTORY") and os.path.lexists(credential):
        return _from_file(settings, (), credential, f"$CREDENTIALS_DIRECTORY/{CREDENTIAL}")
    if api.api_key_file:
        return _from_file(settings, ("api", "api_key_file"), api.api_key_file, "api_key_file")
    if VARIABLE in environ:
        return ApiKey(_judge(settings, (), f"${VARIABLE}", environ[VARIABLE]), f"${VARIABLE}")
    if api.api_key is not None:
        return ApiKey(_judge(settings, ("api", "api_key"), "it", api.api_key.get_secret_value()), "api_key")
    raise _refusal(
        settings,
        ("api",),
        f"there is no API key; give it as systemd's credential {CREDENTIAL}, in a file named by api.api_key_file,"
        f" in the environment as {VARIABLE}, or as api.api_key in a configuration file with mode 0600",
    )


def looks_like_key(folder: Path, path: Path) -> bool:
    """Tell whether somebody wrote the key where the name of its file belongs; it was taken from *folder*."""
    beside = path.parent == folder
    return beside and len(path.name) >= KEY_LENGTH and "." not in path.name and not os.path.lexists(path)


def _from_file(settings: Settings, trail: Trail, path: Path, source: str) -> ApiKey:
    try:
        small = read_small(path, LARGEST_KEY_BYTES)
    except Unreadable as unreadable:
        name = printable(str(path))
        if looks_like_key(settings.document.folder, path):
            name = "a file beside this one whose name looks like the key itself (put the key in a file, and name that)"
        raise _refusal(settings, trail, f"{name} {unreadable}") from None
    value = _judge(settings, trail, printable(str(path)), text_of(small.content))
    if small.mode & 0o004:
        return ApiKey(value, source, (f"everybody can read the API key in {printable(str(path))}: chmod 600 it",))
    return ApiKey(value, source)


def text_of(content: bytes) -> str:
    """Read what should be a key; what is not ASCII is as wrong as any other character that no key has."""
    return content.decode("ascii", "replace")


def key_in(text: str) -> str:
    """
    Give the key in a text, without white space around it.

    Errors: ValueError: why it cannot be one, as the end of a sentence that begins with where it stands.
    """
    value = text.strip(" \t\r\n")
    if not value:
        raise ValueError("is empty; it must hold the API key")
    if "\n" in value or "\r" in value:
        raise ValueError("has several lines; it must hold the API key and nothing else")
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("has spaces, control or non-ASCII characters in it; no API key has")
    return value


def _judge(settings: Settings, trail: Trail, name: str, text: str) -> str:
    try:
        return key_in(text)
    except ValueError as error:
        raise _refusal(settings, trail, f"{name} {error}") from None


def _refusal(settings: Settings, trail: Trail, message: str) -> ConfigInvalid:
    return ConfigInvalid([settings.document.mistake(trail, message)])
