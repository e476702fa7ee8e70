"""
Write the log: one line per event, as JSON or for a person, always to one stream.

Every line is whole and harmless: names are shown as `core.names.printable` does, secrets and the queries of URLs are
taken out, and a stream that is full or gone costs lines, never the program.
Shape: `log.info("job.claimed", route="leads", job="h3k9p2mv", file="orders.csv")`. What libraries log (aiohttp,
watchdog, asyncio, warnings) from warning up comes as `library.logged`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import threading
from collections.abc import Mapping
from functools import partialmethod
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from bulkgpt_watchd.core.names import hidden, printable

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Levels as the journal counts them (sd-daemon(3))."""

COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
"""Terminal codes of the levels: grey, green, yellow, red."""

OF_JOB = ("route", "job", "file", "task_id")
"""What says whose line it is comes first, be it bound or given."""

_QUERY = re.compile(
    r"""(://[^\s?"'<>]*)\?[^\s"'<>]+  # of a URL
    | \?[^\s"'<>?]*(?:X-Amz-|X-Goog-|[Ss]ignature=|[?&]sig=)[^\s"'<>]*  # of a signed one, without its host
    """,
    re.VERBOSE,
)
_USER = re.compile(r"(://)[^\s/?#\"'<>@]+@")

_secrets: set[str] = set()


def configure(
    *,
    format: Literal["auto", "console", "json"],  # noqa: A002  # the key of the configuration
    level: str,
    under_journald: bool,
    environ: Mapping[str, str],
    stream: TextIO = sys.stderr,
) -> None:
    """
    Set up the log of the whole process.

    Repeat: yes, as when the configuration is read again; loggers in use follow.
    """
    is_terminal = stream.isatty()
    if format == "console" or (format == "auto" and is_terminal):
        render: structlog.typing.Processor = _Console(has_colours=is_terminal and not environ.get("NO_COLOR"))
    else:
        render = _render_json
    sink = _Sink(stream, has_priorities=under_journald)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            _order_and_clean,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_args: sink,
        # A cached logger would keep the level that it was made with.
        cache_logger_on_first_use=False,
    )
    _take_over_libraries()


def get_logger() -> FilteringBoundLogger:
    """Give the program's logger."""
    return cast("FilteringBoundLogger", structlog.get_logger())


def hide(secret: str) -> None:
    """Show *** for *secret* from now on, wherever it appears: the last defence, after never logging it."""
    _secrets.add(secret)


class _Sink:
    """Write finished lines; be what structlog calls by the name of the level."""

    def __init__(self, stream: TextIO, *, has_priorities: bool) -> None:
        self._stream = stream
        self._has_priorities = has_priorities
        self._lock = threading.Lock()  # watchdog's threads log too

    def _write(self, level: str, text: str) -> None:
        if self._has_priorities:
            text = re.sub("^", f"<{PRIORITIES[level]}>", text, flags=re.MULTILINE)
        # A reader that went away, a full disk, a stream that was closed: the work goes on without a log.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    debug = partialmethod(_write, "debug")
    info = partialmethod(_write, "info")
    warning = partialmethod(_write, "warning")
    error = partialmethod(_write, "error")
    critical = partialmethod(_write, "critical")


def _order_and_clean(_logger: WrappedLogger, _name: str, facts: EventDict) -> EventDict:
    head = {"ts": facts.pop("ts")[:23] + "Z", "level": facts.pop("level"), "event": _clean(facts.pop("event"))}
    trace = facts.pop("exception", None)
    of_job = {key: facts.pop(key) for key in OF_JOB if key in facts}
    ordered = {**head, **{key: _clean(value) for key, value in {**of_job, **facts}.items()}}
    if trace is not None:
        ordered["exception"] = "\n".join(_clean(line) for line in trace.splitlines())
    return ordered


def _clean(value: Any) -> Any:
    """Give a fact as JSON can carry it, and as a person may see it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_clean(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    text = str(value)
    for secret in _secrets:
        text = hidden(text, secret)
    if "?" in text or "@" in text:
        text = _USER.sub(r"\1***@", _QUERY.sub(r"\1?***", text))
    return text if text.isprintable() else printable(text)


def _render_json(_logger: WrappedLogger, _name: str, facts: EventDict) -> str:
    return json.dumps(facts)


class _Console:
    """Show an event to a person: time, level, what, and facts as key=value; tracebacks below."""

    def __init__(self, *, has_colours: bool) -> None:
        self._has_colours = has_colours

    def __call__(self, _logger: WrappedLogger, _name: str, facts: EventDict) -> str:
        level, trace = facts.pop("level"), facts.pop("exception", "")
        shown_level = f"{level:8}"
        if self._has_colours:
            shown_level = f"\x1b[{COLOURS[level]}m{shown_level}\x1b[0m"
        head = f"{facts.pop('ts')[11:19]} {shown_level} {facts.pop('event')}"
        line = " ".join([head, *(f"{key}={_shown(value)}" for key, value in facts.items() if value is not None)])
        return "\n".join([line, *(f"    {row}" for row in trace.splitlines())])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value if re.fullmatch(r"[^\s\"=]+", value) else f'"{value}"'
    return json.dumps(value, ensure_ascii=False)


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = max(logging.WARNING, min(record.levelno // 10 * 10, logging.CRITICAL))
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # arguments that do not fit the text: a library's mistake, not worth an end
            message = str(record.msg)
        get_logger().log(level, "library.logged", logger=record.name, message=message, exc_info=record.exc_info)


def _take_over_libraries() -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _LibraryHandler):
            root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logging.WARNING))
    logging.captureWarnings(True)  # noqa: FBT003  # else they are lines on stderr that are no JSON
    threading.excepthook = _log_thread_end


def _log_thread_end(end: threading.ExceptHookArgs) -> None:
    name = end.thread.name if end.thread is not None else None
    error = (end.exc_type, end.exc_value, end.exc_traceback)
    get_logger().error("thread.died", thread=name, exc_info=error)
