"""
Say in work what must not be forgotten of a file that stands in error: that it was, or may have been, paid for.

The state knows it; a copy that was made before, or another state, does not. While a file is in work its sent name says
it; in the error folder people move files as they like, so a small file of ours in work says it there, until the job is
decided.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bulkgpt_watchd.core.job import Job
from bulkgpt_watchd.core.names import SIDECAR_SUFFIXES

_SUFFIX = SIDECAR_SUFFIXES[0]
_NAME = re.compile(rf"([0-9a-z]{{8}}){re.escape(_SUFFIX)}")


@dataclass(frozen=True, slots=True)
class Trace:
    """
    Hold what is said of one job.

    Shape: *revision* is that of the job when this was written: a row with a smaller one is of an older copy of the
        state. *error_path*: where the file was moved to.
    """

    job_id: str
    revision: int
    file: str
    size_bytes: int
    sha256: str | None
    code: str
    task_ids: tuple[str, ...]
    error_path: str

    @property
    def message(self) -> str:
        """Say to a person what is known."""
        tasks = f"; it had the task IDs {', '.join(self.task_ids)}" if self.task_ids else ""
        return (
            f"The file failed with {self.code} before{tasks}, and the state does not know of it (the state is an older "
            "copy, was lost, or belonged to another daemon): it was, or may have been, accepted."
        )


def trace_name(job_id: str) -> str:
    """Name the trace of a job in work: `<job>.error.json`."""
    return job_id + _SUFFIX


def job_of_trace(name: str) -> str | None:
    """Give the job that a name in work is a trace of; None: it is no trace."""
    match = _NAME.fullmatch(name)
    return match and match[1]


def trace_content(job: Job) -> bytes:
    """Give what is written of a job whose file is being moved to the error folder."""
    content = {
        "job": job.id,
        "revision": job.revision,
        "file": job.file,
        "bytes": job.size_bytes,
        "sha256": job.sha256,
        "code": job.code,
        "task_ids": job.task_ids,
        "error_path": job.error_path,
    }
    return json.dumps(content).encode() + b"\n"


def read_trace(job_id: str, content: bytes) -> Trace | None:
    """Read what was written; None: we did not write that."""
    try:
        said: Mapping[str, Any] = json.loads(content)
        return Trace(
            job_id,
            int(said["revision"]),
            str(said["file"]),
            int(said["bytes"]),
            said["sha256"],
            str(said["code"]),
            tuple(said["task_ids"]),
            str(said["error_path"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
