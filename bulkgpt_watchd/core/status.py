"""
Say how the daemon is, from what the state remembers: the content of `status --json`.

Shape: plain data. It is the same whether the daemon runs or not; only *is_running* comes from outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bulkgpt_watchd.core import budget as budgets
from bulkgpt_watchd.core import gate as gate_rules
from bulkgpt_watchd.core.budget import Limits, Spent
from bulkgpt_watchd.core.job import SHOWN_AS, TERMINAL, Job, State
from bulkgpt_watchd.core.ledger import day_of
from bulkgpt_watchd.core.names import printable
from bulkgpt_watchd.core.outcomes import HOLDS_A_QUESTION
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.core.routes import EVERY_ROUTE, named
from bulkgpt_watchd.core.shown import rfc3339, row

NEEDS_DECISION = Query(codes=tuple(sorted(HOLDS_A_QUESTION)), states=(State.FAILING, State.FAILED))
"""What to ask the store for, to have the jobs that may wait for a person's answer."""

STUCK_FAILURES = 3
"""Failures in a row after which a person is told: by default that is half a minute; one hiccup is no news."""

STUCK = Query(states=tuple(state for state in State if state not in TERMINAL), failures=STUCK_FAILURES, limit=200)
"""What to ask the store for, to have jobs that do not get on; of so many, more would say nothing new."""

READY = Query(states=(State.READY,), limit=200)
"""What to ask the store for, to have jobs that may wait for a budget; few are ready at once."""

TOLD_AT_MOST = 5
"""Reasons for which files of one route wait that are told: often it is one, for all of them."""


def status(  # noqa: PLR0913  # each is another question to the store
    facts: Mapping[str, Any],
    counts: Mapping[tuple[str, State], int],
    doubts: Sequence[Job],
    *,
    stuck: Sequence[Job] = (),
    ready: Sequence[Job] = (),
    spent: Mapping[str, Spent] = MappingProxyType({}),
    troubles: Sequence[Mapping[str, str]] = (),
    now: float,
    is_running: bool,
) -> dict[str, Any]:
    """
    Put together what a person wants to know at one look.

    Shape: *doubts* is what the store gave for NEEDS_DECISION, *stuck* for STUCK, *ready* for READY; those that were
        answered are left out. *spent* is today's, by the keys of the routes. *troubles* are what a running daemon
        says (`/readyz`): on a full disk it cannot write them down.
    """
    known: Mapping[str, str] = facts.get("names") or {}
    doubts = [named(job, known) for job in doubts if not job.is_closed and job.superseded_by is None]
    gate = gate_rules.from_json(facts.get("gate"))
    pauses = {key: pause for key, pause in (facts.get("pauses") or {}).items() if _is_on(pause, now)}
    keys = sorted({*(facts.get("routes") or {}), *(key for key, _ in counts)}, key=lambda key: known.get(key, key))
    total = _budget(EVERY_ROUTE, facts.get("budget"), facts, spent, now)
    routes = []
    for key in keys:
        route = {"name": known.get(key, key), **_route(key, facts, counts, gate, pauses, now)}
        over = [job for job in ready if job.route == key and (job.waits_for or "").startswith(budgets.OVER_BUDGET)]
        route["budget"] = _budget(key, (facts.get("routes") or {}).get(key), facts, spent, now)
        route["budget"] |= {"waiting": len(over), "total_used_up": total["used_up"]}
        route["problems"] += _used_up(route["budget"]) or _waiting(over)
        route["problems"] += _waiting([job for job in stuck if job.route == key])
        told = [it["reason"] for it in troubles if it["what"] in {"disk", "route"} and it["route"] == route["name"]]
        route["problems"] = [*dict.fromkeys((*route["problems"], *told))]
        routes.append(route)
    problems = [f"gate: {gate.reason}"] if gate.position != "open" else []
    problems += [f"all routes: {text}" for text in _used_up(total)]
    problems += [f"state: {it['reason']}" for it in troubles if it["what"] == "state"]
    problems += [f"route {route['name']}: {text}" for route in routes for text in route["problems"]]
    web = facts.get("web") if is_running else None
    if web is not None and web["reason"] is not None and web["is_asked_for"]:
        problems.append(f"web: {web['address']} cannot be used: {web['reason']}")
    problems += [f"job {job.id} ({printable(job.file)}) needs a decision: {job.code}" for job in doubts]
    return {
        "schema": 1,
        "state": "degraded" if problems else "ok",
        "running": is_running,
        "daemon": facts.get("daemon"),
        "gate": "open" if gate.position == "open" else "shut",
        "gate_position": gate.position,
        "gate_reason": gate.reason,
        "gate_next_try_at": rfc3339(gate.probe_at),
        "gate_needs_resume": gate.is_locked,
        "gate_denied": gate.position != "open" and gate.is_denied,
        "paused": EVERY_ROUTE in pauses,
        "pause": _pause(pauses.get(EVERY_ROUTE)),
        "web": None if web is None else {"address": web["address"], "reason": web["reason"]},
        "budget": total,
        "problems": problems,
        "routes": routes,
        "doubts": [row(job) for job in doubts],
    }


def _route(
    key: str,
    facts: Mapping[str, Any],
    counts: Mapping[tuple[str, State], int],
    gate: gate_rules.Gate,
    pauses: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    settings = (facts.get("routes") or {}).get(key)
    is_configured = settings is not None
    # Of a route that was removed only its jobs count: what it last suffered from is nobody's problem any more.
    health = ((facts.get("health") or {}).get(key) or {}) if is_configured else {}
    workflow_id = (settings or {}).get("workflow_id")
    hold = (gate.routes.get(key) or gate.workflows.get(workflow_id or "")) if is_configured else None
    pause = pauses.get(EVERY_ROUTE) or pauses.get(key)
    shown = dict.fromkeys(("waiting", "submitting", "running", "delivering", "done", "failed", "withdrawn"), 0)
    for (route, state), number in counts.items():
        if route == key:
            shown[SHOWN_AS[state]] += number
    unreadable = health.get("unreadable") or {}
    problems = [text for text in (health.get("reason"), health.get("disk_low"), hold and hold.reason) if text]
    problems += [f"{printable(file)} is unreadable: {text}" for file, text in unreadable.items()]
    slow = health.get("slow") or ()
    problems += [f"{printable(file)} is being moved or checked for long: its folder may hang" for file in slow]
    return {
        "workflow_id": workflow_id,
        "configured": is_configured,
        "inbox": health.get("inbox") or (settings or {}).get("inbox"),
        "available": not health.get("reason"),
        "reason": health.get("reason"),
        "unavailable_since": rfc3339(health.get("since")),
        "paused": pause is not None,
        "pause": _pause(pause),
        "gate": "shut" if hold is not None or gate.position != "open" else "open",
        "gate_reason": hold.reason if hold is not None else gate.reason,
        "held_until": rfc3339(hold.try_at) if hold is not None and hold.try_at > now else None,
        "draining": bool(health.get("is_draining")),
        "unsettled": health.get("unsettled") or 0,
        "unreadable": sorted(printable(file) for file in unreadable),
        **shown,
        "problems": problems,
    }


def _budget(
    scope: str,
    settings: Mapping[str, Any] | None,
    facts: Mapping[str, Any],
    spent: Mapping[str, Spent],
    now: float,
) -> dict[str, Any]:
    """Say what was sent today, what may be, and until when that holds."""
    budget, sent = (settings or {}).get("budget") or {}, budgets.used(scope, spent)
    lifted = (facts.get("budget") or {}).get("lifted") or {}
    is_lifted = budgets.is_lifted(scope, lifted, day_of(now))
    limits = Limits(budget.get("rows_per_day"), budget.get("files_per_day"))
    is_used_up = not is_lifted and budgets.is_used_up(limits, sent)
    return {
        "rows_today": sent.rows,
        "rows_per_day": limits.rows,
        "files_today": sent.files,
        "files_per_day": limits.files,
        "used_up": is_used_up,
        "lifted": is_lifted,
        "until": rfc3339(budgets.ends_at(now)) if is_used_up or is_lifted else None,
    }


def _used_up(budget: Mapping[str, Any]) -> list[str]:
    """Say that a budget is used up."""
    if not budget["used_up"]:
        return []
    pairs = [(budget[f"{unit}_today"], budget[f"{unit}_per_day"], unit) for unit in ("rows", "files")]
    told = " and ".join(f"{used:,} of {limit:,} {unit}" for used, limit, unit in pairs if limit is not None)
    return [f"the budget is used up: {told} were sent today; it goes on at {budget['until']}"]


def _waiting(stuck: Sequence[Job]) -> list[str]:
    """Say why files wait, those with one reason together."""
    by_reason: dict[str, list[Job]] = {}
    for job in stuck:
        by_reason.setdefault(job.waits_for or "", []).append(job)
    told = [
        f"{printable(jobs[0].file)} waits: {reason}" if len(jobs) == 1 else f"{len(jobs)} files wait: {reason}"
        for reason, jobs in by_reason.items()
    ]
    return told[:TOLD_AT_MOST] + ([f"and {len(told) - TOLD_AT_MOST} more reasons"] if len(told) > TOLD_AT_MOST else [])


def _is_on(pause: Mapping[str, Any], now: float) -> bool:
    return pause["until"] is None or now < pause["until"]


def _pause(pause: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if pause is None:
        return None
    return {"reason": pause["reason"], "since": rfc3339(pause["since"]), "until": rfc3339(pause["until"])}
