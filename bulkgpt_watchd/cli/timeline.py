"""Tell in plain words what happened to a job, line by line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bulkgpt_watchd.cli.words import count
from bulkgpt_watchd.core.names import printable

WORDS = {
    "vanished": "left the inbox, or was replaced there, before it was claimed",
    "claimed": "claimed: moved from the inbox into work",
    "disturbed": "somebody wrote to it once more; waiting until it is quiet",
    "prepared": "checked: {rows}",
    "passed": "sending to workflow {workflow_id}; from here on it may be billed",
    "accepted": "submitted: task {task_id}",
    "deferred": "put off: {reason}",
    "progressed": "{word}: {rows_done} of {rows_total}",
    "task_missed": "BulkGPT does not know the task: {api_message}",
    "finished": "complete: {rows_ok} of {rows_total} good",
    "fetched": "result fetched: {rows_out}, {bytes} bytes",
    "retargeted": "goes to {path}",
    "delivered": "result delivered",
    "archived": "done: original put away, receipt written",
    "gave_up": "failed with {code}: {message}",
    "quarantined": "moved to the error folder with its reason",
    "recalled": "a person decided to go on with it",
    "restored": "back in work, to be checked and sent again",
    "resumed": "back in work, its task is asked about again",
    "reopened": "a person asked for the result once more",
    "not_redelivered": "the result could not be had once more ({code}: {message}); the first delivery stands",
    "cleared": "original and receipt removed from the archive, as `keep.archive` says",
    "abandoned": "closed by a person; the file stays in the error folder",
    "superseded": "dropped again: it is now job {by}",
}
"""One sentence for each event of `core.events`; in braces what the event says."""

LOST = "the file was not there any more; only what is told of it was written"
"""What is said of a move, into the archive or the error folder, whose file was gone."""

COUNTED = frozenset({"rows", "rows_out", "rows_total"})
"""Facts that a sentence uses with their unit."""


def words(event: str, facts: Mapping[str, Any]) -> str:
    """Say what an event means; what it does not say is a question mark."""
    known = {key: count(value, "row") if key in COUNTED else printable(str(value)) for key, value in facts.items()}
    if facts.get("is_lost"):
        return LOST
    return WORDS[event].format_map(defaultdict(lambda: "?", known))
