"""
Run the daemon on a disk that loses power, beside a BulkGPT and a log that do not.

What was told before a cut, in the log or by a submit that BulkGPT accepted, has to be so after it: the log and the
ledger of the sandbox are compared with what the disk still has, before the daemon looks at it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkgpt_watchd.adapters.folders.places import PROBE
from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.job import TERMINAL, Job, State
from bulkgpt_watchd.core.ports import Query
from bulkgpt_watchd.core.traces import job_of_trace
from bulkgpt_watchd.sandbox import answer
from bulkgpt_watchd.scheduler.inbox import MARKER
from tests.crash.processes import ROUTES, Bed, wait_until
from tests.power.disk import Disk, do
from tests.power.dropper import DurableDropper

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""A daemon or a sandbox that outlived the tests would keep their disk mounted."""

SCENARIO = """
faults:
  - {call: submit, at: middle, delay_s: 0.02, times: always}
  - {call: submit, at: end, delay_s: %g, times: always}
"""

ACCEPTS_WITHIN_S = 2.0
"""A daemon that has files to send does so in a fraction of it."""

TOLD = {
    "job.claimed": State.CLAIMED,
    "job.checked": State.READY,
    "task.completed": State.FINISHED,
    "job.fetched": State.FETCHED,
    "job.delivered": State.DELIVERED,
    "job.done": State.DONE,
    "job.failed": State.FAILING,
    "job.quarantined": State.FAILED,
}
"""What these events say was committed before they were told. Not among them: `task.submitted`, which is told before."""

ROLLS_BACK = 0.4
"""How likely it is, after each cut, that a saved state is put back: it is two or three cuts old then."""

STANDS_AT = {"job.delivered": "result_path", "job.done": "archive_path", "job.quarantined": "error_path"}
"""Where the state says that there is a file, once this event was told."""

ORDER = [
    *(State.DISCOVERED, State.CLAIMED, State.READY, State.SUBMITTING, State.SUBMITTED, State.FINISHED),
    *(State.FETCHED, State.DELIVERED, State.DONE, State.FAILING, State.FAILED),
]
"""The way of a job, which is never gone backwards here but from SUBMITTING to READY."""


class Broken(AssertionError):
    """Say which promise does not hold."""


class PowerBed(Bed):
    """
    Hold a bed whose state, or folders, or both, lie on a disk that loses power.

    Shape: *on_disk* names them. *answer_s* is how long BulkGPT takes for the answer to a submit.
    """

    before = DIES_WITH_US

    def __init__(
        self,
        root: Path,
        seed: int,
        disk: Disk,
        *,
        on_disk: Collection[str] = ("state", "folders"),
        answer_s: float = 0.1,
    ) -> None:
        state, folders = (disk.point if part in on_disk else None for part in ("state", "folders"))
        super().__init__(root, seed, state=state, folders=folders)
        self.disk = disk
        self.rollbacks = 0
        self.saved = root / "saved"
        self.saved.mkdir()
        self.durable = self.dropper = DurableDropper(self.folders, self.dropper.chance)
        (root / "scenario.yaml").write_text(SCENARIO % answer_s)
        do("sync", "--file-system", str(disk.point))  # the inboxes are there before anything begins

    def break_daemon(self, *what: str) -> None:
        """Run, from now on, a daemon with mistakes in it (tests/power/broken.py)."""
        self.command = (sys.executable, "-m", "tests.power.broken", ",".join(what))

    # --- cuts ---------------------------------------------------------------------------------------------------------

    def cut_one(self) -> None:
        """
        Start a daemon and take the power away: amid its start, amid its work, or when BulkGPT has just accepted a file.

        Nobody drops anything while an acceptance is waited for: a sender's fsync brings to disk what others did, too.
        """
        when = self.chance.choices(("start", "work", "acceptance"), (2, 4, 4))[0]
        with self.begun(is_ready=when != "start") as process, self.durable.power:
            if when == "acceptance":
                self.wait_accepted()
            self.durable.cuts += 1
            self.disk.cut(process)

    def wait_accepted(self) -> None:
        """Wait for the next acceptance, if one comes; its answer is on the way then."""
        seen_bytes, ends_at = self.ledger_bytes, time.monotonic() + ACCEPTS_WITHIN_S
        while self.ledger_bytes == seen_bytes and time.monotonic() < ends_at:
            time.sleep(0.001)

    @property
    def ledger_bytes(self) -> int:
        return self.ledger_file.stat().st_size

    def jobs(self) -> list[Job]:
        """Read the state from a copy: the daemon has to be the first that opens what a cut has left."""
        copy = self.root / "copy"
        copy.mkdir()
        try:
            self.save_state(copy)
            if not (copy / self.state.name).exists():
                return []
            with StateReader.open(copy / self.state.name) as state:
                return state.query(Query())
        finally:
            shutil.rmtree(copy)

    def save_state(self, folder: Path) -> None:
        """Copy the state and its log; nobody has it open."""
        for name in (self.state.name, f"{self.state.name}-wal"):
            if (self.state.parent / name).exists():
                shutil.copy(self.state.parent / name, folder / name)

    def roll_back_sometimes(self) -> None:
        """Save the state now and then, and now and then put the saved one in its place."""
        if not any(self.saved.iterdir()):
            self.save_state(self.saved)
        elif self.chance.random() < ROLLS_BACK:
            self.put_back()
            self.rollbacks += 1

    def put_back(self) -> None:
        """Put the saved state in place of the one that is there, as somebody does who restores a backup."""
        for path in self.state.parent.glob(f"{self.state.name}*"):
            if not path.name.endswith(".lock"):
                path.unlink()
        for path in self.saved.iterdir():
            shutil.copy(path, self.state.parent)
            path.unlink()
        do("sync", "--file-system", str(self.state.parent))

    # --- what must be so ----------------------------------------------------------------------------------------------

    def check_instant(self) -> None:
        """Check what a cut has left: nothing paid twice, lost or half, and all so as it was told."""
        self.check_files()
        self.check_told()

    def check_files(self, *, is_rolled_back: bool = False) -> None:
        """
        See each input whole in one place, each result and each sidecar whole, and no input paid twice.

        Shape: *is_rolled_back*: a state that forgot a delivery may deliver again, under a name with its job's ID.
        """
        kept, begun, paid = set(self.durable.dropped), dict(self.durable.begun), self.accepted()
        kept |= {f"{line['route']}/{line['file']}" for line in self.lines("job.claimed")}
        if twice := {sha256: times for sha256, times in paid.items() if times > 1}:
            raise Broken(f"paid twice: {twice}")
        answers = {answer(content) for content in begun.values()}
        for route in ROUTES:
            for path in self.files(route, "outbox"):
                expected = begun.get(f"{route}/{path.name}")
                is_whole = path.read_bytes() == (b"" if expected is None else answer(expected))
                if not is_whole and not (is_rolled_back and expected is None and path.read_bytes() in answers):
                    raise Broken(f"{path} has {path.stat().st_size} bytes, and is no result of a file of that name")
            for path in (self.folders / route).rglob("[!.]*.json"):
                if not is_json(path.read_bytes()):
                    raise Broken(f"{path} has {path.stat().st_size} bytes, and is torn")
        stands = self.inputs()
        for name, content in begun.items():
            must = name in kept or hashlib.sha256(content).hexdigest() in paid
            if stands[content] != 1 and (must or stands[content]):
                raise Broken(f"{name} is in {stands[content]} places")

    def inputs(self) -> Counter[bytes]:
        """Count the places that each input is in."""
        roles = ("inbox", "inbox/.bulkgpt-watchd", "error", "archive")
        return Counter(path.read_bytes() for route in ROUTES for role in roles for path in self.files(route, role))

    def check_told(self) -> None:
        """Hold state and folders against what the log told as done."""
        jobs = {job.id: job for job in self.jobs()}
        for event, state in TOLD.items():
            for line in self.lines(event):
                job = jobs.get(line["job"])
                if job is None or ORDER.index(job.state) < ORDER.index(state):
                    stands = "is not known" if job is None else f"is {job.state}"
                    raise Broken(f"{line['file']} was told by {event}, and after the cut its job {stands}")
                path = getattr(job, STANDS_AT[event]) if event in STANDS_AT else None
                if path is not None and not os.path.exists(path):
                    raise Broken(f"{line['file']} was told by {event}, and after the cut {path} is not there")
                if (self.folders / line["route"] / "inbox" / line["file"]).exists():
                    raise Broken(f"{line['file']} was told by {event}, and after the cut it is in the inbox again")

    # --- the end ------------------------------------------------------------------------------------------------------

    def count_survivors(self) -> None:
        """Count as dropped also what came through a cut although its sender was not told so; remove what came torn."""
        for name, content in self.durable.begun.items():
            route, _, file = name.partition("/")
            inbox = self.folders / route / "inbox"
            (inbox / f".{file}").unlink(missing_ok=True)
            if (inbox / file).exists() and (inbox / file).read_bytes() != content:
                (inbox / file).unlink()
        stands = self.inputs()
        self.dropper.dropped = {name: content for name, content in self.durable.begun.items() if content in stands}

    @contextmanager
    def running(self, within_s: float) -> Iterator[None]:
        """Run a daemon until all has ended, and on, and stop it."""
        seen_bytes = self.log_file.stat().st_size
        with self.daemon() as daemon:
            self.wait_for_ready(daemon, seen_bytes)
            wait_until(self.has_ended, within_s)
            yield
            daemon.terminate()
            assert daemon.wait(within_s) == 0

    def left_over(self) -> list[Path]:
        """Do not count what a daemon tries its folders with: the next one removes what a death or a stop left of it."""
        return [path for path in super().left_over() if not path.name.startswith(PROBE)]

    def is_opened(self) -> bool:
        """Tell whether each route has its marker; a first start is still writing it when it says that it is ready."""
        return all((self.folders / route / "inbox/.bulkgpt-watchd" / MARKER).exists() for route in ROUTES)

    def seen(self) -> list[Job]:
        """Read the state beside a daemon."""
        with StateReader.open(self.state) as state:
            return state.query(Query())

    def has_ended(self) -> bool:
        """Tell whether nothing is left to do but what waits for a person."""
        places = [(route, role) for route in ROUTES for role in ("inbox", "inbox/.bulkgpt-watchd")]
        names = {path.name for place in places for path in self.files(*place)} - {MARKER}
        if not self.state.exists() or not all(map(job_of_trace, names)):
            return False
        return all(job.state in TERMINAL for job in self.seen())


def is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
