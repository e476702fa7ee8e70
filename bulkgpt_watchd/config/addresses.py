"""
Judge the addresses in the configuration: BulkGPT's, a proxy's, and the hosts that results may come from.

Messages never repeat an address: it may carry a password.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, WithJsonSchema

_VISIBLE_ASCII = re.compile(r"[!-~]+")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")


def _split(value: str) -> SplitResult:
    """
    Take an http(s) address apart.

    Errors: ValueError, in plain words.
    """
    if not _VISIBLE_ASCII.fullmatch(value):  # urlsplit would drop tabs and newlines without a word
        raise ValueError("must be an address without spaces or special characters")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("must be an address such as https://api.bulkgpt.ai") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address that begins with https:// (or http://) and names a host")
    if port == 0:
        raise ValueError("must not name port 0")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("must not carry a query (?…) or a fragment (#…)")
    return parts


def is_loopback(address: str) -> bool:
    """Tell whether an address of ours leads to this machine itself, without asking any name server."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _base_url(value: str) -> str:
    parts = _split(value)
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or a password")
    if parts.scheme == "http" and not is_loopback(value):
        raise ValueError("must begin with https://, or the API key would cross the network unencrypted")
    return value.rstrip("/")


def _proxy(value: str) -> str:
    parts = _split(value)
    if parts.path not in {"", "/"}:
        raise ValueError("must be an address without a path, such as http://proxy.example:3128")
    return value.rstrip("/")


def _host(value: str) -> str:
    host = value.lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError(
                "must be a host name such as files.example.com, or *.example.com for all below it"
            ) from None
        return host


_LIKE_ADDRESS = WithJsonSchema({"type": "string", "pattern": '^[hH][tT]{2}[pP][sS]?://[!"$->@-~]+$'})
_LIKE_HOST = WithJsonSchema({"type": "string", "pattern": r"^((\*\.)?[a-zA-Z0-9][a-zA-Z0-9_.-]*|[0-9a-fA-F:.]+)$"})

BaseUrl = Annotated[str, AfterValidator(_base_url), _LIKE_ADDRESS]
"""http(s), without a slash at the end."""

Proxy = Annotated[str, AfterValidator(_proxy), _LIKE_ADDRESS]
"""http(s)://[user:password@]host[:port]"""

HostPattern = Annotated[str, AfterValidator(_host), _LIKE_HOST]
"""A lower-case name or IP address, or `*.` and a name for every host below it."""
