r"""
Say what people and programs see of a job: the error file, the receipt, and the rows of `jobs --json`.

Shape: plain data, ready for JSON. Times are RFC 3339 UTC; names that are not UTF-8 are shown with `\xNN`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from bulkgpt_watchd.core.history import JournalEntry
from bulkgpt_watchd.core.job import SHOWN_AS, Job, State
from bulkgpt_watchd.core.names import base_name, printable
from bulkgpt_watchd.core.outcomes import what_to_do

SCHEMA = 1
"""Version of the error file and the receipt (contract: folders of a route)."""


def rfc3339(at: float | None) -> str | None:
    """Give Unix seconds as RFC 3339 UTC with milliseconds."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rows_failed(job: Job) -> int | None:
    """Give the rows that BulkGPT was paid for without a good answer; None while that is not known."""
    total = job.rows_total if job.rows_total is not None else job.rows
    if job.rows_ok is None or total is None or job.completed_at is None:
        return None
    return max(total - job.rows_ok, 0)


def is_partial(job: Job) -> bool:
    """Tell whether a delivered job has failed rows."""
    return job.state is State.DONE and bool(rows_failed(job))


def error_file(job: Job, *, has_source: bool) -> dict[str, Any]:
    """Give the content of NAME.error.json."""
    code = job.code or "internal_error"
    message = job.message
    if not has_source and code != "source_lost":
        message = f"{message} The file itself was no longer in work."
    content = {
        "schema": SCHEMA,
        "code": code,
        "message": message,
        "what_to_do": what_to_do(code, job=job.id, route=job.route, other=job.related_job),
        **_identity(job),
        "failed_at": rfc3339(job.ended_at),
    }
    optional = {"http_status": job.http_status, "api_message": job.api_message, "line": job.line}
    return content | {key: value for key, value in optional.items() if value is not None}


def receipt(job: Job, *, has_source: bool, is_changed: bool = False) -> dict[str, Any]:
    """Give the content of NAME.receipt.json."""
    return {
        "schema": SCHEMA,
        **_identity(job),
        "submitted_at": rfc3339(job.submitted_at),
        "completed_at": rfc3339(job.completed_at),
        "delivered_at": rfc3339(job.delivered_at),
        "rows_in": job.rows,
        "rows_ok": job.rows_ok,
        "rows_failed": rows_failed(job),
        "rows_out": job.rows_out,
        "result": _shown_name(job.result_path),
        "result_sha256": job.result_sha256,
        **({} if has_source else {"source_lost": True}),
        **({"source_changed": True} if is_changed else {}),
    }


def row(job: Job) -> dict[str, Any]:
    """Give the job as `jobs --json` shows it."""
    return {
        "job": job.id,
        "route": job.route,
        "file": printable(job.file),
        "state": SHOWN_AS[job.state],
        "step": job.state.value,
        "code": job.code,
        "message": job.message,
        "what_to_do": what_to_do(job.code, job=job.id, route=job.route, other=job.related_job) if job.code else None,
        "task_ids": list(job.task_ids),
        "workflow_id": job.workflow_id,
        "bytes": job.size_bytes,
        "sha256": job.sha256,
        "rows": job.rows,
        "rows_done": job.rows_done,
        "rows_ok": job.rows_ok,
        "rows_failed": rows_failed(job),
        "rows_out": job.rows_out,
        "partial": is_partial(job),
        "attempts": job.attempts,
        "waits_for": job.waits_for,
        "created_at": rfc3339(job.created_at),
        "changed_at": rfc3339(job.changed_at),
        "submitted_at": rfc3339(job.submitted_at),
        "delivered_at": rfc3339(job.delivered_at),
        "next_try_at": rfc3339(job.due_at) if job.waits_for else None,
        "result": printable(job.result_path) if job.delivered_at and job.result_path else None,
        "archive": printable(job.archive_path) if job.state is State.DONE and job.archive_path else None,
        "error": printable(job.error_path) if job.state is State.FAILED and job.error_path else None,
        "line": job.line,
        "http_status": job.http_status,
        "api_message": job.api_message,
        "other_job": job.related_job,
        "superseded_by": job.superseded_by,
        "is_closed": job.is_closed,
    }


def history(entries: Iterable[JournalEntry]) -> list[dict[str, Any]]:
    """Give what happened to a job as `jobs show --json` shows it."""
    return [{"at": rfc3339(entry.at), "event": entry.event, "facts": _harmless(dict(entry.facts))} for entry in entries]


def _harmless(value: Any) -> Any:
    """Show the names among facts as everywhere else."""
    if isinstance(value, dict):
        return {key: _harmless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _identity(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "route": job.route,
        "workflow_id": job.workflow_id,
        "task_ids": list(job.task_ids),
        "file": printable(job.file),
        "sha256": job.sha256,
        "bytes": job.size_bytes,
        "rows": job.rows,
        "attempts": job.attempts,
        "first_seen": rfc3339(job.created_at),
    }


def _shown_name(path: str | None) -> str | None:
    return None if path is None else printable(base_name(path))
