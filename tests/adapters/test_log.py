from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bulkgpt_watchd.adapters import log
from bulkgpt_watchd.core.job import State

SECRET = "bulkgpt-key-0123456789"

Lines = Callable[[], list[dict[str, Any]]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configure(stream: io.StringIO, **changes: Any) -> None:
    settings: dict[str, Any] = {"format": "json", "level": "info", "under_journald": False, "environ": {}}
    log.configure(stream=stream, **(settings | changes))


@pytest.fixture(autouse=True)
def untouched_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what `configure` does to the whole process."""
    monkeypatch.setattr(log, "_secrets", set())
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level, threading.excepthook = handlers, level, hook
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    configure(stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_begins_with_time_level_and_event(stream: io.StringIO, lines: Lines) -> None:
    log.get_logger().info("job.claimed", route="leads", job="h3k9p2mv", file="orders.csv", rows=24, took_s=0.5)

    (line,) = lines()
    assert list(line) == ["ts", "level", "event", "route", "job", "file", "rows", "took_s"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    assert (line["level"], line["event"], line["rows"], line["took_s"]) == ("info", "job.claimed", 24, 0.5)
    assert stream.getvalue().count("\n") == 1


def test_bound_facts_come_before_the_lines_own(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(route="leads", job="h3k9p2mv"):
        log.get_logger().warning("job.deferred", reason="outage")

    assert list(lines()[0]) == ["ts", "level", "event", "route", "job", "reason"]


NAMES = [
    (b"kunden_\xe4.csv", "kunden_\\xe4.csv"),
    (b"a\nb.csv", "a\\x0ab.csv"),
    (b"\x1b[31mred.csv", "\\x1b[31mred.csv"),
    ("grün.csv".encode(), "grün.csv"),
    ("a\u202eb\u2028.csv".encode(), "a\\u202eb\\u2028.csv"),
    (b'{"level": "error"}\\".csv', '{"level": "error"}\\".csv'),
    (b"\xff" * 255, "\\xff" * 255),
    (b"\x00", "\\x00"),
]


@pytest.mark.fault("S7", "S28")
@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_whatever_a_file_is_called_the_line_is_json(stream: io.StringIO, name: bytes, shown: str) -> None:
    configure(stream)
    log.get_logger().info(
        "job.claimed", file=os.fsdecode(name), files=[os.fsdecode(name)], names={"a": name.decode("latin-1")}
    )

    assert stream.getvalue().isascii()
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert line["file"] == shown
    assert line["files"] == [shown]


def test_any_kind_of_fact_is_json(lines: Lines) -> None:
    log.get_logger().info(
        "x.y",
        none=None,
        flag=True,
        nan=float("nan"),
        inf=float("-inf"),
        path=Path("/a"),
        state=State.DONE,
        some={"b"},
        error=ValueError("no"),
        deep={1: [(2, {"c": b"d"})]},
    )

    line = lines()[0]
    del line["ts"], line["level"], line["event"]
    assert line == {
        "none": None,
        "flag": True,
        "nan": "nan",
        "inf": "-inf",
        "path": "/a",
        "state": "done",
        "some": ["b"],
        "error": "no",
        "deep": {"1": [[2, {"c": "b'd'"}]]},
    }


def test_lines_below_the_level_are_not_written_and_a_reload_changes_it(stream: io.StringIO, lines: Lines) -> None:
    logger = log.get_logger()
    logger.debug("a.b")
    configure(stream, level="debug")
    logger.debug("c.d")
    configure(stream, level="error")
    logger.warning("e.f")
    logger.error("g.h")

    assert [line["event"] for line in lines()] == ["c.d", "g.h"]


def test_a_traceback_is_one_text_in_one_line(lines: Lines) -> None:
    try:
        raise ValueError("bad \x1b[2J name \udce4")
    except ValueError:
        log.get_logger().exception("job.failed", job="h3k9p2mv")

    (line,) = lines()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: bad \\x1b[2J name \\xe4")


@pytest.mark.fault("S25")
def test_a_secret_is_shown_nowhere(stream: io.StringIO, lines: Lines) -> None:
    """The last defence: the program does not log it in the first place."""
    log.hide(SECRET)
    log.hide("another-secret-1")
    log.hide("")
    log.hide("short")
    try:
        raise ValueError(f"key {SECRET}")
    except ValueError:
        log.get_logger().exception(
            f"x {SECRET}", headers={"x-api-key": SECRET}, keys=[SECRET], text=f"a{SECRET}b short"
        )
    logging.getLogger("aiohttp").warning("another-secret-1 %s", SECRET)

    assert SECRET not in stream.getvalue()
    assert "another-secret-1" not in stream.getvalue()
    assert lines()[0]["text"] == "a***b short"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://s3.example/r.csv?X-Amz-Signature=abc&b=c: 403", "https://s3.example/r.csv?*** 403"),
        ("URL('https://s3.example/r.csv?sig=abc')", "URL('https://s3.example/r.csv?***')"),
        ("GET /r.csv?X-Amz-Credential=abc HTTP/1.1", "GET /r.csv?*** HTTP/1.1"),
        ("/r.csv?sv=2024&sig=abc%3D", "/r.csv?***"),
        ("http://user:pw@proxy:8080/", "http://***@proxy:8080/"),
        ("report.php?id=3.csv", "report.php?id=3.csv"),
        ("what? no.csv", "what? no.csv"),
        ("https://example.com/", "https://example.com/"),
        ("?" * 5000, "?" * 5000),
    ],
    ids=lambda text: text[:20],
)
def test_the_query_of_a_link_is_taken_out(lines: Lines, text: str, shown: str) -> None:
    log.get_logger().info("x.y", text=text)
    assert lines()[0]["text"] == shown


def test_under_the_journal_each_line_carries_its_priority(stream: io.StringIO) -> None:
    configure(stream, under_journald=True, level="debug")
    logger = log.get_logger()
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")
    logger.critical("e")

    assert [line[:4] for line in stream.getvalue().splitlines()] == ["<7>{", "<6>{", "<4>{", "<3>{", "<2>{"]
    assert all(json.loads(line[3:]) for line in stream.getvalue().splitlines())


def test_under_the_journal_every_line_of_a_traceback_carries_its_priority(stream: io.StringIO) -> None:
    configure(stream, under_journald=True, format="console")
    try:
        raise ValueError("no")
    except ValueError:
        log.get_logger().exception("job.failed")

    assert len(stream.getvalue().splitlines()) > 3
    assert all(line.startswith("<3>") for line in stream.getvalue().splitlines())


@pytest.mark.parametrize(
    ("format", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_the_format_follows_the_terminal_unless_it_is_set(format: str, stream: io.StringIO, *, is_json: bool) -> None:  # noqa: A002  # the key of the configuration
    configure(stream, format=format)
    log.get_logger().info("a.b")
    assert stream.getvalue().startswith("{") == is_json


@pytest.mark.parametrize(
    ("stream", "environ", "has_colours"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    stream: io.StringIO, environ: dict[str, str], *, has_colours: bool
) -> None:
    configure(stream, format="console", environ=environ)
    log.get_logger().info("a.b")
    assert ("\x1b[" in stream.getvalue()) == has_colours


def test_a_person_reads_one_line_per_event(stream: io.StringIO) -> None:
    configure(stream, format="console")
    log.get_logger().info(
        "job.claimed", file=os.fsdecode(b"a b\n\xe4.csv"), rows=24, code=None, route="leads", empty=""
    )

    assert re.fullmatch(
        r'\d\d:\d\d:\d\d info     job\.claimed route=leads file="a b\\x0a\\xe4\.csv" rows=24 empty=""\n',
        stream.getvalue(),
    )


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def write(self, text: str) -> int:
        if self.error:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("error", [BrokenPipeError(32, "pipe"), OSError(28, "full"), ValueError("closed file")])
def test_a_stream_that_fails_costs_lines_and_no_more(error: Exception) -> None:
    stream = Broken(error)
    configure(stream)
    log.get_logger().info("a.b")
    stream.error = None
    log.get_logger().info("c.d")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["c.d"]


def test_what_libraries_warn_of_is_a_line_like_ours(lines: Lines) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == log.__name__]
    logging.getLogger("aiohttp.client").info("not told")
    logging.getLogger("watchdog.observers").warning("overflow in %r", "a\nb")
    logging.getLogger("asyncio").error("lost", exc_info=ValueError("no"))
    logging.getLogger("strange").log(35, "odd level")
    logging.getLogger("strange").critical("bad %d arguments", "x")

    told = [(line["level"], line["event"], line["logger"], line["message"]) for line in lines()]
    assert told == [
        ("warning", "library.logged", "watchdog.observers", "overflow in 'a\\nb'"),
        ("error", "library.logged", "asyncio", "lost"),
        ("warning", "library.logged", "strange", "odd level"),
        ("critical", "library.logged", "strange", "bad %d arguments"),
    ]
    assert lines()[1]["exception"] == "ValueError: no"


def test_a_library_is_told_once_after_a_reload(stream: io.StringIO, lines: Lines) -> None:
    configure(stream)
    logging.getLogger("watchdog").warning("overflow")
    assert len(lines()) == 1


def test_a_warning_of_python_is_a_line_like_ours(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert lines()[0]["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in lines()[0]["message"]


def test_the_end_of_a_thread_is_a_line_like_ours(lines: Lines) -> None:
    def fail() -> None:
        raise ValueError("no")

    hook = threading.excepthook
    thread = threading.Thread(target=fail, name="route leads")
    thread.start()
    thread.join()

    assert hook is threading.excepthook
    assert (lines()[0]["event"], lines()[0]["thread"]) == ("thread.died", "route leads")
    assert "ValueError: no" in lines()[0]["exception"]


async def test_lines_of_many_threads_do_not_mix(lines: Lines) -> None:
    def work(number: int) -> None:
        for _ in range(50):
            log.get_logger().info("a.b", text=str(number) * 500)

    await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(4)))
    assert len(lines()) == 200
    assert all(len(set(line["text"])) == 1 for line in lines())


SCRIPT = """
import os
from bulkgpt_watchd.adapters import log
log.configure(format="auto", level="info", under_journald=False, environ={})
for number in range(100):
    log.get_logger().info("a.b", text="x" * 1000)
os.write(1, b"done")
os._exit(0)
"""


def test_a_stderr_that_is_gone_or_full_does_not_end_the_program() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone, open("/dev/full", "wb") as full:
        for stream in (gone, full):
            command = [sys.executable, "-c", SCRIPT]
            root = Path(__file__).parents[2]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stream, check=False, cwd=root)
            assert done.stdout == b"done"
