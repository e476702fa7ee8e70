"""
Show jobs: GET /api/v1/jobs and GET /api/v1/jobs/JOB.

Shape: a list is `{"jobs": [...], "next": ID or null}`, the newest first; the next page is asked for by `before=ID`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from aiohttp import web

from bulkgpt_watchd.core.exit_codes import BAD_ARGUMENTS, NO_SUCH
from bulkgpt_watchd.core.job import SHOWN_AS, Job
from bulkgpt_watchd.core.outcomes import OUTCOMES
from bulkgpt_watchd.core.ports import JournalEntry, Query
from bulkgpt_watchd.core.routes import named
from bulkgpt_watchd.core.shown import history, row
from bulkgpt_watchd.web.control import as_json, failure

T = TypeVar("T")

PARAMETERS = frozenset({"route", "state", "since", "before", "limit"})

USUAL_LIMIT, LARGEST_LIMIT = 100, 1000
"""Jobs of one page: a screen or two; and 1 MB of JSON, which takes 20 ms to write."""


class Reader(Protocol):
    """Ask the state, synchronously."""

    def get(self, job_id: str) -> Job | None: ...

    def query(self, query: Query) -> list[Job]: ...

    def journal(self, job_id: str) -> list[JournalEntry]: ...

    def names(self) -> dict[str, str]: ...


class Read(Protocol):
    """Run a question in a thread, on a connection of its own: what is shown holds no commit up."""

    def __call__(self, question: Callable[[Reader], T], /) -> Awaitable[T]: ...


def job_routes(read: Read) -> list[web.RouteDef]:
    """Give both addresses."""

    async def listed(request: web.Request) -> web.Response:
        try:
            query, route = query_of(request.query)
        except ValueError as error:
            return failure(str(error), BAD_ARGUMENTS, http_status=400)
        return as_json(await read(lambda state: _page(state, query, route)))

    async def shown(request: web.Request) -> web.Response:
        job_id = request.match_info["job"]
        found = await read(lambda state: _one(state, job_id))
        if found is None:
            return failure(f"there is no job {job_id!r}", NO_SUCH, http_status=404)
        return as_json(found)

    return [web.get("/api/v1/jobs", listed), web.get("/api/v1/jobs/{job}", shown)]


def query_of(wanted: Mapping[str, str]) -> tuple[Query, str | None]:
    """
    Read what is asked for; give the query, and the name of the route.

    Errors: ValueError, in plain words.
    """
    if unknown := set(wanted) - PARAMETERS:
        raise ValueError(f"unknown parameter {min(unknown)!r}; there are {', '.join(sorted(PARAMETERS))}")
    state, since = wanted.get("state"), wanted.get("since")
    states = tuple(one for one, shown in SHOWN_AS.items() if shown == state)
    if state is not None and not states and state not in OUTCOMES:
        raise ValueError(f"state must be one of {', '.join(dict.fromkeys(SHOWN_AS.values()))}, or a code")
    try:
        limit = int(wanted.get("limit", USUAL_LIMIT))
    except ValueError:
        limit = 0
    if not 1 <= limit <= LARGEST_LIMIT:
        raise ValueError(f"limit must be a number from 1 to {LARGEST_LIMIT}")
    query = Query(
        states=states or None,
        codes=(state,) if state in OUTCOMES and state is not None else None,
        since=None if since is None else _seconds(since),
        before=wanted.get("before"),
        limit=limit,
    )
    return query, wanted.get("route")


def _seconds(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("since must be a time such as 2026-11-24T12:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError("since must name its time zone, such as the Z in 2026-11-24T12:00:00Z")
    return at.timestamp()


def _page(state: Reader, query: Query, route: str | None) -> dict[str, Any]:
    names = state.names()
    routes = None if route is None else tuple(key for key in {*names, route} if names.get(key, key) == route)
    limit = query.limit or USUAL_LIMIT
    found = state.query(replace(query, routes=routes, limit=limit + 1))
    rows = [row(named(job, names)) for job in found[:limit]]
    return {"jobs": rows, "next": rows[-1]["job"] if len(found) > limit else None}


def _one(state: Reader, job_id: str) -> dict[str, Any] | None:
    job = state.get(job_id)
    if job is None:
        return None
    return {**row(named(job, state.names())), "journal": history(state.journal(job.id))}
