"""Hold what every effect is given: the ports, and how to run what blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bulkgpt_watchd.config import ApiSettings, Route
from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.names import sent_name, work_name
from bulkgpt_watchd.core.policy import Policy
from bulkgpt_watchd.core.ports import Api, Clock, Folders, Store

DEFAULT_SETTLE_S = 10.0
"""Quiet time of a route that does not name one (contract: what is taken, and when)."""

NETWORK_SETTLE_S = 60.0
"""The least quiet time on NFS and CIFS unless named: stat was stale there for 13 s, and attributes live up to 60 s."""

CALL_DEADLINE_S = 60.0
"""How long one short call on a folder may take, a rename or a block: a dead CIFS server was given up after 11 s."""

T = TypeVar("T")


class Runner(Protocol):
    """Run a blocking call in the threads of a route, so that a hung share blocks its own route only."""

    def __call__(
        self, route: str, function: Callable[..., T], /, *args: Any, deadline_s: float | None = None, **named: Any
    ) -> Awaitable[T]: ...


class OnDisk(Protocol):
    """Be the part of the ports that a look at an inbox needs."""

    @property
    def folders(self) -> Folders: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def run(self) -> Runner: ...


@dataclass(frozen=True)
class Outside:
    """
    Bundle the ports.

    Shape: *later* has a call made in a thread of a route once one is free, and waits for nobody: closing a file may
        wait for a share, and an answer that has come must not wait for that.
    """

    api: Api
    folders: Folders
    store: Store
    clock: Clock
    run: Runner
    later: Callable[[str, Callable[[], object]], None]


@dataclass(frozen=True)
class Task:
    """
    Hold one job together with what is known of its route at this moment.

    Shape: not *is_taking*: files are no longer taken from where this one was found. *is_unsent*: its last submit ended,
        in this process, as certainly not accepted. *pass_point* is for `submit` alone; see core/ports.py.
    """

    job: Job
    route: Route
    api: ApiSettings
    policy: Policy
    is_taking: bool
    is_unsent: bool
    pass_point: Callable[[Job, str], Awaitable[None]] = field(repr=False)

    @property
    def work(self) -> Path:
        """Give the folder the file was, or will be, claimed to."""
        return Path(self.job.work)

    @property
    def plain_name(self) -> str:
        """Give the name in work of a file that was certainly not sent."""
        return work_name(self.job.id, self.job.file)

    @property
    def sent_name(self) -> str:
        """Give the name in work that says that the file may have been sent."""
        return sent_name(self.job.id, self.job.file)


def settle_s(route: Route, *, on_network: bool) -> float:
    """Say how long a file of this route has to be quiet."""
    if route.settle is not None:
        return route.settle
    return NETWORK_SETTLE_S if on_network else DEFAULT_SETTLE_S


def policy_of(route: Route, api: ApiSettings, *, on_network: bool) -> Policy:
    """Give the numbers of a route as the core wants them."""
    return Policy(
        retry_min_s=api.retry.min,
        retry_max_s=api.retry.max,
        poll_min_s=route.poll.min,
        poll_max_s=route.poll.max,
        settle_s=settle_s(route, on_network=on_network),
        task_timeout_s=route.task_timeout,
    )
