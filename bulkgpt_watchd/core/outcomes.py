"""
Hold the codes with which a job can fail: what each means and what a person can do.

One source for the error file, the commands and the README's table (a test compares them).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    Describe one code.

    Shape: *what_to_do* may hold `{job}`, `{other}` and `{route}`, filled for the job at hand.
    """

    meaning: str
    what_to_do: str


_DROP_AGAIN = "then drop it into the inbox again or move it there from the error folder."
_RESOLVE = (
    "Look at the BulkGPT dashboard whether a task for this file exists. If it does: "
    "`bulkgpt-watchd resolve {job} --task-id ID`. If it does not: `bulkgpt-watchd resolve {job} --not-submitted`. "
    "To leave it: `bulkgpt-watchd resolve {job} --abandon`."
)
_FREE_RETRY = (
    "The task is paid. `bulkgpt-watchd redeliver {job}` fetches its result again, free; "
    "`bulkgpt-watchd retry {job}` goes on asking, free; `--pay-again` submits the file anew."
)
_PAY_AGAIN = (
    "See on the BulkGPT dashboard what happened. To submit the file again, which is billed again: "
    "`bulkgpt-watchd retry {job} --pay-again`, or drop a copy of the file into the inbox."
)

OUTCOMES: dict[str, Outcome] = {
    "csv_invalid": Outcome("Not a usable CSV; the line says where.", f"Correct the file, {_DROP_AGAIN}"),
    "csv_encoding": Outcome("Not UTF-8; the line says where.", f"Save the file as UTF-8, {_DROP_AGAIN}"),
    "csv_empty": Outcome("No data rows: empty, or a header only.", f"Give it at least one row, {_DROP_AGAIN}"),
    "too_large": Outcome(
        "Larger than `api.max_upload_bytes`, or BulkGPT answered 413.",
        "Drop it in smaller parts, each with the header. Where BulkGPT takes more: raise `api.max_upload_bytes`, then "
        "`bulkgpt-watchd reload` and `bulkgpt-watchd retry {job}`.",
    ),
    "too_many_rows": Outcome(
        "More data rows than `csv.max_rows` of the route.",
        "Drop it in smaller parts, each with the header. Or raise `csv.max_rows` of route {route}, then "
        "`bulkgpt-watchd reload` and `bulkgpt-watchd retry {job}`.",
    ),
    "marker_mismatch": Outcome(
        "The marker says something else of the file than what it is.",
        "Write the whole file first and its marker after it, and drop both into the inbox again.",
    ),
    "duplicate": Outcome(
        "The same bytes were submitted on this route already, or may have been.",
        "See `bulkgpt-watchd jobs show {other}`. If it is in doubt, end that: `bulkgpt-watchd resolve {other}` with "
        "`--task-id ID`, `--not-submitted` or `--abandon`. Its result again, free: `bulkgpt-watchd redeliver {other}`. "
        "To pay again on purpose: `bulkgpt-watchd retry {job} --pay-again`.",
    ),
    "rejected": Outcome(
        "BulkGPT said no to this file or workflow; its words are in `api_message`.",
        "Nothing was billed. Mend what BulkGPT names (often `workflow_id` of route {route}: correct it and run "
        "`bulkgpt-watchd reload`), then `bulkgpt-watchd retry {job}`, or drop the file again.",
    ),
    "submission_unknown": Outcome(
        "The whole file was or may have been sent, and no readable answer is known: nobody knows whether it is billed.",
        _RESOLVE,
    ),
    "task_id_conflict": Outcome(
        "BulkGPT gave one task ID to two files: nobody can tell whose result it has.", _RESOLVE
    ),
    "task_error": Outcome("The task ended with `error` at BulkGPT, or without one good row.", _PAY_AGAIN),
    "task_canceled": Outcome("The task was canceled at BulkGPT.", _PAY_AGAIN),
    "task_timeout": Outcome("BulkGPT kept answering that the task runs, for longer than `task_timeout`.", _FREE_RETRY),
    "task_unknown": Outcome("BulkGPT kept answering that it does not know the task ID.", _FREE_RETRY),
    "task_partial": Outcome(
        "Some rows failed and the route says `on_partial: error`.",
        "`bulkgpt-watchd redeliver {job}` hands over what there is, free.",
    ),
    "result_unavailable": Outcome("Completed and paid, but the result could not be fetched.", _FREE_RETRY),
    "result_invalid": Outcome("Completed and paid, but what was fetched is not a CSV.", _FREE_RETRY),
    "source_lost": Outcome(
        "The claimed file disappeared from work before it was submitted, by a hand that was not ours.",
        "Unless an older copy of the state was restored, nothing was billed: drop the file into the inbox again. "
        "After a restore, look at the archive and the BulkGPT dashboard first.",
    ),
    "internal_error": Outcome(
        "A bug of this program; the log has the traceback.",
        "Please report it. `bulkgpt-watchd retry {job}` goes on from the last free step.",
    ),
}

HOLDS_A_QUESTION = frozenset({"submission_unknown", "task_id_conflict"})
"""Codes that `resolve` answers: a person has to look at BulkGPT's dashboard."""

ENDED_AT_BULKGPT = frozenset({"task_error", "task_canceled"})
"""Codes after which the same bytes may simply be dropped again (contract: `duplicate`)."""


def what_to_do(code: str, *, job: str, route: str, other: str | None) -> str:
    """Say what a person can do about a job that failed with *code*."""
    return OUTCOMES[code].what_to_do.format(job=job, route=route, other=other or "JOB")
