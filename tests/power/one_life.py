"""Give one file to a daemon that stops at a chosen instant, and take its power away there."""

from __future__ import annotations

import shutil

from tests.crash.processes import ROUTES, wait_until
from tests.power.disk import is_frozen, sync
from tests.power.place import PowerBed

ROWS = 1000
"""More than fits beside the inode, so that bytes and name come to disk each in its own time."""

ENDS_S = 60.0
"""One file takes a second; a busy machine may need many times that."""


def begin_anew(bed: PowerBed) -> None:
    """Leave nothing of the life before but the inboxes."""
    for route in ROUTES:
        shutil.rmtree(bed.folders / route)
        (bed.folders / route / "inbox").mkdir(parents=True)
    if bed.state.parent.exists():
        shutil.rmtree(bed.state.parent)
    for log in (bed.ledger_file, bed.log_file):
        log.write_bytes(b"")
    bed.durable.begun.clear()
    bed.durable.dropped.clear()
    sync(bed.disk.point)


def drop(bed: PowerBed, number: int, *, is_durable: bool) -> None:
    """Drop one file; a careless sender leaves it to the kernel when its bytes come to disk."""
    content = b"Input_1\n" + b"%d\n" % number * ROWS
    if is_durable:
        bed.durable.put("leads", "a.csv", content)
    else:
        bed.durable.begun["leads/a.csv"] = content
        part = bed.folders / "leads" / "inbox" / ".a.csv"
        part.write_bytes(content)
        part.rename(part.with_name("a.csv"))


def cut_after(bed: PowerBed, *what: str) -> bool:
    """Run a daemon that stops where it is told to, and cut it there; tell whether it came so far."""
    bed.break_daemon(*what)
    try:
        with bed.daemon() as process:
            wait_until(lambda: is_frozen(process) or bed.lines("job.done"), ENDS_S)
            if is_frozen(process):
                bed.disk.cut(process)
                return True
            process.terminate()
            wait_until(lambda: process.poll() is not None or is_frozen(process), ENDS_S)
            if process.poll() is None:
                bed.disk.cut(process)
                return True
            return False
    finally:
        bed.command = PowerBed.command
