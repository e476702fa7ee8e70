"""A whole daemon under a service manager that watches: what must not get it killed, and when it must be."""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Fault
from tests.notified import Manager
from tests.system.bed import Bed
from tests.system.process import Daemon, wait

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not as root: mounts")

WATCHED_S = 1.0
"""Beats come every half second: a busy machine is late by less than a few of them."""

IN_OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private", "sh", "-ec")


class Watched:
    """A daemon that is started as systemd starts it, and what the manager hears of it."""

    def __init__(self, bed: Bed, manager: Manager) -> None:
        self.bed = bed
        self.manager = manager

    def start(self, *before: str, is_ready: bool = True) -> Daemon:
        environ = ("env", *(f"{name}={value}" for name, value in self.manager.environ.items()))
        return self.bed.start(before=(*environ, *before), is_ready=is_ready)

    def is_fed(self) -> bool:
        return self.manager.meals(2 * WATCHED_S) > 0


@pytest.fixture
def watched(bed: Bed) -> Iterator[Watched]:
    with Manager(WATCHED_S) as manager:
        yield Watched(bed, manager)


def test_readiness_and_status_are_told_as_they_are(bed: Bed, watched: Watched) -> None:
    daemon = watched.start()
    assert watched.is_fed()
    bed.sandbox.plan(Fault(call="submit", http_status=401, times="always"))
    bed.drop("a.csv")
    daemon.wait_for("gate.shut")
    line = wait(
        lambda: [facts["STATUS"] for facts in watched.manager.heard() if "gate shut" in facts.get("STATUS", "")],
        "the status tells it",
        daemon=daemon,
    )[0]
    assert line.startswith("1 route; 1 waiting, 0 running; gate shut: ")
    daemon.process.send_signal(signal.SIGSTOP)
    assert not watched.is_fed()
    daemon.process.send_signal(signal.SIGCONT)
    assert watched.is_fed()


@pytest.mark.system
@needs_root
def test_a_full_disk_below_the_state_kills_nobody(bed: Bed, watched: Watched) -> None:
    state = bed.folder / "state"
    state.mkdir()
    bed.route(min_free=1)
    daemon = watched.start(*IN_OWN_MOUNTS, 'mount -t tmpfs -o size=3m none "$0"; exec "$@"', str(state))
    filler = Path(f"/proc/{daemon.pid}/root{state}/filler")
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
    bed.drop("a.csv")
    daemon.wait_for("state.unwritable")
    assert watched.is_fed()
    filler.unlink()
    wait(lambda: daemon.ends() == 1, "it goes on", daemon=daemon)


def has_hung_thread(daemon: Daemon) -> bool:
    """Tell whether a thread waits for the server of a FUSE file system."""
    waits = [path.read_text() for path in Path(f"/proc/{daemon.pid}/task").glob("*/wchan")]
    return any("fuse" in place or "request_wait" in place for place in waits)


@pytest.mark.fault("F29")
@pytest.mark.system
@needs_root
def test_a_share_that_hangs_kills_nobody(bed: Bed, watched: Watched) -> None:
    """A FUSE file system whose server never answers: every call on it blocks in the kernel."""
    bed.route("hung")
    bed.route("leads")
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        daemon = watched.start()
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        inbox = os.fsencode(bed.place("inbox", "hung"))
        assert libc.mount(b"hung", inbox, b"fuse", 0, options.encode()) == 0, os.strerror(ctypes.get_errno())
        try:
            bed.does("scan", "hung")
            wait(lambda: has_hung_thread(daemon), "a look hangs", daemon=daemon)
            assert watched.is_fed()
            bed.drop("a.csv")
            daemon.wait_for("job.done", file="a.csv")
            assert watched.is_fed()
            assert daemon.stop() == 0
        finally:
            libc.umount2(inbox, 2)  # MNT_DETACH
    finally:
        os.close(device)  # ends every call that hangs


def test_a_state_that_opens_slowly_is_given_time(bed: Bed, watched: Watched) -> None:
    """A reader that recovers the state stands for a migration: the opening waits for it."""
    bed.start().stop()
    with closing(sqlite3.connect(bed.folder / "state" / "state.db", isolation_level=None)) as state:
        state.execute("PRAGMA locking_mode=EXCLUSIVE")
        state.execute("BEGIN EXCLUSIVE")
        daemon = watched.start(is_ready=False)
        daemon.wait_for("daemon.started")
        watched.manager.heard()
        time.sleep(2 * WATCHED_S)
        heard = watched.manager.heard()
    daemon.wait_for("daemon.ready")

    assert heard
    assert all("EXTEND_TIMEOUT_USEC" in facts and "WATCHDOG" not in facts for facts in heard)


def test_a_stop_that_awaits_an_answer_is_fed_to_its_end(bed: Bed, watched: Watched) -> None:
    bed.sandbox.plan(Fault(call="submit", delay_s=3))
    daemon = watched.start()
    bed.drop("a.csv")
    wait(lambda: any(".sent-" in name for name in bed.files("work")), "the last block goes", daemon=daemon)
    watched.manager.heard()
    daemon.process.terminate()
    told = wait(watched.manager.heard, "the stop is told", daemon=daemon)
    assert {"STOPPING": "1", "STATUS": "stopping; 1 in progress; their answers are awaited"} in told
    assert watched.is_fed()
    assert daemon.ended() == 0
    assert daemon.told("task.submitted")
