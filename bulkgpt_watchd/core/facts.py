"""Write into a job what an event tells of it. Where that leads, and when, is decided in lifecycle.py."""

from __future__ import annotations

from dataclasses import replace

from bulkgpt_watchd.core import events as e
from bulkgpt_watchd.core.events import Event
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.policy import Policy, waited_s


def with_facts(job: Job, event: Event, now: float, policy: Policy) -> Job:  # noqa: C901, PLR0911, PLR0912 one case an event
    """
    Give the job with what *event* tells of it, in the state that it is in.

    Units: *now* Unix seconds.
    """
    match event:
        case e.Vanished():
            return replace(job, ended_at=now)
        case e.Claimed(stamp) | e.Disturbed(stamp):
            # What an earlier check found was of other bytes.
            return replace(
                job, inode=stamp.inode, size_bytes=stamp.bytes, mtime_ns=stamp.mtime_ns, sha256=None, rows=None
            )
        case e.Prepared(stamp, sha256, rows):
            return replace(
                job, inode=stamp.inode, size_bytes=stamp.bytes, mtime_ns=stamp.mtime_ns, sha256=sha256, rows=rows
            )
        case e.Passed(workflow_id):
            return replace(job, workflow_id=workflow_id, attempts=job.attempts + 1, passed_at=now)
        case e.Accepted(task_id, workflow_id):
            return replace(
                job,
                task_id=task_id,
                workflow_id=job.workflow_id or workflow_id,
                earlier_task_ids=_others(job, task_id),
                attempts=job.attempts + (job.state is State.READY),
                passed_at=now if job.state is State.READY else job.passed_at,
                submitted_at=now,
                asked_at=now,
                patience_s=0.0,
                unknown_s=0.0,
            )
        case e.Deferred(is_bad_result=is_bad):
            if job.state is State.READY and event.is_failure:
                return replace(job, attempts=job.attempts + 1)
            if job.state is State.FINISHED and event.is_answer:
                return replace(
                    job,
                    bad_results=job.bad_results + is_bad,
                    patience_s=job.patience_s + waited_s(job, now, policy),
                    asked_at=now,
                )
            return job
        case e.Progressed() | e.Finished():
            job = replace(
                job,
                rows_done=job.rows_done if event.rows_done is None else event.rows_done,
                rows_ok=job.rows_ok if event.rows_ok is None else event.rows_ok,
                rows_total=job.rows_total if event.rows_total is None else event.rows_total,
                asked_at=now,
                patience_s=job.patience_s + waited_s(job, now, policy),
                unknown_s=0.0,
                api_message=None,
            )
            if isinstance(event, e.Finished):
                return replace(job, completed_at=now, patience_s=0.0, bad_results=0)
            return job
        case e.TaskMissed(api_message):
            more_s = waited_s(job, now, policy)
            return replace(
                job,
                asked_at=now,
                patience_s=job.patience_s + more_s,
                unknown_s=job.unknown_s + more_s,
                api_message=api_message,
            )
        case e.Fetched(path, sha256, size_bytes, rows_out):
            return replace(job, result_path=path, result_sha256=sha256, result_bytes=size_bytes, rows_out=rows_out)
        case e.Retargeted(path):
            if job.state is State.FETCHED:
                return replace(job, result_path=path)
            return replace(job, archive_path=path) if job.state is State.DELIVERED else replace(job, error_path=path)
        case e.Delivered(archive_path):
            return replace(job, delivered_at=now, archive_path=archive_path)
        case e.GaveUp(code, message, line, http_status, api_message, related_job):
            return replace(
                job,
                code=code,
                message=message,
                line=line,
                http_status=http_status,
                api_message=api_message,
                related_job=related_job,
                attempts=job.attempts + (job.state is State.READY and http_status is not None),
                sha256=event.sha256 or job.sha256,
                # A sent file that the state did not know of: nobody knows when it went.
                passed_at=now if code == "submission_unknown" and job.state is not State.SUBMITTING else job.passed_at,
                # A recalled file may stand in error still, or again, under the name that it has there.
                error_path=job.error_path if job.state is State.RECALLED else None,
                ended_at=now,
            )
        case e.Archived() | e.NotRedelivered():
            return replace(job, ended_at=now)
        case e.Recalled(task_id, error_path, may_pay_again, takes_partial):
            return replace(
                _without_verdict(job if task_id == job.task_id else _without_task(job)),
                task_id=task_id,
                earlier_task_ids=_others(job, task_id),
                workflow_id=None if task_id is None else job.workflow_id,
                error_path=error_path,
                may_pay_again=may_pay_again,
                takes_partial=takes_partial,
            )
        case e.Resumed():
            return replace(job, submitted_at=job.submitted_at or now, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case e.Reopened():
            return replace(job, ended_at=None, takes_partial=True, asked_at=now, patience_s=0.0, unknown_s=0.0)
        case e.Cleared():
            return replace(job, archive_path=None)
        case e.Abandoned():
            return replace(job, is_closed=True)
        case e.Superseded(by):
            return replace(job, superseded_by=by)
        case _:
            return job


def _others(job: Job, task_id: str | None) -> tuple[str, ...]:
    """Give every task ID this file ever had but *task_id*, so that none is lost and none named twice."""
    return tuple(other for other in job.task_ids if other != task_id)


def _without_task(job: Job) -> Job:
    """Forget what a task did that the job no longer goes by: it is not what the next one will do."""
    return replace(
        job,
        rows_done=None,
        rows_ok=None,
        rows_total=None,
        submitted_at=None,
        completed_at=None,
    )


def _without_verdict(job: Job) -> Job:
    """Forget the verdict."""
    return replace(
        job,
        code=None,
        message=None,
        line=None,
        http_status=None,
        api_message=None,
        related_job=None,
        ended_at=None,
        is_closed=False,
        bad_results=0,
    )
