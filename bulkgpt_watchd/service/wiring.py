"""
Open the ports in order, and put the scheduler on them.

Nothing is decided here: what is opened is pushed on the stack, which closes it in reverse.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from bulkgpt_watchd.adapters import log as logs
from bulkgpt_watchd.adapters.api import DownloadRules, HttpApi
from bulkgpt_watchd.adapters.clock import SystemClock
from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.adapters.metrics import Meter, MeteredApi
from bulkgpt_watchd.adapters.sqlite import SqliteStore
from bulkgpt_watchd.adapters.threads import RouteThreads
from bulkgpt_watchd.adapters.watcher import Doorbell
from bulkgpt_watchd.config import Route, Settings
from bulkgpt_watchd.core.errors import DiskTrouble, StateUnusable
from bulkgpt_watchd.effects import Outside
from bulkgpt_watchd.scheduler.book import Book
from bulkgpt_watchd.scheduler.discovery import Bell, Discovery
from bulkgpt_watchd.scheduler.figures import Figures
from bulkgpt_watchd.scheduler.inbox import LOOK_DEADLINE_S, Inbox
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.telling import Log, with_names
from bulkgpt_watchd.service.monitoring import Monitoring
from bulkgpt_watchd.web.control import serve_socket

UNWATCH_S = 5.0
"""How long ending a watch may take; it needs microseconds, but for a lock that a hanging folder may hold."""

T = TypeVar("T")


@dataclass(frozen=True)
class Wiring:
    """Hold what the ports are opened with; *read_key* is asked at the start and whenever the key may be another."""

    settings: Settings
    read_key: Callable[[], str]
    log: Log

    async def open(self, stack: AsyncExitStack) -> tuple[Scheduler, Discovery, Monitoring]:
        """
        Open store, API, threads and bell.

        Errors: StateLocked, StateUnusable; whatever *read_key* raises.
        """
        settings, clock, folders, threads = self.settings, SystemClock(), LocalFolders(), RouteThreads()
        stack.callback(threads.stop)
        state_folder = settings.state.path.parent
        _make_state_folder(state_folder)
        fstype = folders.mount_of(state_folder).fstype
        meter = Meter(clock.now)
        store = await SqliteStore.open(
            settings.state.path,
            fstype=fstype,
            now=clock.now,
            new_uuid=lambda: str(uuid.uuid4()),
            around=meter.commit,
        )
        stack.push_async_callback(store.close)
        api = MeteredApi(await stack.enter_async_context(self._api(clock)), meter, clock)

        def run(
            route: str, function: Callable[..., T], /, *args: Any, deadline_s: float | None = None, **named: Any
        ) -> Awaitable[T]:
            return threads.run(route, partial(function, *args, **named), deadline_s=deadline_s)

        outside = Outside(api, folders, store, clock, run, threads.later)
        names: dict[str, str] = {}
        log = with_names(self.log, names)
        book = Book(outside, settings.api, log, names)
        scheduler = Scheduler(book, state_folder)
        scheduler.lanes.budgets.total = settings.budget
        doorbell = Doorbell(scheduler.ring)
        stack.callback(doorbell.stop)
        discovery = Discovery(scheduler, store.uuid, dump_route, parse_route, self._bell(doorbell))
        return scheduler, discovery, Monitoring(settings.state.path, meter, Figures(scheduler, doorbell.is_watching))

    def _api(self, clock: SystemClock) -> HttpApi:
        api = self.settings.api
        download = DownloadRules(
            hosts=api.download.hosts,
            allow_private=bool(api.download.allow_private),
            allow_http=bool(api.download.allow_http),
            max_bytes=api.download.max_bytes,
        )
        return HttpApi(
            base_url=api.base_url,
            read_key=self.read_key,
            timeout_s=api.timeout,
            answer_timeout_s=api.answer_timeout,
            download=download,
            clock=clock,
            proxy=api.proxy,
            ca_file=None if api.ca_file is None else str(api.ca_file),
            on_key=logs.hide,
        )

    def _bell(self, doorbell: Doorbell) -> Bell:
        async def follow(inbox: Inbox, *, is_removed: bool = False) -> None:
            """Watch an inbox that can tell of changes; others are only scanned."""
            route, run = inbox.route, inbox.outside.run
            wants = route.watch == "events" or (route.watch == "auto" and not inbox.on_network)
            if is_removed or inbox.is_draining or not wants:
                # Not in the threads of the route: one that hangs can be removed too.
                with contextlib.suppress(DiskTrouble):
                    await run("", doorbell.unwatch, inbox.key, deadline_s=UNWATCH_S)
                return
            watch = partial(doorbell.watch, inbox.key, str(route.inbox), is_recursive=route.recursive)
            why_not = await run(inbox.key, watch, deadline_s=LOOK_DEADLINE_S)
            if why_not is not None:
                self.log("watch.degraded", "warning", route=route.name, reason=why_not)

        return follow


async def open_socket(stack: AsyncExitStack, app: web.Application, path: Path) -> None:
    """
    Serve the control socket until the stack is closed.

    Errors: StateUnusable: it cannot be made.
    """
    try:
        runner = await serve_socket(app, str(path.parent), path.name)
    except OSError as error:
        raise StateUnusable(f"the control socket {path} cannot be made: {error.strerror or error}") from error
    stack.push_async_callback(runner.cleanup)
    made = os.lstat(path)

    def remove() -> None:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(path), made):
                path.unlink()

    stack.callback(remove)


def _make_state_folder(folder: Path) -> None:
    """Make the state's folder, but not what it stands in: that is a mistake or a missing mount."""
    try:
        folder.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        raise StateUnusable(
            f"the folder of the state, {folder}, cannot be made: {error.strerror}; create it, or correct state.path"
        ) from error


def dump_route(route: Route) -> dict[str, Any]:
    """Give a route's settings as data for the store."""
    data: dict[str, Any] = route.model_dump(mode="json")
    return data


def parse_route(data: dict[str, Any]) -> Route:
    """Read what `dump_route` gave."""
    return Route.model_validate_json(json.dumps(data))
