"""Read the body of a POST, with a look for planned faults before it, in it, and no further."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from bulkgpt_watchd.sandbox.backend import Backend
from bulkgpt_watchd.sandbox.fault import Fault
from bulkgpt_watchd.sandbox.plan import Facts, facts_of
from bulkgpt_watchd.sandbox.spool import SMALL_BYTES
from bulkgpt_watchd.sandbox.vocabulary import MIDDLE, START

_READ_BYTES = 1 << 20
"""At most at once; aiohttp seldom has more."""


class Intake:
    """
    Give the body to *feed*, block by block.

    Shape: *body_bytes* says how far it came, *whole* whether that was all.
    """

    def __init__(
        self, backend: Backend, request: web.Request, call: str, feed: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._backend = backend
        self._request = request
        self._call = call
        self._feed = feed
        self._head = b""
        self.body_bytes = 0
        self.whole = False

    async def read(self) -> Fault | None:
        """
        Read to the end, or to a fault that answers (or resets, or hangs) before it.

        Errors: ConnectionError, web.RequestPayloadError: the client left, or sent no proper body.
        """
        plan, length = self._backend.plan, self._request.content_length
        fault = await plan.take(self._call, START, Facts())
        if await self._strikes(fault):
            return fault
        for cut in plan.cuts(self._call, length):
            await self._read_to(cut)
            if self.whole:
                break
            fault = await plan.take(self._call, MIDDLE, facts_of(self._head), cut=cut, length=length)
            if await self._strikes(fault):
                return fault
        await self._read_to(None)
        return None

    async def _strikes(self, fault: Fault | None) -> bool:
        """Tell whether this is the end of the call; a mere delay is not."""
        if fault is None or fault.reset or fault.hang or fault.answers:
            return fault is not None
        await self._backend.closing.pause(fault.delay_s)
        return False

    async def _read_to(self, cut: int | None) -> None:
        while cut is None or self.body_bytes < cut:
            block = await self._request.content.read(_READ_BYTES if cut is None else cut - self.body_bytes)
            if not block:
                self.whole = True
                return
            self.body_bytes += len(block)
            if len(self._head) < SMALL_BYTES:
                self._head += block[:SMALL_BYTES]
            await self._feed(block)
