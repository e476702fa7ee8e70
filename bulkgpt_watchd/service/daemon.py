"""
Wire the daemon together, and own every start and stop.

Nothing is decided here: settings come in, ports are opened in order, the loop runs, and all is closed in reverse.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from bulkgpt_watchd import __version__
from bulkgpt_watchd.adapters import log as logs
from bulkgpt_watchd.adapters import memory, systemd
from bulkgpt_watchd.config import ApiSettings, ConfigInvalid, Settings, control_socket, load, read_api_key, read_token
from bulkgpt_watchd.core.errors import CommandRefused, DiskTrouble
from bulkgpt_watchd.core.exit_codes import CONFIG_WRONG, HELD
from bulkgpt_watchd.core.shown import rfc3339
from bulkgpt_watchd.scheduler.acts import Acts
from bulkgpt_watchd.scheduler.discovery import Discovery
from bulkgpt_watchd.scheduler.keeping import Keeper
from bulkgpt_watchd.scheduler.loop import Scheduler
from bulkgpt_watchd.scheduler.once import Once
from bulkgpt_watchd.service.heartbeat import Heartbeat, status_line
from bulkgpt_watchd.service.monitoring import Monitoring
from bulkgpt_watchd.service.serving import Serving
from bulkgpt_watchd.service.wiring import Wiring, open_socket
from bulkgpt_watchd.web.control import application

NEEDS_RESTART = ("base_url", "timeout", "answer_timeout", "proxy", "ca_file", "download")
"""Keys of `api` that are built into open sessions; a reload keeps the old value and says so."""

ACTS = ("retry", "resolve", "redeliver", "adopt", "pause", "resume", "scan", "prune")
"""What may be asked of `Acts` from outside; `reload` is ours."""

ONCE_LOOKS_EVERY_S = 0.5
"""How often `run --once` asks itself whether it is done."""

SWITCH_INTERVAL_S = 0.0005
"""
How long a thread waits for its turn in Python; the usual 5 ms is longer than most of our trips to a thread.

Measured with 500 small files on two busy cores: 1.15 to 1.25 times as many files per second.
"""

T = TypeVar("T")


@dataclass
class Service:
    """
    Run the daemon once, from start to stop.

    Shape: *report* sees every line of the log as (event, facts), and *log_stream* takes the log in place of stderr: for
        the demo.
    """

    settings: Settings
    config_path: Path
    environ: Mapping[str, str]
    report: Callable[[str, dict[str, Any]], None] | None = None
    log_stream: TextIO | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    scheduler: Scheduler = field(init=False)
    discovery: Discovery = field(init=False)
    acts: Acts = field(init=False)
    monitoring: Monitoring = field(init=False)
    serving: Serving = field(init=False)
    _heart: Heartbeat = field(init=False)
    _opened_with: Settings = field(init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, *, once: bool = False, timeout_s: float | None = None, has_signals: bool = True) -> int:
        """
        Run until told to stop, or with *once* until everything that is there has ended; give the exit code.

        Errors: ConfigInvalid (the key cannot be read), StateLocked, StateUnusable.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        memory.give_back_large_blocks()
        read_api_key(self.settings, self.environ)  # before the first line, as every other mistake of the configuration
        self._configure_log()
        if has_signals:
            self._take_signals()  # before anything is opened: a stop that comes meanwhile is obeyed once all is open
        self.log("daemon.started", "info", version=__version__, config=str(self.config_path), pid=os.getpid())
        self._heart = Heartbeat(self.environ)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._heart.beating())  # first, so that it is the last to end
            await self._open(stack, serves=not once)
            await self._ready()
            if once:
                code = await self._run_once(timeout_s)
            else:
                code = await self._run_until_stopped()
            self._heart.stopping()
            self.log("daemon.stopping", "info", in_progress=len(self.scheduler.running))
        self.log("daemon.stopped", "info", exit_code=code)
        return code

    def stop(self) -> None:
        """Ask for a graceful end."""
        self._stop.set()

    def log(self, event: str, level: str = "info", **facts: Any) -> None:
        """Write one line."""
        getattr(logs.get_logger(), level)(event, **facts)
        if self.report is not None:
            self.report(event, facts)

    # --- start --------------------------------------------------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack, *, serves: bool) -> None:
        self._opened_with = settings = self.settings
        wiring = Wiring(settings, lambda: read_api_key(self.settings, self.environ).value, self.log)
        self.scheduler, self.discovery, self.monitoring = await wiring.open(stack)
        self._heart.watch(partial(self.scheduler.outside.store.get, ""), partial(status_line, self.scheduler))
        for warning in read_api_key(settings, self.environ).warnings:
            self.log("key.warning", "warning", reason=warning)
        await self.discovery.start(settings.routes)
        self.acts = acts = Acts(self.scheduler, self.discovery)
        self.monitoring.start(stack)
        api = {**{name: getattr(acts, name) for name in ACTS}, "reload": self.reload}, self.monitoring.status
        socket_path = control_socket(settings, self.environ)
        await open_socket(stack, application(*api, self.monitoring.routes()), socket_path)
        outside = self.scheduler.outside
        self.serving = Serving(settings, outside.clock, self.log, outside.store.set_fact)
        if serves:
            middleware = self.serving.access.middleware
            await self.serving.open(stack, application(*api, self.monitoring.routes(), [middleware]))
        daemon = {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": rfc3339(self.scheduler.outside.clock.now()),
            "config": str(self.config_path),
            "socket": str(socket_path),
        }
        await self.scheduler.outside.store.set_fact("daemon", daemon)
        await stack.enter_async_context(Keeper(self.scheduler.book).running())
        stack.push_async_callback(self.scheduler.stop)  # whatever ends us, the answers under way are awaited

    async def _ready(self) -> None:
        self.log("daemon.ready", "info", routes=[route.name for route in self.settings.routes])
        self._heart.ready()
        self.started.set()

    def _configure_log(self) -> None:
        log = self.settings.log
        logs.configure(
            format=log.format,
            level=log.level,
            under_journald=self.log_stream is None and systemd.is_journal(2, self.environ),
            environ=self.environ,
            stream=self.log_stream or sys.stderr,
        )

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        interrupts = 0

        def interrupted() -> None:
            nonlocal interrupts
            interrupts += 1
            if interrupts > 1:
                os._exit(130)
            self.stop()

        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, interrupted)
        pending: set[asyncio.Task[Any]] = set()

        def hang_up() -> None:
            task = asyncio.create_task(self._reload_quietly())
            pending.add(task)
            task.add_done_callback(pending.discard)

        loop.add_signal_handler(signal.SIGHUP, hang_up)

    # --- run ----------------------------------------------------------------------------------------------------------

    async def _run_until_stopped(self) -> int:
        loop = asyncio.create_task(self.scheduler.run())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({loop, stop}, return_when=asyncio.FIRST_COMPLETED)
            if loop.done():
                loop.result()  # it ends by itself only when it fails
        finally:
            self.scheduler.book.is_stopping = True
            self.scheduler.wake.set()
            stop.cancel()
            await asyncio.gather(loop, stop, return_exceptions=True)
        return 0

    async def _run_once(self, timeout_s: float | None) -> int:
        scheduler, clock = self.scheduler, self.scheduler.outside.clock
        once = await Once.begin(scheduler)
        ends_at = None if timeout_s is None else clock.monotonic() + timeout_s
        while not self._stop.is_set():
            wait_s = min(await scheduler.guarded_step(), ONCE_LOOKS_EVERY_S)
            code = await once.verdict()
            if code is not None:
                await Keeper(scheduler.book).tidy()  # nobody else would, where cron runs us
                return code
            if ends_at is not None and clock.monotonic() >= ends_at:
                self.log("once.timed_out", "warning", timeout_s=timeout_s)
                return HELD
            try:
                await asyncio.wait_for(scheduler.wake.wait(), wait_s)
            except TimeoutError:
                continue
        return HELD  # told to stop before all had ended

    # --- reload -------------------------------------------------------------------------------------------------------

    async def reload(self, by: str = "SIGHUP") -> dict[str, Any]:
        """
        Read the configuration again; a wrong one changes nothing.

        Shape: what needs a restart to take effect.
        Errors: CommandRefused, with all mistakes. DiskTrouble: it could not be written down; another reload takes the
            rest.
        """
        async with self._reloading:
            microseconds = int(self.scheduler.outside.clock.monotonic() * 1_000_000)
            systemd.notify(self.environ, RELOADING=1, MONOTONIC_USEC=microseconds)
            try:
                new = await self._read()
                await self.acts.audit(by, "reload", str(self.config_path), "")
                return await self._take(new)
            except ConfigInvalid as error:
                self.monitoring.figures.is_config_in_use = False
                with suppress(DiskTrouble):  # who has to mend it is told all the same
                    await self.acts.audit(by, "reload", str(self.config_path), "rejected")
                mistakes = list(map(str, error.mistakes))
                self.log("config.rejected", "error", mistakes=mistakes)
                told = "\n".join(["the old configuration stays:", *mistakes])
                facts = [mistake.as_data() for mistake in error.mistakes]
                raise CommandRefused(told, exit_code=CONFIG_WRONG, mistakes=facts) from error
            except DiskTrouble:
                self.monitoring.figures.is_config_in_use = False
                raise
            finally:
                systemd.notify(self.environ, READY=1)

    async def _read(self) -> Settings:
        new = await asyncio.to_thread(load, self.config_path)
        read_api_key(new, self.environ)
        read_token(new.document, new.web)
        return new

    async def _take(self, new: Settings) -> dict[str, Any]:
        self.serving.take_token(new)
        opened, scheduler = self._opened_with, self.scheduler
        kept = {key: getattr(opened.api, key) for key in NEEDS_RESTART}
        needs_restart = [f"api.{key}" for key in NEEDS_RESTART if getattr(new.api, key) != kept[key]]
        needs_restart += [key for key in ("state", "control") if getattr(new, key) != getattr(opened, key)]
        needs_restart += ["web.listen"] if new.web.listen != opened.web.listen else []
        api: ApiSettings = new.api.model_copy(update=kept)
        self.settings = new
        scheduler.book.api = api
        await scheduler.lanes.budgets.set_total(new.budget)
        self._configure_log()
        await self.discovery.take(new.routes)
        if await scheduler.outside.api.reload_key():
            await scheduler.passage.key_changed()
            scheduler.wake.set()
        self.monitoring.figures.reloaded()
        self.log("config.reloaded", "info", routes=[route.name for route in new.routes], needs_restart=needs_restart)
        return {"routes": [route.name for route in new.routes], "needs_restart": needs_restart}

    async def _reload_quietly(self) -> None:
        await self.started.wait()
        if self._stop.is_set():
            return
        try:
            with suppress(CommandRefused):  # its mistakes are in the log
                await self.reload()
        except DiskTrouble as error:
            self.scheduler.book.tell_trouble(DiskTrouble(f"the configuration could not be taken: {error}"))
        except Exception:  # noqa: BLE001 a signal has nobody to tell
            self.log("daemon.bug", "error", exc_info=True)
