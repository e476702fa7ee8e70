"""An address that cannot be used is told and tried again; what was refused cannot fill the log."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bulkgpt_watchd.config import load
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.service.serving import TELLS_EVERY_S, Serving
from tests.fakes import FakeClock
from tests.web.site import TOKEN

ROUTE = "routes: [{name: leads, workflow_id: w, folder: leads}]\n"


class Outside:
    """Stand around the server: the clock, the log and the state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        self.noted: list[Any] = []
        self.is_full = False
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)

    def serving(self, listen: str, more: str = "token_file: token") -> Serving:
        (self.folder / "config.yaml").write_text(f'web: {{listen: "{listen}", {more}}}\n{ROUTE}')
        return Serving(load(self.folder / "config.yaml"), self.clock, self.log, self.remember)

    def log(self, event: str, level: str = "info", **facts: Any) -> None:
        self.lines.append((event, level, facts))

    async def remember(self, key: str, content: Any) -> None:
        assert key == "web"
        if self.is_full:
            raise DiskTrouble("full")
        self.noted.append(content)


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


async def test_an_address_that_is_not_ours_is_told_once_and_tried_until_the_end(outside: Outside) -> None:
    serving = outside.serving("192.0.2.1:8787")  # TEST-NET-1: nobody has it
    async with AsyncExitStack() as stack:
        await serving.open(stack, web.Application())
        started_at = outside.clock.now()
        while outside.clock.now() < started_at + 60.0:  # noqa: ASYNC110  # the clock goes on when somebody sleeps
            await asyncio.sleep(0)

    facts = {"address": "192.0.2.1:8787", "reason": "cannot assign requested address"}
    assert outside.lines == [("web.unavailable", "error", facts)]
    assert outside.noted == [{**facts, "is_asked_for": True}]


async def test_a_full_disk_does_not_keep_it_from_listening(outside: Outside) -> None:
    outside.is_full = True
    serving = outside.serving("127.0.0.1:0")
    async with AsyncExitStack() as stack:
        await serving.open(stack, web.Application())

    assert [event for event, _, _ in outside.lines] == ["web.listening"]


async def test_what_is_off_is_noted_as_off(outside: Outside) -> None:
    async with AsyncExitStack() as stack:
        await outside.serving("off").open(stack, web.Application())

    assert (outside.noted, outside.lines) == ([None], [])


def test_refusals_are_a_warning_once_a_minute(outside: Outside) -> None:
    access = outside.serving("127.0.0.1:0").access
    for seconds in (0.0, 1.0, TELLS_EVERY_S - 1.0, 5.0):
        outside.clock.advance(seconds)
        access.told("this is not the token", "127.0.0.1")

    assert [level for _, level, _ in outside.lines] == ["warning", "debug", "warning", "debug"]


@pytest.mark.parametrize(
    ("listen", "is_loopback"), [("127.0.0.1:0", True), ("[::1]:0", True), ("0.0.0.0:0", False), ("off", True)]
)
def test_the_address_of_the_configuration_says_who_may_ask(outside: Outside, listen: str, is_loopback: bool) -> None:
    access = outside.serving(listen).access

    assert (access.is_loopback, access.token) == (is_loopback, TOKEN)


def test_a_token_for_everybody_is_told(outside: Outside) -> None:
    (outside.folder / "token").chmod(0o644)
    outside.serving("127.0.0.1:0")

    assert [(event, level) for event, level, _ in outside.lines] == [("token.warning", "warning")]
