"""Judge what BulkGPT answers about a task: the event that its status means."""

from __future__ import annotations

from bulkgpt_watchd.core.events import Deferred, Event, Finished, GaveUp, Progressed, TaskMissed
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.policy import Policy, unknown_patience_s, waited_s
from bulkgpt_watchd.core.wire import TaskStatus


def of_status(job: Job, status: TaskStatus, now: float, policy: Policy, *, takes_partial: bool) -> Event:
    """
    Say what a readable answer about the task means for the job.

    Shape: Finished only with a link; a task that was complete before and is not now is waited for. Not
        *takes_partial*: the route wants a result of all rows or none.
    """
    if status.phase == "error":
        return GaveUp("task_error", f'BulkGPT ended the task with "{status.word}".')
    if status.phase == "canceled":
        return GaveUp("task_canceled", f'BulkGPT ended the task with "{status.word}".')
    if status.phase == "completed" and status.rows_ok == 0 and (status.rows_total or job.rows):
        return GaveUp("task_error", "BulkGPT completed the task without one good row.")
    if status.phase == "completed" and not takes_partial and _rows_failed(job, status):
        return GaveUp("task_partial", f"{_rows_failed(job, status)} of the rows failed at BulkGPT.")
    if status.phase == "completed" and status.download_url is not None:
        return Finished(status.rows_done, status.rows_ok, status.rows_total)
    if job.patience_s + waited_s(job, now, policy) >= policy.task_timeout_s:
        if status.phase == "completed":
            return GaveUp("result_unavailable", "BulkGPT says that the task is complete but gives no link.")
        return GaveUp(
            "task_timeout", f'BulkGPT still says "{status.word}" after task_timeout ({policy.task_timeout_s:g} s).'
        )
    if job.state is State.FINISHED:
        return Deferred(f'BulkGPT now says "{status.word}" and gives no link', is_answer=True)
    return Progressed(status.word, status.rows_done, status.rows_ok, status.rows_total)


def of_unknown_task(job: Job, api_message: str, now: float, policy: Policy) -> Event:
    """Say what "I do not know this task" means: waited out for some minutes, then believed."""
    if job.unknown_s + waited_s(job, now, policy) >= unknown_patience_s(policy):
        return GaveUp("task_unknown", "BulkGPT says that it does not know the task.", api_message=api_message)
    return TaskMissed(api_message)


def _rows_failed(job: Job, status: TaskStatus) -> int:
    total = status.rows_total if status.rows_total is not None else job.rows
    if status.rows_ok is None or total is None:
        return 0
    return max(total - status.rows_ok, 0)
