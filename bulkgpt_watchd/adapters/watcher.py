"""
Ring a bell when something happened in a folder, by inotify through watchdog.

A doorbell, no more: it says that a look at a route is worth while, never what is there. Overflow, lost events, a
folder that was replaced, a share: all of these mean a ring that does not come, and the scan finds the files anyway.
Source: watchdog 7.1.0, read and measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import threading
from collections.abc import Callable

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify import InotifyObserver
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,  # a rename from elsewhere comes as this alone
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
"""What can mean a whole file. The kernel's mask shrinks to it: of 20,000 files none was lost, of all events half."""

InotifyMoveEventGrouper.delay = 0.01
"""
Seconds that a move out of the folder, as each of our claims is, holds later events back to find its other half.

The halves are read together, so that this finds them; the half second of the library made every ring late.
"""

STOP_S = 2
"""How long watchdog's threads may take to end; they need milliseconds, and are daemons."""

LIMITS = {
    errno.ENOSPC: "the limit of inotify watches is reached (sysctl fs.inotify.max_user_watches)",
    errno.EMFILE: "the limit of inotify instances is reached (sysctl fs.inotify.max_user_instances)",
}


class Doorbell:
    """
    Watch the folders of routes and ring for a route when something happened there.

    Made on the loop, where *ring* is called, at least once after the last event. The methods block (they walk a
    recursive tree and join threads) and may be called from any thread.
    """

    def __init__(self, ring: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._lock = threading.Lock()
        self._observer: BaseObserver | None = None
        self._armed: dict[str, tuple[_Handler, ObservedWatch]] = {}
        self._overflows = _Overflows(self.ring_all)
        logging.getLogger("watchdog").addHandler(self._overflows)

    def watch(self, route: str, folder: str, *, is_recursive: bool) -> str | None:
        """
        Ring for *route* from now on; say why that is not possible, or None where it is.

        Repeat: yes; a second call arms the route anew, as it must be when the folder is another one than before.
        """
        self.unwatch(route)
        try:
            # The library never follows a link, not even where the folder itself is one. Asked before the lock is
            # taken: on a dead share it never returns, and that must hold up nobody else.
            folder = os.path.realpath(folder, strict=True)
            with self._lock:
                handler = _Handler(folder, self._loop, functools.partial(self._ring, route))
                if self._observer is None:
                    observer = InotifyObserver()
                    observer.start()
                    self._observer = observer
                watch = self._observer.schedule(handler, folder, recursive=is_recursive, event_filter=EVENTS)
                self._armed[route] = handler, watch
        except OSError as error:
            return LIMITS.get(error.errno or 0, str(error.strerror))
        return None

    def unwatch(self, route: str) -> None:
        """Ring no more for *route*."""
        with self._lock:
            if self._observer is not None and route in self._armed:
                self._observer.unschedule(self._armed.pop(route)[1])

    def is_watching(self, route: str) -> bool:
        """Tell whether it rings for *route*."""
        return route in self._armed

    def ring_all(self) -> None:
        """Ring for every route: events were lost, and nobody knows whose."""
        for handler, _ in tuple(self._armed.values()):
            handler.ring()

    def stop(self) -> None:
        """Watch nothing any more, and end watchdog's threads, unless a folder hangs in one of them."""
        logging.getLogger("watchdog").removeHandler(self._overflows)
        ending = threading.Thread(target=self._stop, name="doorbell", daemon=True)
        ending.start()
        ending.join(STOP_S)

    def _stop(self) -> None:
        with self._lock:
            self._armed.clear()
            if self._observer is not None:
                self._observer.stop()
                self._observer.join()
                self._observer = None


class _Handler(FileSystemEventHandler):
    """Carry a ring from watchdog's thread to the loop; many at once are one."""

    def __init__(self, folder: str, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._folder = folder
        self._loop = loop
        self._ring = ring
        self._is_ringing = False

    def dispatch(self, event: FileSystemEvent) -> None:
        # Whatever leaves here ends watchdog's thread, and with it the events of every route.
        with contextlib.suppress(Exception):
            path = os.fsdecode(event.dest_path or event.src_path)
            # Hidden names are never taken; among them are all that we move to work.
            if "/." not in path[len(self._folder) :]:
                self.ring()

    def ring(self) -> None:
        if not self._is_ringing:
            self._is_ringing = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._rung)

    def _rung(self) -> None:
        self._is_ringing = False  # first: what happens from now on rings again
        self._ring()


class _Overflows(logging.Handler):
    """Hear watchdog's warnings: the only way in which it says that the kernel dropped events."""

    def __init__(self, ring_all: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._ring_all = ring_all

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002  # a doorbell does not read
        self._ring_all()
