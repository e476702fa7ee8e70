"""How a sandbox behaves when no fault is planned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bulkgpt_watchd.sandbox.fault import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """
    Set a sandbox up; the defaults are for people, who want to see a task at work.

    Units: *max_upload_bytes* of decoded CSV, above which a submit is answered with 413. *rows_per_s* wins over
    *running_s*.
    """

    host: str = "127.0.0.1"
    port: int = 0
    download_port: int = 0
    key: str = "sandbox-key"
    preparing_s: float = 0.5
    running_s: float = 4.0
    finalizing_s: float = 0.5
    rows_per_s: float | None = None
    link_ttl_s: float = 3600.0
    max_upload_bytes: int | None = None
    workflows: tuple[str, ...] | None = None
    """The workflow IDs that exist; None: all that anybody asks for."""
    refusal_http_status: int = 400
    """Of every {"error"} but those of a wrong key (401) and of a CSV that is too large (413)."""
    ledger_file: str | None = None
    faults: tuple[Fault, ...] = ()

    @classmethod
    def instant(cls, **changes: Any) -> SandboxOptions:
        """Set one up for tests: a task is complete as soon as it is accepted."""
        return cls(**{"preparing_s": 0.0, "running_s": 0.0, "finalizing_s": 0.0, **changes})

    def with_task_seconds(self, total_s: float) -> SandboxOptions:
        """Let every task take so long, most of it at work."""
        return replace(
            self, preparing_s=total_s * 0.1, running_s=total_s * 0.8, finalizing_s=total_s * 0.1, rows_per_s=None
        )
