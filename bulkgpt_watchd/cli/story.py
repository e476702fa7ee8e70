"""Tell the way of one file while it goes: a line for each event, and a bar while BulkGPT works on its rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from bulkgpt_watchd.cli.words import bar, count

TITLE_WIDTH = len("submitted")

CLEAR_LINE = "\r\x1b[K"


class Story:
    """
    Print what the log of the daemon says of the file, in plain words.

    Shape: paths are shown below *folder*.
    """

    def __init__(self, folder: str, *, is_terminal: bool) -> None:
        self._folder = folder
        self._is_terminal = is_terminal
        self._has_bar = False
        self._done = -1
        self._started = time.monotonic()
        self._words: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
            "job.discovered": ("found", lambda _: "it has not changed for a second: it is whole"),
            "job.claimed": ("claimed", lambda _: "moved out of the inbox: nobody else can take it"),
            "job.checked": ("checked", lambda facts: f"{count(facts['rows'], 'row')}, UTF-8, every row as wide"),
            "task.submitted": ("submitted", lambda facts: f"task {facts['task_id']}"),
            "task.completed": ("complete", lambda facts: f"{facts['rows_ok']} of {facts['rows_total']} rows are good"),
            "job.delivered": ("delivered", lambda facts: self.below(facts["result"])),
            "job.done": ("archived", lambda facts: f"{self.below(facts['archive'])} with its receipt"),
            "job.failed": ("failed", lambda facts: f"{facts['code']}: {facts['message']}"),
        }

    def hear(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell one event, if it is one that a person wants to see."""
        if event in self._words:
            title, words = self._words[event]
            self.tell(title, words(facts))
        elif event == "task.progressed" and facts["rows_done"] not in {None, self._done}:
            self._done = facts["rows_done"]
            self._progress(self._done, facts["rows_total"] or 0)

    def tell(self, title: str, words: str) -> None:
        """Print a line with the seconds since the start."""
        click.echo(f"{CLEAR_LINE if self._has_bar else ''}{self._head(title)}{words}")
        self._has_bar = False

    def below(self, path: str) -> str:
        """Show a path as the demo's folder has it."""
        return os.path.relpath(path, self._folder)

    def _progress(self, done: int, total: int) -> None:
        if self._is_terminal:
            click.echo(f"{CLEAR_LINE}{self._head('working')}{bar(done, total)} rows", nl=False)
            self._has_bar = True
        else:
            self.tell("working", f"{done} of {total} rows")

    def _head(self, title: str) -> str:
        return f"{time.monotonic() - self._started:5.1f} s  {title:{TITLE_WIDTH}}  "
