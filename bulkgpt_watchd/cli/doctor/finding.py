"""Hold one thing that the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bulkgpt_watchd.core.names import printable

FIX = "; fix, as its owner or root: "
"""Divides what folders say of a missing right from the command that gives it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Say how one thing is, and what to do about it.

    Shape: warn: it works, but not as well as it could, or could not be looked at. fail: something will not work.
    """

    level: Literal["ok", "warn", "fail"]
    what: str
    text: str
    fix: str | None = None


def ok(what: str, text: str) -> Finding:
    """Say that something is as it should be."""
    return Finding("ok", what, printable(text))


def warn(what: str, text: str, fix: str | None = None) -> Finding:
    """Say what could be better."""
    return _told("warn", what, text, fix)


def fail(what: str, text: str, fix: str | None = None) -> Finding:
    """Say what will not work."""
    return _told("fail", what, text, fix)


def _told(level: Literal["warn", "fail"], what: str, text: str, fix: str | None) -> Finding:
    text, _, command = text.partition(FIX)
    return Finding(level, what, printable(text), printable(fix or command) or None)
