"""Say what is kept of what happened to a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """
    Hold one line of a job's history.

    Shape: *event* is the class's name as words (`gave_up`); *facts* are its fields without those that are None or ().
    """

    at: float
    event: str
    facts: Mapping[str, Any]
