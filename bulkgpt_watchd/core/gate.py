"""
Decide whether anything may be submitted at all.

Theory of operation
-------------------
BulkGPT has no idempotency key, so a lost answer is a doubt that only a person can end. An outage must therefore cost a
few doubts and not the whole inbox. The gate is one value with three positions:

    open ── doubt, denied ──► shut ── a free probe was answered, or retry.max without a task ──► half
     ▲                         ▲ ├─── a changed key ───────────────────────────────────────────►│
     │                         │ └─── `resume`; after the third doubt nothing else ────────────►│
     └───────── accepted ──────┼────────────────────────────────────────────────────────────────┤
                               └──────────────────── doubt, denied ─────────────────────────────┘

Doubts that our own death left lead from open to half, and do not count. At half one submit at a time is tried, and each
doubt counts, whatever shut the gate meanwhile. Submits that were started while it was open and end after it shut belong
to an older *epoch*: their doubts are the same outage and count once, and one that is accepted while it is shut does not
open it, since it was sent before. Beside it stand holds on one route (refused for itself) or one workflow (three
`rejected` in a row), which let one submit through each retry.max.

Everything here is pure; the scheduler keeps the value and the store its JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bulkgpt_watchd.core.policy import backoff

STRIKES_TO_LOCK = 3
"""Doubts after which only a person opens the gate: those that were in flight together, and two more (contract)."""

REJECTIONS_TO_HOLD = 3
"""`rejected` in a row on one workflow that hold it (contract)."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Say why one route or workflow waits, and when one submit may be tried."""

    reason: str
    since: float
    try_at: float


@dataclass(frozen=True, slots=True)
class Gate:
    """
    Hold what is known about BulkGPT's willingness.

    Units: *since*, *shut_at* and *probe_at* Unix seconds; *probe_at* None unless it is shut and may open by itself,
        *shut_at* None also where it need not stay shut for any time.
    """

    position: str = "open"  # open | half | shut
    reason: str | None = None
    is_denied: bool = False  # shut for key, account or address, whatever shut it first
    since: float | None = None  # not open since
    shut_at: float | None = None  # shut the last time at
    probe_at: float | None = None
    openings: int = 0  # half openings and failed probes since the last accepted submit; sets the backoff
    strikes: int = 0  # doubts since one was accepted or a person resumed; those in flight when it shut count as one
    epoch: int = 0  # counts the shuttings and the half openings
    trials_from: int | None = None  # epoch of the first half opening since it was open: later submits were tried alone
    routes: Mapping[str, Hold] = field(default_factory=dict)
    workflows: Mapping[str, Hold] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)  # per workflow, in a row
    accepted_at: Mapping[str, float] = field(default_factory=dict)  # per route

    @property
    def is_locked(self) -> bool:
        """Tell whether only a person can open it."""
        return self.position == "shut" and self.probe_at is None

    def places(self, in_flight: int, limit: int) -> int:
        """Say how many submits may be started beside those *in_flight*."""
        if self.position == "shut":
            return 0
        return max(0, (1 if self.position == "half" else limit) - in_flight)

    def holds(self, route: str, workflow_id: str, now: float) -> Hold | None:
        """Give the hold that keeps this route from submitting now."""
        for hold in (self.routes.get(route), self.workflows.get(workflow_id)):
            if hold is not None and now < hold.try_at:
                return hold
        return None


def rebased(gate: Gate, by_s: float, latest: float) -> Gate:
    """Move what it waits for by *by_s*, but not beyond *latest*: the clock was set."""

    def moved(held: Mapping[str, Hold]) -> dict[str, Hold]:
        return {key: replace(hold, try_at=min(hold.try_at + by_s, latest)) for key, hold in held.items()}

    probe_at = None if gate.probe_at is None else min(gate.probe_at + by_s, latest)
    return replace(gate, probe_at=probe_at, routes=moved(gate.routes), workflows=moved(gate.workflows))


def accepted(gate: Gate, route: str, workflow_id: str, now: float) -> Gate:
    """Open, unless it is shut: a submit was accepted."""
    gate = replace(
        gate,
        openings=0,
        strikes=0,
        routes=_without(gate.routes, route),
        workflows=_without(gate.workflows, workflow_id),
        rejected=_without(gate.rejected, workflow_id),
        accepted_at={**gate.accepted_at, route: now},
    )
    if gate.position == "shut":
        return gate
    return replace(gate, position="open", reason=None, is_denied=False, since=None, shut_at=None, trials_from=None)


def doubt(gate: Gate, epoch: int, reason: str, now: float, retry_s: tuple[float, float]) -> Gate:
    """Shut for a submit of *epoch* whose outcome is unknown; one from before it shut is the same outage."""
    if gate.trials_from is None or epoch < gate.trials_from:
        gate = replace(gate, strikes=max(gate.strikes, 1))
        return gate if epoch != gate.epoch else _shut(gate, reason, now, retry_s)
    shut = replace(_shut(gate, reason, now, retry_s), strikes=gate.strikes + 1)
    return replace(shut, probe_at=None) if shut.strikes >= STRIKES_TO_LOCK else shut


def denied(
    gate: Gate, epoch: int, route: str, http_status: int | None, reason: str, now: float, retry_s: tuple[float, float]
) -> Gate:
    """Shut for key, account or address; a 403 while other routes are accepted holds that route alone."""
    if http_status == 403 and any(other != route and now - at < retry_s[1] for other, at in gate.accepted_at.items()):
        # Refused itself, it is no longer one of the others: a key that no route may use shuts the gate at the last.
        return replace(
            gate,
            routes={**gate.routes, route: Hold(reason, now, now + retry_s[1])},
            accepted_at=_without(gate.accepted_at, route),
        )
    if gate.position == "shut":
        return gate if gate.is_denied else replace(gate, is_denied=True, reason=reason)
    return replace(_shut(gate, reason, now, retry_s), is_denied=True) if epoch == gate.epoch else gate


def rejected(gate: Gate, workflow_id: str, reason: str, now: float, retry_s: tuple[float, float]) -> Gate:
    """Count a `rejected`; the third in a row holds its workflow."""
    count = gate.rejected.get(workflow_id, 0) + 1
    gate = replace(gate, rejected={**gate.rejected, workflow_id: count})
    if count < REJECTIONS_TO_HOLD:
        return gate
    return replace(gate, workflows={**gate.workflows, workflow_id: Hold(reason, now, now + retry_s[1])})


def tried(gate: Gate, route: str, workflow_id: str, now: float, retry_max_s: float) -> Gate:
    """Put the next trial of a held route or workflow off: one submit each retry.max."""

    def later(holds: Mapping[str, Hold], key: str) -> Mapping[str, Hold]:
        return {**holds, key: replace(holds[key], try_at=now + retry_max_s)} if key in holds else holds

    return replace(gate, routes=later(gate.routes, route), workflows=later(gate.workflows, workflow_id))


def probed(gate: Gate, *, is_answered: bool, now: float, retry_s: tuple[float, float]) -> Gate:
    """Open by half after a readable answer to a free call, else ask again later."""
    if gate.position != "shut" or gate.is_locked:
        return gate
    if is_answered:
        return half(gate)
    return replace(gate, openings=gate.openings + 1, probe_at=now + backoff(gate.openings + 2, *retry_s, 0.0))


def hurried(gate: Gate, now: float) -> Gate:
    """Ask now what was denied before: a person may have mended it, and who asks does not stay to wait."""
    if gate.position != "shut" or not gate.is_denied or gate.is_locked:
        return gate
    return replace(gate, probe_at=now, shut_at=None)


def half(gate: Gate) -> Gate:
    """Open by half: a new epoch, one submit at a time."""
    epoch = gate.epoch + 1
    trials_from = epoch if gate.trials_from is None else gate.trials_from
    return replace(
        gate, position="half", probe_at=None, openings=gate.openings + 1, epoch=epoch, trials_from=trials_from
    )


def restarted(gate: Gate, doubts: int, now: float) -> Gate:
    """Start half open after doubts that our own death left, unless it is shut; they do not count (contract)."""
    if doubts and gate.position == "open":
        since = replace(gate, reason="the daemon died while submits were under way", since=now)
        return half(since)
    return gate


def resumed(gate: Gate, route: str | None, workflow_id: str | None) -> Gate:
    """Obey a person: what is shut opens by half and all holds end; for one route, its own and its workflow's."""
    if route is None:
        if gate.position == "open":
            return replace(gate, routes={}, workflows={}, rejected={})
        return replace(half(gate), strikes=0, routes={}, workflows={}, rejected={})
    return replace(
        gate,
        routes=_without(gate.routes, route),
        workflows=_without(gate.workflows, workflow_id or ""),
        rejected=_without(gate.rejected, workflow_id or ""),
    )


def to_json(gate: Gate) -> dict[str, Any]:
    """Give the gate as data for the store."""
    data = {name: getattr(gate, name) for name in gate.__dataclass_fields__}
    for name in ("routes", "workflows"):
        data[name] = {
            key: {"reason": hold.reason, "since": hold.since, "try_at": hold.try_at} for key, hold in data[name].items()
        }
    return data


def from_json(data: Mapping[str, Any] | None) -> Gate:
    """Read what `to_json` wrote, of this version or another; nothing yet means open."""
    known = {name: value for name, value in (data or {}).items() if name in Gate.__dataclass_fields__}
    for name in ("routes", "workflows"):
        holds = (known.get(name) or {}).items()
        known[name] = {key: Hold(hold["reason"], hold["since"], hold["try_at"]) for key, hold in holds}
    return Gate(**known)


def _shut(gate: Gate, reason: str, now: float, retry_s: tuple[float, float]) -> Gate:
    return replace(
        gate,
        position="shut",
        reason=reason,
        is_denied=False,
        since=gate.since if gate.since is not None else now,
        shut_at=now,
        probe_at=now + backoff(gate.openings + 1, *retry_s, 0.0),
        epoch=gate.epoch + 1,
    )


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
