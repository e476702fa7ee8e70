"""Say in the log what happened to a job: fixed event names, facts as keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.shown import rows_failed
from bulkgpt_watchd.core.status import STUCK_FAILURES

Log = Callable[..., None]
"""Called as log(event, level, **facts)."""

STALLED_S = 86_400.0
"""A task that runs for longer than a day is worth one warning (contract: `task_timeout`)."""


def with_names(log: Log, names: Mapping[str, str]) -> Log:
    """Write the names of routes, which people know, where the keys are given (core/routes.py)."""

    def write(event: str, level: str = "info", **facts: Any) -> None:
        for fact in ("route", "key"):
            if fact == "route" or facts.get("scope") == "route":
                key = facts.get(fact)
                facts |= {fact: names.get(key, key)} if key is not None else {}
        log(event, level, **facts)

    return write


CHANGED = "somebody wrote to the file after it was sent: what was sent is not all of it"


def of_job(job: Job) -> dict[str, Any]:
    """Give the keys that stand in every line about a job."""
    facts: dict[str, Any] = {"route": job.route, "job": job.id, "file": job.file}
    if job.task_id is not None:
        facts["task_id"] = job.task_id
    return facts


def line(old: Job, new: Job, event: Event) -> tuple[str, str, dict[str, Any]] | None:  # noqa: C901, PLR0911, PLR0912 a table
    """Give name, level and facts of the line that tells a change; None where there is nothing new to tell."""
    match event:
        case e.Claimed(is_settled=is_settled):
            return "job.claimed", "info", {"bytes": new.size_bytes, "is_settled": is_settled}
        case e.Disturbed():
            return "job.disturbed", "warning", {"reason": "somebody wrote to the file after it had been quiet"}
        case e.Prepared(rows=rows, sha256=sha256):
            return "job.checked", "info", {"rows": rows, "bytes": new.size_bytes, "sha256": sha256}
        case e.Accepted():
            return "task.submitted", "info", {"workflow_id": new.workflow_id, "rows": new.rows}
        case e.Progressed(word=word):
            return _progress(old, new, word)
        case e.TaskMissed(api_message=api_message):
            return "task.missed", "warning" if old.unknown_s == 0 else "debug", {"api_message": api_message}
        case e.Finished():
            return "task.completed", "info", {"rows_ok": new.rows_ok, "rows_total": new.rows_total}
        case e.Fetched(bytes=size, rows_out=rows_out):
            return "job.fetched", "info", {"bytes": size, "rows_out": rows_out}
        case e.Delivered():
            return "job.delivered", "info", {"result": new.result_path, **_partial(new)}
        case e.Archived(is_changed=is_changed):
            facts = {"archive": new.archive_path, "rows_out": new.rows_out}
            return "job.done", "warning" if is_changed else "info", facts | ({"reason": CHANGED} if is_changed else {})
        case e.Deferred(reason=reason, is_failure=is_failure):
            level = "info" if is_failure and old.waits_for != reason else "debug"
            level = "warning" if is_failure and new.failures == STUCK_FAILURES else level
            return "job.deferred", level, {"reason": reason, "at": old.state.value, "failures": new.failures}
        case e.GaveUp(code=code, message=message):
            level = "error" if code in {"submission_unknown", "task_id_conflict", "internal_error"} else "warning"
            facts = {"code": code, "message": message, "line": event.line, "http_status": event.http_status}
            facts |= {"api_message": event.api_message, "other_job": event.related_job}
            return "job.failed", level, {key: value for key, value in facts.items() if value is not None}
        case e.NotRedelivered(code=code, message=message):
            return "job.not_redelivered", "warning", {"code": code, "message": message}
        case e.Quarantined():
            return "job.quarantined", "info", {"code": new.code, "error": new.error_path}
        case e.Vanished():
            return "job.withdrawn", "info", {}
        case e.Superseded(by=by):
            return "job.superseded", "info", {"by": by}
        case e.Cleared():
            return "job.cleared", "info", {"archive": old.archive_path}
        case e.Recalled() | e.Reopened() | e.Abandoned():
            return f"job.{type(event).__name__.lower()}", "info", {}
    return None


def _progress(old: Job, new: Job, word: str) -> tuple[str, str, dict[str, Any]] | None:
    if old.patience_s < STALLED_S <= new.patience_s:
        return "task.stalled", "warning", {"running_s": round(new.patience_s), "status": word}
    has_moved = (old.rows_done, old.rows_ok, old.rows_total) != (new.rows_done, new.rows_ok, new.rows_total)
    facts = {"status": word, "rows_done": new.rows_done, "rows_ok": new.rows_ok, "rows_total": new.rows_total}
    return "task.progressed", "info" if has_moved else "debug", facts


def _partial(job: Job) -> dict[str, Any]:
    failed = rows_failed(job)
    return {"rows_failed": failed} if failed else {}


def is_news(old: Job, new: Job, event: Event) -> bool:
    """Tell whether a change belongs into the job's history: a question that was answered as before does not."""
    if old.state is not new.state or old.state is State.DISCOVERED:
        return True
    told = line(old, new, event)
    return told is not None and told[1] != "debug"
