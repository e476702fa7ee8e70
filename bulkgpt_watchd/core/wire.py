"""
Speak BulkGPT's two calls: requests as bytes, replies as facts or as exceptions.

Owns every name of the API; knows nothing of sockets. Its one rule: a submit is called certainly not accepted only
where the list in `read_submit_reply` says so; whatever is not on it is a doubt, never a guess.
Source: the vendor's example client, repository nowork-studio/bulkgpt-api-example. HTTP codes are not documented there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from bulkgpt_watchd.core.errors import Denied, OutcomeUnknown, Refused, ReplyNotUnderstood, TaskNotKnown, Unavailable
from bulkgpt_watchd.core.names import hidden, printable

# A real reply has some hundred bytes; json needs up to 30 times the size of a hostile one.
MAX_REPLY_BYTES = 1_000_000

UPLOAD_PATH = "/upload-trigger"
STATUS_PATH = "/status"
KEY_HEADER = "x-api-key"

# The sample has 40 characters; what is longer than a line of a log is no ID.
_TASK_ID_CHARS = 512

# Signed links of object stores have up to some 2,000 characters; servers refuse request lines beyond 8,000 or so.
_URL_CHARS = 8_000

# More rows than a download of the largest size can hold: not a count.
_ROWS = 2_000_000_000

# "Retry in ten years" is a mistake, and the next number must still be a date; core/policy.py has a smaller bound.
_RETRY_AFTER_S = 365 * 86_400

# RFC 9110 section 5.6.7, the only form that may be sent today.
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"

Phase = Literal["running", "completed", "error", "canceled", "unknown"]

# The longest documented word has ten characters.
_WORD_CHARS = 100

_PHASES: dict[str, Phase] = {
    "preparing": "running",
    "inProgress": "running",
    "finalizing": "running",
    "completed": "completed",
    "error": "error",
    "canceled": "canceled",
}

# Where the words of an error are about a column of the file, "plan" or "credit" is that column's name.
_ABOUT_A_COLUMN = re.compile(r"\b(?:columns?|cells?|fields?|csv headers?|header row)\b", re.IGNORECASE)
# What stands in quotes is a name that a person gave; the apostrophe of "you've" opens nothing.
_QUOTED = re.compile(r"\"[^\"]*\"|`[^`]*`|(?<!\w)'[^']*'(?!\w)")
_ABOUT_ACCOUNT = re.compile(
    r"""\b(?:
        api[ _-]?keys? | (?:invalid|expired|revoked|missing|unknown|wrong)\ key\b(?=[.!]?$)
        | key\ (?:is|was|has\ been|not)\ (?:invalid|expired|revoked|missing|found|disabled)
        | unauthori[sz]ed | not\ authori[sz]ed | unauthenticated | authentication | authorization | forbidden
        | (?:access|auth|bearer)\ token | permission\ denied
        | credits? | quotas? | plans? | billing | payments? | subscriptions? | insufficient\ (?:funds|balance)
        | (?:free\ )?trial\ (?:has|is|period|ended|expired)
        | account\b.{0,40}\b(?:suspended|disabled|deactivated|inactive|locked|blocked|expired)
        | (?:rate|usage|hourly|daily|weekly|monthly)\ limits? | too\ many\ requests
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """
    Hold what came back.

    Shape: header names in lower case; a body longer than MAX_REPLY_BYTES is cut there, and *truncated*. *secret*: the
        key that was sent; servers repeat it ("Invalid API key: …"), and then nobody is told it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False
    secret: str = ""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """
    Say how a task stands.

    Shape: word as BulkGPT sent it, made printable; a word that is not documented has phase "unknown": wait.
    Units: counts are CSV rows; None: not told.
    """

    word: str
    phase: Phase
    rows_done: int | None
    rows_ok: int | None
    rows_total: int | None
    download_url: str | None


def submit_envelope(workflow_id: str) -> tuple[bytes, bytes]:
    """
    Make the JSON before and after the base64 of the CSV.

    Shape: the second part ends string and object: without it, the body is no JSON and cannot be accepted.
    """
    workflow = json.dumps({"workflowId": workflow_id}, separators=(",", ":"))
    return workflow[:-1].encode() + b',"csvBase64":"', b'"}'


def body_bytes(workflow_id: str, csv_bytes: int) -> int:
    """Count the bytes of a submit's body, for its Content-Length."""
    before, after = submit_envelope(workflow_id)
    return len(before) + (csv_bytes + 2) // 3 * 4 + len(after)


def status_request(task_id: str) -> bytes:
    """Make the body of a status call."""
    return json.dumps({"taskId": task_id}).encode()


def read_submit_reply(reply: Reply, *, passed: bool, now: float) -> str:
    """
    Read the answer to a submit: the task ID, or why there is none.

    Shape: {"taskId": str} or {"error": str}. *passed*: the last block of the body was released.
    Units: *now* Unix seconds, against which a date in Retry-After is held.
    Errors: certainly not accepted are
        Denied: 401, 402, 403, a 3xx but 303, an error about key or account, a 4xx without BulkGPT's JSON.
        Unavailable: 429, 503 with Retry-After; before the point of no return also what would be a doubt after it.
        Refused: too_large: 413; rejected: JSON with an error under 200 or a 4xx.
        A doubt, OutcomeUnknown, are 408, 499, a task ID that cannot be one or holds the key, and everything else.
    """
    answer = _read_json(reply)
    task_id = answer.get("taskId")
    if _is_line(task_id, _TASK_ID_CHARS) and hidden(str(task_id), reply.secret) == task_id:
        return str(task_id)
    code, error = reply.status, _error_text(reply, answer)
    says = _describe(reply, error)
    if task_id in (None, "") and code not in {408, 499}:
        if code == 429 or (code == 503 and "retry-after" in reply.headers):
            raise Unavailable(says, retry_after_s=_retry_after_s(reply, now), http_status=code)
        if code == 413:
            raise Refused("too_large", says, http_status=code, api_message=error)
        if _is_denial(code, error):
            raise Denied(says, http_status=code, api_message=error)
        if error is not None and _may_refuse(code):
            raise Refused("rejected", says, http_status=code, api_message=error)
    if passed:
        raise OutcomeUnknown(says, http_status=code)
    raise Unavailable(says, http_status=code)


def read_status_reply(reply: Reply, *, now: float) -> TaskStatus:
    """
    Read the answer to a status call.

    Shape: {"status": {"status": str, "numOfTasksCompleted"?: int, "numOfTaskSuccess"?: int, "totalNumOfTasks"?: int,
        "downloadUrl"?: str}} or {"error": str}.
    Units: *now* as in `read_submit_reply`.
    Errors: Unavailable: 408, 429, 499, 5xx. Denied: as for a submit, and 303. TaskNotKnown: any other JSON with an
        error; its text is BulkGPT's. ReplyNotUnderstood: everything else.
    """
    answer, code = _read_json(reply), reply.status
    status = answer.get("status")
    if 200 <= code < 300 and isinstance(status, dict) and _is_line(status.get("status"), _WORD_CHARS):
        word = str(status["status"])
        url = status.get("downloadUrl")
        is_link = _is_line(url, _URL_CHARS) and hidden(str(url), reply.secret) == url
        return TaskStatus(
            word=hidden(word, reply.secret),
            phase=_PHASES.get(word, "unknown"),
            rows_done=_count(status.get("numOfTasksCompleted")),
            rows_ok=_count(status.get("numOfTaskSuccess")),
            rows_total=_count(status.get("totalNumOfTasks")),
            download_url=str(url) if is_link else None,
        )
    error = _error_text(reply, answer)
    says = _describe(reply, error)
    if code in {408, 429, 499} or code >= 500:
        raise Unavailable(says, retry_after_s=_retry_after_s(reply, now), http_status=code)
    if code == 303 or _is_denial(code, error):
        raise Denied(says, http_status=code, api_message=error)
    if error is not None and _may_refuse(code):
        raise TaskNotKnown(error)
    raise ReplyNotUnderstood(says)


def is_about_account(text: str) -> bool:
    """Tell whether an error is about key, credit, quota or plan, and so not about this file or task."""
    if KEY_HEADER in text.lower():
        return True
    plain = _QUOTED.sub("", text)
    return _ABOUT_ACCOUNT.search(plain) is not None and _ABOUT_A_COLUMN.search(plain) is None


def clean(text: str, limit: int = 500) -> str:
    """Make a text of the API harmless for a person's terminal and one line of at most *limit* characters."""
    shown = printable(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _read_json(reply: Reply) -> dict[str, Any]:
    """Read the object in the body; what cannot be read is empty."""
    if reply.truncated:
        return {}
    try:
        answer = json.loads(reply.body.decode("utf-8-sig"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two task IDs in one reply are none: which of them counts would be a guess.
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is given twice")
    return members


def _is_line(value: object, limit: int) -> bool:
    return isinstance(value, str) and len(value) <= limit and value.isprintable() and value.strip() != ""


def _error_text(reply: Reply, answer: Mapping[str, Any]) -> str | None:
    error = answer.get("error")
    return clean(hidden(error, reply.secret)) if isinstance(error, str) and error.strip() else None


def _may_refuse(code: int) -> bool:
    return code == 200 or 400 <= code < 500


def _is_denial(code: int, error: str | None) -> bool:
    if error is None:
        return 300 <= code < 500 and code != 303
    is_redirect = 300 <= code < 400 and code != 303
    return is_redirect or code in {401, 402, 403} or (_may_refuse(code) and is_about_account(error))


def _describe(reply: Reply, error: str | None) -> str:
    # Never the body itself: a proxy's error page may show the request, the key included.
    if error is not None:
        return f"HTTP {reply.status}: {error}"
    if 300 <= reply.status < 400 and "location" in reply.headers:
        target = hidden(reply.headers["location"].partition("?")[0], reply.secret)
        return f"HTTP {reply.status}, a redirect to {clean(target, 200)}: not followed, since the key would go along"
    kind = clean(hidden(reply.headers.get("content-type", "no content type"), reply.secret), 100)
    size = f"more than {len(reply.body)}" if reply.truncated else str(len(reply.body))
    return f"HTTP {reply.status} with {size} bytes ({kind}) that are no answer of BulkGPT"


def _retry_after_s(reply: Reply, now: float) -> float | None:
    text = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        wait_s = float(text)
    else:
        try:
            wait_s = datetime.strptime(text, _HTTP_DATE).replace(tzinfo=UTC).timestamp() - now
        except ValueError:
            return None
    return min(max(wait_s, 0.0), _RETRY_AFTER_S)


def _count(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _ROWS else None
