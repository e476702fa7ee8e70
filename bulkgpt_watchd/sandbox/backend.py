"""What the three doors of a sandbox (API, downloads, control) share, and what they do alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from bulkgpt_watchd.sandbox.fault import Fault
from bulkgpt_watchd.sandbox.ledger import Ledger
from bulkgpt_watchd.sandbox.options import SandboxOptions
from bulkgpt_watchd.sandbox.plan import Plan
from bulkgpt_watchd.sandbox.reply import Closing, Reply, hang_up, hold, send
from bulkgpt_watchd.sandbox.spool import Spool
from bulkgpt_watchd.sandbox.tasks import Tasks

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound to


@dataclass(slots=True)
class Backend:
    """One sandbox's memory."""

    options: SandboxOptions
    ledger: Ledger
    report: Callable[[str], None]
    """Takes one line for each call, for a person."""
    spool: Spool = field(default_factory=Spool)
    tasks: Tasks = field(default_factory=Tasks)
    closing: Closing = field(default_factory=Closing)
    plan: Plan = field(init=False)
    download_origin: str = ""

    def __post_init__(self) -> None:
        self.plan = Plan(self.options.faults)

    def origin_for(self, request: web.Request) -> str:
        """Name the download origin as this client can reach it, also where we listen on every address."""
        if self.options.host not in WILDCARDS:
            return self.download_origin
        return f"http://{host_in_url(request.url.host or '127.0.0.1')}:{self.download_origin.rpartition(':')[2]}"

    async def answer(
        self, request: web.Request, call: str, reply: Reply, fault: Fault | None, told: str
    ) -> web.StreamResponse:
        """Report the call, then do what the fault says: wait, reset, hang, or send."""
        what = "reset" if fault and fault.reset else "hang" if fault and fault.hang else str(reply.http_status)
        self.report(f"{call} {what}{told}{f' fault: {fault}' if fault else ''}")
        if fault is not None:
            await self.closing.pause(fault.delay_s)
            if fault.reset:
                return hang_up(request, reset=True)
            if fault.hang:
                return await hold(request, self.closing)
        return await send(request, reply, fault, self.closing)


def host_in_url(host: str) -> str:
    """Put an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
