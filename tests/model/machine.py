"""
Let chance live with the whole daemon: a state machine of all that people, disks, BulkGPT and deaths may do to it.

Each rule is one thing that may happen; what must be so is held against the world after each. No rule looks at what the
daemon has become to decide whether it applies, so the same choices are the same story again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bulkgpt_watchd.config import BudgetSettings, Route
from bulkgpt_watchd.core.errors import LinkBroken, Unavailable
from bulkgpt_watchd.core.wire import Phase
from tests.daemon import Daemon
from tests.fakes import SubmitFault
from tests.model import people
from tests.model.chances import BODIES, BROKEN, ENDS, FAULTS, FREE_FAULTS, INDEX, KINDS, NAMES, ROUTE
from tests.model.promises import check_end, check_instant
from tests.model.world import KEYS, Fate, World, place_of

MEMORY = Path("/dev/shm")

STORY_S = 40 * 86_400.0
"""How long the end may take: longer than all that a daemon waits for by itself."""


class Model(RuleBasedStateMachine):
    """Be one story; *tally* counts what happened in all of them."""

    def __init__(self, tally: Counter[str]) -> None:
        super().__init__()
        self.tally = tally
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.world = World(self.folder)
        self.number = 0
        self.handle: Any = None  # of the file that is being written
        self.grown: tuple[str, bytes] | None = None

    def do(self, act: Callable[[Daemon], Awaitable[None]]) -> None:
        self.runner.run(self.world.do(act))

    def _fresh(self, rows: int) -> bytes:
        self.number += 1
        return b"Input_1\n" + b"".join(b"%d of file %d\n" % (row, self.number) for row in range(rows))

    # --- people and files ---------------------------------------------------------------------------------------------

    @rule(key=ROUTE, dropped=st.lists(st.tuples(NAMES, KINDS), min_size=1, max_size=3), turns=st.integers(0, 3))
    def drop(self, key: str, dropped: list[tuple[str, str]], turns: int) -> None:
        self._drop(key, dropped, turns)

    def _drop(self, key: str, dropped: list[tuple[str, str]], turns: int) -> None:
        for name, kind in dropped:
            known = [content for at, content in self.world.shown if at == key]
            chosen = {"empty": b"", "broken": BROKEN, "again": known[-1] if known else b""}
            people.drop(self.world, key, name, chosen[kind] if kind in chosen else self._fresh(len(kind)))
            self.tally["files dropped"] += 1
        self._look(key, turns)

    @rule(more=st.integers(1, 2), ends=st.booleans())
    def write_slowly(self, more: int, ends: bool) -> None:
        """Begin a file, or write more of it through the handle that is held, wherever it is by now."""
        world = self.world
        if self.handle is None:
            self.number += 1
            path = world.known["slow"].inbox / f"slow-{self.number}.csv"
            self.handle, self.grown = path.open("ab", buffering=0), ("slow", b"")
            world.holds[self.grown] += 1
            world.shown[self.grown] += 1
            self.tally["files dropped"] += 1
        assert self.grown is not None
        old = self.grown
        new = ("slow", (old[1] or b"Input_1\n%d" % self.number) + b"%d\n%d" % (more, more) + b"\n" * ends)
        self.handle.write(new[1][len(old[1]) :])
        world.holds[old] -= 1
        world.holds[new] += 1
        world.shown[new] += 1
        self.grown = new
        if ends:
            self.handle.close()
            self.handle = None

    @rule(index=INDEX, is_failed=st.booleans())
    def move(self, index: int, is_failed: bool) -> None:
        """Take a file out of an inbox, or put one from error back into it."""
        if is_failed:
            people.move_back(self.world, index)
        elif self.handle is None:
            people.take_back(self.world, index)

    @rule(index=INDEX, act=st.sampled_from(["retry", "pay again", "redeliver", "resolve", "resolve", "abandon"]))
    def decide(self, index: int, act: str) -> None:
        world = self.world
        acts: dict[str, Callable[[Daemon], Awaitable[None]]] = {
            "retry": lambda daemon: people.retry(world, daemon, index, pay_again=False),
            "pay again": lambda daemon: people.retry(world, daemon, index, pay_again=True),
            "redeliver": lambda daemon: people.redeliver(world, daemon, index),
            "resolve": lambda daemon: people.resolve(world, daemon, index),
            "abandon": lambda daemon: people.abandon(world, daemon, index),
        }
        self.do(acts[act])
        self.tally["decisions of people"] += 1

    @rule(name=st.sampled_from([None, *KEYS]), resumes=st.booleans())
    def pause(self, name: str | None, resumes: bool) -> None:
        def act(daemon: Daemon) -> Awaitable[object]:
            return (daemon.acts.resume if resumes else daemon.acts.pause)("a person", name)

        self._say(act)

    def _say(self, act: Callable[[Daemon], Awaitable[object]]) -> None:
        async def said(daemon: Daemon) -> None:
            await people.say(partial(act, daemon))

        self.do(said)

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 20.0, 20.0, 120.0, 900.0]))
    def wait(self, seconds: float) -> None:
        self.do(lambda daemon: daemon.run_for(seconds))

    def _look(self, key: str, turns: int) -> None:
        async def act(daemon: Daemon) -> None:
            for inbox in daemon.scheduler.inboxes.values():
                if place_of(inbox.route) == key:
                    daemon.scheduler.ring(inbox.key)
            for _ in range(turns):
                await daemon.turn(10.0)

        self.do(act)

    # --- BulkGPT ------------------------------------------------------------------------------------------------------

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 2), seconds=st.sampled_from([0.0, 20.0, 200.0]))
    def submit_fails(self, fault: dict[str, Any], times: int, seconds: float) -> None:
        """Have the next submits answered so, of a file that is dropped just now, or of another."""
        self.world.api.plan(SubmitFault(**fault, times=times))
        self.tally["faults of BulkGPT planned"] += times
        self._drop("quick", [("f.csv", "12")], 2)
        self.do(lambda daemon: daemon.run_for(seconds))

    @rule(index=INDEX)
    def task_id_comes_twice(self, index: int) -> None:
        ids = [task_id for task_id in self.world.api.tasks if not task_id.startswith("behind-")]
        if (task_id := people.pick(ids, index)) is not None:
            self.world.api.plan(SubmitFault(task_id=task_id))
            self.tally["faults of BulkGPT planned"] += 1

    @rule(end=st.sampled_from(ENDS), rows_failed=st.integers(0, 1), runs_s=st.sampled_from([0.0, 5.0, 400.0]))
    def task_goes(self, end: Phase, rows_failed: int, runs_s: float) -> None:
        self.world.fates.append(Fate(end, rows_failed, runs_s))

    @rule(fault=st.sampled_from((*FREE_FAULTS, *BODIES)), times=st.integers(1, 3))
    def free_call_fails(self, fault: bytes | Exception, times: int) -> None:
        if isinstance(fault, bytes | LinkBroken):
            self.world.api.bodies.extend([fault] * times)
        else:
            self.world.api.statuses.extend([fault] * times)
        self.tally["faults of BulkGPT planned"] += times

    @rule(trouble=st.sampled_from(["outage", "wrong key", None, None]))
    def all_calls_fail(self, trouble: str | None) -> None:
        api = self.world.api
        api.outage = Unavailable("connection refused") if trouble == "outage" else None
        if trouble == "wrong key":
            api.wrong_keys.add(api.key_on_disk)
        elif api.key_on_disk in api.wrong_keys:
            self.number += 1
            api.key_on_disk = f"key-{self.number}"
        self.tally["faults of BulkGPT planned"] += trouble is not None

    # --- deaths and disks ---------------------------------------------------------------------------------------------

    @rule(boundaries=st.integers(1, 90), seconds=st.sampled_from([0.0, 60.0, 60.0, 60.0]))
    def kill(self, boundaries: int, seconds: float) -> None:
        """Plan a kill so many boundaries from now, and go on for a while; it may also come later."""
        self.runner.run(self.world.arm(boundaries))
        self.do(lambda daemon: daemon.run_for(seconds))

    @rule()
    def stop(self) -> None:
        self.runner.run(self.world.stop())
        self.tally["graceful stops"] += 1

    @rule(writes=st.integers(1, 6), is_late=st.booleans())
    def state_is_sick(self, writes: int, is_late: bool) -> None:
        self.world.sickness.writes, self.world.sickness.is_late = writes, is_late
        self.tally["disk troubles"] += 1

    @rule(
        role=st.sampled_from(["inbox", "outbox", "error", "archive"]),
        code=st.sampled_from([errno.ENOSPC, errno.EROFS, None, None]),
    )
    def folders_are_sick(self, role: str, code: int | None) -> None:
        if code is None:
            self.world.sick_folders.clear()
        else:
            self.world.sick_folders[role] = code
            self.tally["disk troubles"] += 1

    @rule(what=st.sampled_from(["keep", "older", "lost"]))
    def state_is_another(self, what: str) -> None:
        """Keep a copy of the state, put it back, or lose the state."""
        self.runner.run(self.world.stop())
        if what == "keep":
            self.world.keep_state()
        else:
            self.world.put_back_state(is_lost=what == "lost")
            self.tally["older or lost states"] += 1

    @rule(key=ROUTE)
    def adopt(self, key: str) -> None:
        self._say(lambda daemon: daemon.acts.adopt("a person", self._name_of(key)))

    # --- the configuration --------------------------------------------------------------------------------------------

    @rule(
        key=ROUTE,
        change=st.sampled_from(
            [{"budget": {}}, {"budget": {"files_per_day": 1}}, {"name": "%s"}, {"name": "%s-renamed"}, {}]
        ),
    )
    def configure(self, key: str, change: dict[str, Any]) -> None:
        """Reload with another budget or name of a route, or without it."""
        if "budget" in change:
            self._configure(key, budget=BudgetSettings(**change["budget"]))
        elif "name" in change:
            self._configure(key, name=change["name"] % key)
        elif len(self.world.routes) > 1:
            self.world.routes.pop(self._name_of(key), None)
            self._reload()

    def _name_of(self, key: str) -> str:
        return self.world.known[key].name

    def _configure(self, key: str, **changes: Any) -> None:
        """Have a route with these settings, also where it was removed."""
        old = self.world.known[key]
        self.world.routes.pop(old.name, None)
        new = Route(**{name: getattr(old, name) for name in old.model_fields_set} | changes)
        self.world.known[key] = self.world.routes[new.name] = new
        self._reload()

    def _reload(self) -> None:
        self._say(lambda daemon: daemon.discovery.take(self.world.routes.values()))

    # --- what must be so ----------------------------------------------------------------------------------------------

    @invariant()
    def promises_hold(self) -> None:
        check_instant(self.world)
        self.tally["instants held against the promises"] += 1

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._end()
                self.tally["kills"] += self.world.kills
                self.tally["stories"] += 1
        finally:
            if self.handle is not None:
                self.handle.close()
            self.runner.run(self.world.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def _end(self) -> None:
        """End all that is wrong, answer every question, and let everything come to its end."""
        world, api = self.world, self.world.api
        if self.handle is not None:
            self.write_slowly(1, ends=True)
        api.outage, api.faults = None, []
        for planned in (api.statuses, api.bodies, api.wrong_keys, world.sick_folders):
            planned.clear()
        world.sickness.writes = 0
        self.runner.run(world.arm(10**9))
        for key in KEYS:
            self._configure(key, budget=BudgetSettings(), name=key)

        async def act(daemon: Daemon) -> None:
            await daemon.run_for(1.0)
            for inbox in list(daemon.scheduler.inboxes.values()):
                if inbox.reason is not None:
                    await daemon.acts.adopt("a person", inbox.name)
                    await daemon.run_for(1.0)
            for key in (None, *KEYS):
                await daemon.acts.resume("a person", key)
            await daemon.run_to_idle(within_s=STORY_S)
            await daemon.run_to_idle(within_s=STORY_S)  # a file that replaced a waiting one is seen by another look
            for _ in range(100):
                if not await people.questions(daemon):
                    break
                await people.resolve(world, daemon, 0)
                await daemon.acts.resume("a person")
                await daemon.run_to_idle(within_s=STORY_S)
            await check_end(world)

        self.do(act)
        assert world.daemon is not None
        check_instant(world)
