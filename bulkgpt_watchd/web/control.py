"""
Serve acts and status as JSON over HTTP, and listen on the control socket.

Shape: GET /api/v1/status; POST /api/v1/acts/NAME with a JSON object of arguments. An answer is `{"ok": true, ...}` or
`{"error": {"message", "exit_code", ...}}`. Who may connect to the socket may act; who it was is written down.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from bulkgpt_watchd.core.errors import CommandRefused, DiskTrouble
from bulkgpt_watchd.core.exit_codes import BAD_ARGUMENTS, FAILED, REFUSED, STATE_TROUBLE
from bulkgpt_watchd.web.arguments import Act, arguments_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_logger = logging.getLogger(__name__)

UCRED = struct.Struct("3i")
"""struct ucred: pid, uid, gid (man 7 unix, SO_PEERCRED)."""

MAX_BODY_BYTES = 1_000_000
"""Arguments are a few names; `retry` with ten thousand job IDs still fits."""


def application(
    acts: Mapping[str, Act],
    status: Callable[[], Awaitable[dict[str, Any]]],
    more: Iterable[web.RouteDef] = (),
    middlewares: Iterable[Any] = (),
) -> web.Application:
    """Give the HTTP application; *acts* take `by` and named arguments, *more* is served as well."""

    async def show(_request: web.Request) -> web.Response:
        return as_json(await status())

    async def act(request: web.Request) -> web.Response:
        chosen = acts.get(request.match_info["name"])
        if chosen is None:
            return failure(f"there is no act {request.match_info['name']!r}", BAD_ARGUMENTS, http_status=404)
        try:
            arguments = arguments_of(chosen, await request.read())
        except ValueError as error:
            return failure(f"wrong arguments: {error}", BAD_ARGUMENTS, http_status=400)
        try:
            return as_json({"ok": True, **await chosen(_caller(request), **arguments)})
        except CommandRefused as error:
            return failure(str(error), error.exit_code, http_status=409, **error.facts)

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[*middlewares, _in_json])
    app.add_routes([web.get("/api/v1/status", show), web.post("/api/v1/acts/{name}", act), *more])
    return app


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give an answer in JSON however a request ends."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = failure(error.reason, REFUSED, http_status=error.status)
        response.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return response
    except (web.RequestPayloadError, ConnectionError):
        return failure("the body did not arrive, or is not what its headers say", BAD_ARGUMENTS, http_status=400)
    except DiskTrouble as error:
        return failure(str(error), STATE_TROUBLE, http_status=503)
    except Exception:
        _logger.exception("%s %s met a bug", request.method, request.path)
        return failure("the daemon met a bug of its own; its log has the traceback", FAILED, http_status=500)


def _caller(request: web.Request) -> str:
    """Name who is at the other end of the socket."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return f"token over HTTP from {request.remote}"
    _, uid, _ = UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def as_json(content: Mapping[str, Any], *, http_status: int = 200) -> web.Response:
    """Give an answer."""
    return web.Response(text=json.dumps(content), content_type="application/json", status=http_status)


def failure(message: str, exit_code: int, *, http_status: int, **facts: object) -> web.Response:
    """Give the answer that says why not; *exit_code* is what a command ends with for it."""
    return as_json({"error": {"message": message, "exit_code": exit_code, **facts}}, http_status=http_status)


async def serve_socket(app: web.Application, folder: str, name: str) -> web.AppRunner:
    """
    Listen on a Unix socket; give what ends it.

    A path of a socket may have 107 bytes at most, so the folder is named by descriptor: any path will do.
    Errors: OSError; also where somebody listens there, or the file is no socket: both are somebody else's.
    Repeat: yes; a socket that a dead daemon left is replaced.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        path = f"/proc/self/fd/{folder_fd}/{name}"
        _make_way(path)
        mask = os.umask(0o117)  # 0660: the group may act too
        try:
            await web.UnixSite(runner, path).start()
        finally:
            os.umask(mask)
    finally:
        os.close(folder_fd)
    return runner


def _make_way(path: str) -> None:
    """
    Remove a socket on which nobody listens.

    Errors: OSError.
    """
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.ENOTSOCK, "a file that is no socket stands there")
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its queue is full
            pass
        raise OSError(errno.EADDRINUSE, "another process listens there; each daemon needs a control.socket of its own")
