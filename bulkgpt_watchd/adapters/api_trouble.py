"""Say in a few words why a connection failed: for a person, without URLs, queries or headers."""

from __future__ import annotations

import errno
import os
import ssl

import aiohttp

from bulkgpt_watchd.adapters.api_guard import AddressRefused

NETWORK = (aiohttp.ClientError, OSError)
"""What aiohttp raises where the network is to blame (OSError holds TimeoutError)."""


_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "its name cannot be resolved"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (aiohttp.ClientConnectionResetError, "the connection was closed without an answer"),
    (aiohttp.ClientPayloadError, "the answer was cut short"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (aiohttp.InvalidURL, "the address is not a URL"),
)
"""What needs no more than its kind to be told; the first that fits."""


def describe(error: BaseException, timeout_s: float) -> str:
    """
    Give the reason without the exception's own text, which may hold a URL, and with it a signed query.

    Units: *timeout_s* is the patience that a timeout used up.
    """
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status}"
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy: {_os_words(error.os_error)}"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted ({_verify_words(error.certificate_error)})"
        case TimeoutError() if error.errno is None:
            return f"no progress for {timeout_s:g} s"
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, aiohttp.ClientConnectorError):
        return _os_words(error.os_error)
    return _os_words(error) if isinstance(error, OSError) else f"it failed ({type(error).__name__})"


def _os_words(error: OSError) -> str:
    if isinstance(error, AddressRefused):
        return str(error.strerror)
    code = error.errno
    if code is None and isinstance(error, ConnectionError | aiohttp.ClientOSError):
        code = errno.ECONNRESET  # seen by asyncio or by a body before the kernel told it: one event, one text
    return "cannot connect" if code is None else os.strerror(code).lower()


def _verify_words(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
