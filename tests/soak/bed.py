"""A bed for a soak: four routes, what was dropped on them, and threads that make trouble until they are told to end."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

from bulkgpt_watchd.sandbox import answer
from tests.crash.processes import Bed

CONFIG = """
api:
  base_url: {base_url}
  api_key_file: key
  submit_spacing: 0
  timeout: 3s
  answer_timeout: 5s
  retry: {{min: 100ms, max: 1s}}
state: {{path: state/state.db}}
web: {{listen: "off"}}
log: {{format: json}}
defaults: {{scan_every: 1s, settle: 0, hold_backlog: null, min_free: 1MB, poll: {{min: 50ms, max: 500ms}}}}
routes:
  - {{name: leads, workflow_id: w1, folder: leads}}
  - {{name: orders, workflow_id: w2, folder: orders, settle: 3s}}
  - {{name: stock, workflow_id: w3, folder: stock, ready: {{done_file: "{{name}}.done"}}}}
  - {{name: prices, workflow_id: w4, folder: prices}}
"""
"""By rename, by quiet time, by marker, and one more whose outbox is a disk of its own."""

SCENARIO = """
faults:
  - {call: submit, at: start, delay_s: 0.05, times: always}
"""
"""A network of some distance; only one fault acts in each stage of a call, so the middle and the end are left free."""

WAITING_MOST = 15
"""Files in one inbox above which nothing more is dropped there, so that all can end soon."""

AWAY = ".away"
"""Ends the name of a route's folder while it is away."""


@cache
def content_of(number: int, rows: int) -> bytes:
    """Give the content with this number; no two are the same."""
    return b"Input_1\n" + b"".join(b"file %d row %d\n" % (number, row) for row in range(rows))


class Soak(Bed):
    """
    Hold what was dropped, and what went wrong in any thread.

    Shape: *still* is held by whoever moves something or looks at everything. *expected* counts the copies of each
        content, *rows* are those of each number that is a whole file.
    """

    routes = ("leads", "orders", "stock", "prices")
    config_text = CONFIG

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed, SCENARIO)
        self.seed = seed
        self.still = threading.RLock()
        self.expected: Counter[str] = Counter()
        self.rows: dict[int, int] = {}
        self.number_of: dict[str, int] = {}
        self.route_of: dict[int, str] = {}
        self.broken: set[str] = set()
        self.growing: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.ends = threading.Event()
        self.is_draining = threading.Event()
        self.failures: list[BaseException] = []
        self.state_was_full = False
        self._threads: list[threading.Thread] = []
        self._numbers = 0

    def place(self, route: str, role: str) -> Path:
        return self.root / route / role

    def new_number(self) -> int:
        with self.still:
            self._numbers += 1
            return self._numbers

    def expect(self, number: int, rows: int, route: str) -> None:
        """Note a whole file that is about to stand in an inbox."""
        sha256 = hashlib.sha256(content_of(number, rows)).hexdigest()
        self.rows[number], self.number_of[sha256], self.route_of[number] = rows, number, route
        self.expected[sha256] += 1
        content_of.cache_clear()  # thousands of files

    def has_room(self, route: str) -> bool:
        inbox = self.place(route, "inbox")
        return inbox.exists() and len(os.listdir(inbox)) <= WAITING_MOST

    def act_at_times(self, name: str, least_s: float, most_s: float, act: Callable[[random.Random], None]) -> None:
        """Do something again and again, each time after a pause of chance; an error in it ends the soak."""
        chance = random.Random(f"{self.seed} {name}")

        def turn() -> None:
            try:
                while not self.ends.wait(chance.uniform(least_s, most_s)):
                    act(chance)
            except BaseException as error:  # noqa: BLE001  # told by the thread that waits for all
                error.add_note(f"in {name}")
                self.failures.append(error)

        thread = threading.Thread(target=turn, name=name)
        thread.start()
        self._threads.append(thread)

    def end(self) -> None:
        self.ends.set()
        for thread in self._threads:
            thread.join()

    def check_threads(self) -> None:
        """Tell the first error of any thread."""
        if self.failures:
            raise self.failures[0]

    def answers_of(self, number: int) -> set[str]:
        """Give the hashes of the results that this content may have: whole, or with one row that failed."""
        content = content_of(number, self.rows[number])
        content_of.cache_clear()
        return {hashlib.sha256(answer(content, rows_failed=failed)).hexdigest() for failed in (0, 1)}
