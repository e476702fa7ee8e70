"""Let the daemon live among troubles for a while: `python -m tests.soak --seconds 900 --seed 7 --folder EMPTY`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from bulkgpt_watchd.core.errors import WatchdError
from bulkgpt_watchd.core.exit_codes import STATE_TROUBLE
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from tests.crash.endings import jobs_of, submitting
from tests.soak import droppers, measuring, troubles
from tests.soak.bed import Soak
from tests.soak.person import Person
from tests.soak.watching import Watch

CHECKS_EVERY_S = 3.0
SAMPLES_EVERY_S = 0.5
STOPS_WITHIN_S = 90.0
"""Answers to its submits come within 5 s, a full disk is free after 6; a busy machine may need many times that."""

DRAINS_WITHIN_S = 240.0
"""60 files at most, some large, and doubts that are answered one by one."""

SHORT_S = (3.0, 25.0)
LONG = (0.2, 0.8)
"""Lives are short but for one, of so much of the time, in which growth can be seen."""


class Director:
    """Start, kill and stop the daemon, and look at all of it meanwhile."""

    def __init__(self, bed: Soak, seconds: float) -> None:
        self.bed = bed
        self.watch = Watch(bed)
        self.samples: list[measuring.Sample] = []
        self.hits: dict[str, int] = {}
        self.lives = 0
        self._began = self._next_check = time.monotonic()
        self._seconds = seconds

    @property
    def share(self) -> float:
        """Say how much of the time has gone."""
        return (time.monotonic() - self._began) / self._seconds

    def direct(self) -> None:
        self._began = time.monotonic()  # all around the daemon stands
        while self.share < 1.0:
            chance = self.bed.chance
            is_long = LONG[0] <= self.share < LONG[1]
            left_s = ((LONG[1] if is_long else 1.0) - self.share) * self._seconds
            lives_s = left_s if is_long else min(chance.uniform(*SHORT_S), max(1.0, left_s))
            self.live(lives_s, is_long=is_long, dies_early=not is_long and chance.random() < 0.2)

    def live(self, lives_s: float, *, is_long: bool, dies_early: bool) -> None:
        """Live one life, end it, and see that nothing is lost by that."""
        bed = self.bed
        bed.state_was_full = (bed.root / "state" / ".filler").exists()
        self.lives += 1
        carried = self._submitting()
        with ExitStack() as stack:
            process = stack.enter_context(bed.daemon())
            seen_bytes = bed.log_file.stat().st_size
            if dies_early:
                time.sleep(bed.chance.uniform(0.0, 0.8))
            else:
                try:
                    bed.wait_for_ready(process, seen_bytes)
                except AssertionError:
                    if process.poll() != STATE_TROUBLE or not bed.state_was_full:
                        raise
                    bed.counts["starts refused for a full disk"] += 1
                    time.sleep(0.5)
                    return
                self._watch_over(process.pid, lives_s, is_sampled=is_long)
            if process.poll() is not None:
                assert process.poll() == STATE_TROUBLE, f"it ended by itself with {process.poll()}"
                assert bed.state_was_full, "it ended with 74 without cause"
            elif dies_early or self.lives == 1 or bed.chance.random() < 0.65:
                with bed.still:
                    process.kill()
                    process.wait()
                bed.counts["SIGKILLs"] += 1
            else:
                process.terminate()
                assert process.wait(STOPS_WITHIN_S) == 0
                bed.counts["stops by SIGTERM"] += 1
                assert self._submitting() - carried == set(), "a stop has left a question"
        self.watch.check(is_still=True)

    def _submitting(self) -> set[str]:
        try:
            return submitting(self.bed)
        except WatchdError:  # a full disk has no room for an index of the write-ahead log
            return set()

    def _watch_over(self, pid: int, lives_s: float, *, is_sampled: bool) -> None:
        ready_at = time.monotonic()
        while (age_s := time.monotonic() - ready_at) < lives_s:
            self.bed.check_threads()
            if time.monotonic() >= self._next_check:
                self.watch.check(is_still=False)
                self._next_check = time.monotonic() + CHECKS_EVERY_S
            if is_sampled and age_s >= measuring.WARM_AFTER_S:
                try:
                    self.samples.append(measuring.sample(pid))
                except (FileNotFoundError, KeyError):
                    return  # it has ended by itself
            time.sleep(SAMPLES_EVERY_S)

    def drain(self) -> None:
        """End every trouble, and let all end."""
        bed = self.bed
        bed.is_draining.set()
        self.hits = troubles.hits(bed)
        troubles.plan_no_more(bed)
        self.lives += 1
        seen_bytes = bed.log_file.stat().st_size
        with bed.daemon() as process:
            bed.wait_for_ready(process, seen_bytes)
            ends_at = time.monotonic() + DRAINS_WITHIN_S
            while not self.has_ended():
                assert process.poll() is None, f"it ended with {process.poll()}"
                assert time.monotonic() < ends_at, f"not ended: {self.open()}"
                self._watch_over(process.pid, 1.0, is_sampled=False)
            bed.end()
            bed.check_threads()
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOPS_WITHIN_S) == 0
        self.watch.check(is_still=True)
        assert bed.growing == set()

    def open(self) -> list[str]:
        """Give what has not ended."""
        try:
            jobs = jobs_of(self.bed)
        except WatchdError:
            return ["the state"]
        waiting = [str(path) for route in self.bed.routes for path in self.bed.files(route, "inbox")]
        return waiting + [f"{job.id} {job.file!a} {job.state} {job.code}" for job in jobs if not is_settled(job)]

    def has_ended(self) -> bool:
        return not self.bed.growing and not self.open()

    def check_end(self) -> None:
        """Every file has an end, every delivered one its result."""
        jobs = jobs_of(self.bed)
        for job in jobs:
            if job.state is State.DONE:
                assert job.result_path is not None
                assert os.path.exists(job.result_path), job
        done = {job.sha256 for job in jobs if job.state is State.DONE}
        failed = {job.sha256 for job in jobs if job.state is State.FAILED}
        assert set(self.bed.expected) - done - failed == set()
        codes = Counter(str(job.code) for job in jobs if job.sha256 in self.bed.number_of and job.sha256 not in done)
        wrong = {code for code in codes if code.startswith(("csv_", "internal", "source_lost", "too_"))}
        assert not wrong, codes
        assert not (done & self.bed.broken)
        assert not (left_over := self.bed.left_over()), left_over
        growth = measuring.growth(self.samples)
        assert not growth, growth

    def table(self) -> dict[str, int | str]:
        """Give what the run came to."""
        return {
            "seconds": round(time.monotonic() - self._began),
            "lives": self.lives,
            **dict(sorted(self.bed.counts.items())),
            **dict(sorted(self.watch.told.items())),
            **{f"fault: {name}": number for name, number in sorted(self.hits.items())},
            **{name: str(parts) for name, parts in measuring.course(self.samples).items()},
        }


def is_settled(job: Job) -> bool:
    return job.state in TERMINAL and (job.is_closed or job.superseded_by is not None or not job.is_doubt)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--disks", action="store_true", help="mount disks, in a mount namespace of our own")
    given = parser.parse_args()
    bed = Soak(given.folder, given.seed)
    if given.disks:
        troubles.mount_disks(bed)
    director = Director(bed, given.seconds)
    try:
        with bed.sandbox():
            droppers.start(bed)
            troubles.start(bed, with_disks=given.disks)
            Person(bed, director.watch).start()
            try:
                director.direct()
                director.drain()
            finally:
                bed.end()
        director.check_end()
    finally:
        table = director.table()
        (given.folder / "table.json").write_text(json.dumps(table))
        sys.stdout.write("".join(f"{value!s:>16}  {name}\n" for name, value in table.items()))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
