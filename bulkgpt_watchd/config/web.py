"""Say where HTTP is served, and find the token that its users show. The token leaves only as `Token.value`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from bulkgpt_watchd.config.document import Document
from bulkgpt_watchd.config.mistakes import ConfigInvalid
from bulkgpt_watchd.config.reading import Unreadable, read_small
from bulkgpt_watchd.config.section import AbsolutePath, Section
from bulkgpt_watchd.core.names import printable

FORMS = 'must be an address and a port, such as 127.0.0.1:8787 or "[::1]:8787", or off'

_ADDRESS = r"(\[[0-9a-fA-F:.]+(%[\w.-]+)?\]|[0-9.]+|localhost):[0-9]+"

SHORTEST_TOKEN = 16
"""Letters of a token: 64 bits where they are hexadecimal, which nobody finds by trying over a network."""

LARGEST_TOKEN_BYTES = 4096
"""It travels in a header line; servers refuse lines of 8 KB."""

MAKE_ONE = "make one with: (umask 077; openssl rand -hex 32 > FILE)"


@dataclass(frozen=True, slots=True)
class Address:
    """Hold where to listen. Not *is_loopback*: others than the users of this machine may reach it."""

    host: str
    port: int
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class Token:
    """Hold the token; it never shows itself."""

    value: str = field(repr=False)
    warnings: tuple[str, ...] = ()


def _listen(value: Any) -> str:
    if value == "off":
        return "off"
    if not isinstance(value, str) or not re.fullmatch(_ADDRESS, value):
        raise ValueError(FORMS)
    try:
        address_of(value)
    except ValueError:
        raise ValueError(FORMS) from None
    return value


def address_of(listen: str) -> Address | None:
    """
    Take `web.listen` apart; None: off.

    Errors: ValueError.
    """
    if listen == "off":
        return None
    parts = urlsplit(f"//{listen}")
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    return Address(host, parts.port or 0, ipaddress.ip_address(host).is_loopback)


class WebSettings(Section):
    """Say where health, metrics and the API are served over HTTP."""

    listen: Annotated[
        str,
        BeforeValidator(_listen, json_schema_input_type=Annotated[str, Field(pattern=rf"^(off|{_ADDRESS})$")]),
    ] = Field(
        default="127.0.0.1:8787",
        description="Address and port on which HTTP is served: health, metrics and the API; off: not at all;"
        ' IPv6 in brackets and quotes, "[::1]:8787"; one that others can reach needs `token_file`.',
    )
    token_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds a token of at least 16 characters and nothing else (mode 0600). With it HTTP can"
        " act too; where others can reach `listen`, it is needed for all but /healthz.",
    )


def check_web(document: Document, web: WebSettings) -> None:
    """Note an address that is open to others without a token, and a token that cannot be read."""
    address = address_of(web.listen)
    if address is not None and not address.is_loopback and web.token_file is None:
        document.note(("web", "listen"), f"others can reach this address, so token_file must name a token; {MAKE_ONE}")
    try:
        read_token(document, web)
    except ConfigInvalid as invalid:
        document.note(("web", "token_file"), invalid.mistakes[0].message)


def read_token(document: Document, web: WebSettings) -> Token | None:
    """
    Read the token; None: there is none.

    Errors: ConfigInvalid: it cannot be one; the value is never in it.
    """
    if web.token_file is None:
        return None
    name = printable(str(web.token_file))
    try:
        small = read_small(web.token_file, LARGEST_TOKEN_BYTES)
    except Unreadable as unreadable:
        raise _refusal(document, f"{name} {unreadable}") from None
    value = small.content.decode("ascii", "replace").strip(" \t\r\n")
    if not re.fullmatch(r"[!-~]+", value):
        raise _refusal(document, f"{name} must hold one line of visible ASCII characters, the token; {MAKE_ONE}")
    if len(value) < SHORTEST_TOKEN:
        raise _refusal(document, f"{name} holds fewer than {SHORTEST_TOKEN} characters; {MAKE_ONE}")
    if small.mode & 0o004:
        return Token(value, (f"everybody can read the token in {name}: chmod 600 it",))
    return Token(value)


def _refusal(document: Document, message: str) -> ConfigInvalid:
    return ConfigInvalid([document.mistake(("web", "token_file"), message)])
