"""
Say who may ask for what over TCP.

Where only this machine reaches us reading is open; but not to a page in somebody's browser, so the name in `Host` must
be one of this machine's (DNS rebinding). Acts need the token always, and everything but /healthz needs it where others
reach us. A request that shows the token is no foreign page's: there are no cookies, and nothing here says that another
origin may ask (no CORS).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

from bulkgpt_watchd.core.exit_codes import REFUSED
from bulkgpt_watchd.web.control import Handler, failure

SAFE = frozenset({"GET", "HEAD"})

ALWAYS_OPEN = "/healthz"

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""What we answer is data: not to be kept, guessed at, or shown within another page."""


class NotAllowed(Exception):
    """Say why a request is refused, and with which code of HTTP."""

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status


@dataclass
class Access:
    """
    Check each request before anything is done for it.

    Shape: *token* may change while we run; None: nobody has one. *told* hears of each refusal: reason and address.
    """

    is_loopback: bool
    token: str | None = field(repr=False)
    told: Callable[[str, str], None]

    @property
    def middleware(self) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
        """Give what aiohttp asks to be put around each handler."""

        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self.check(request)
                response = await handler(request)
            except NotAllowed as refused:
                self.told(str(refused), request.remote or "")
                response = failure(str(refused), REFUSED, http_status=refused.http_status)
                if refused.http_status == 401:
                    response.headers["WWW-Authenticate"] = "Bearer"
            response.headers.update(HEADERS)
            return response

        return checked

    def check(self, request: web.Request) -> None:
        """
        Let a request pass.

        Errors: NotAllowed.
        """
        has_token = self._shows_token(request)
        if not has_token and self.is_loopback and not _names_this_machine(request):
            raise NotAllowed(403, "the header Host must name this machine, such as 127.0.0.1 or localhost")
        if request.method not in SAFE:
            self._check_act(request, has_token=has_token)
        elif not has_token and not self.is_loopback and request.path != ALWAYS_OPEN:
            raise NotAllowed(401, "this needs the header `Authorization: Bearer` with the token of web.token_file")

    def _shows_token(self, request: web.Request) -> bool:
        """
        Tell whether the request shows the token.

        Errors: NotAllowed: it shows another one.
        """
        shown = [line.partition(" ") for line in request.headers.getall("Authorization", [])]
        tokens = [value.strip() for scheme, _, value in shown if scheme.lower() == "bearer"]
        if not tokens:  # another scheme is a matter of the proxy before us
            return False
        if self.token is None:
            raise NotAllowed(401, "there is no token; web.token_file names one")
        # In constant time, so that how long a no takes says nothing about how much of the token is right.
        if not hmac.compare_digest(tokens[0].encode(errors="surrogateescape"), self.token.encode()):
            raise NotAllowed(401, "this is not the token of web.token_file")
        return True

    def _check_act(self, request: web.Request, *, has_token: bool) -> None:
        """
        Let an act pass; a browser says where a request is from, and a page of another origin may not act.

        Errors: NotAllowed.
        """
        if self.token is None:
            raise NotAllowed(403, "acting over HTTP needs web.token_file; the commands act without it")
        if not has_token:
            raise NotAllowed(401, "an act needs the header `Authorization: Bearer` with the token of web.token_file")
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site not in {None, "same-origin", "none"}:
            raise NotAllowed(403, "a page of another origin may not act")
        if site is None and origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
            raise NotAllowed(403, "a page of another origin may not act")
        if request.content_type != "application/json":
            raise NotAllowed(415, "the body must be application/json")


def _names_this_machine(request: web.Request) -> bool:
    host = request.headers.get("Host")
    if host is None:  # HTTP/1.0, as a load balancer asks for health; a browser always sends one
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
