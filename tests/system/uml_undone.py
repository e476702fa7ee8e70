"""
Stories on an NFS server that loses power alone: what it had said yes to is undone while the daemon lives.

Its disk is in step only where a story brings it there; run by test_uml_cut.py.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from bulkgpt_watchd.sandbox import Fault
from tests.system.process import Daemon, wait
from tests.system.uml_shares import Nfs, disk, does
from tests.system.uml_stories import HUNG_S, rows
from tests.system.uml_telling import Facts, ShareBed, Story, tell

SHUTDOWN = 0x8004587D
NOT_EVEN_ITS_LOG = struct.pack("I", 2)
"""EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): the disk as it was, and no write more."""


class CutNfs(Nfs):
    """Be an NFS server that answers before its disk does, and whose disk can be cut."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "async,no_root_squash")

    def sync(self) -> None:
        """Bring to disk what was done so far."""
        does("sync", "--file-system", self.folder)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Lose power, come back with what was on disk; inside, the server is not there yet."""
        self.stop()
        opened = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(opened, SHUTDOWN, NOT_EVEN_ITS_LOG)
        os.close(opened)
        does("exportfs", "-au")
        does("umount", self.folder)
        does("mount", "-o", "loop,commit=600", f"{self.folder}.img", self.folder)
        yield
        self.export()
        self.start()


def dropped_and_on_disk(bed: ShareBed, daemon: Daemon) -> CutNfs:
    """Have a.csv dropped, and that on the server's disk; nothing that is done with it will be."""
    server = cast("CutNfs", bed.server)
    bed.does("pause", "leads")
    bed.remote("a.csv", rows("a"))
    daemon.wait_for("job.discovered", file="a.csv")
    server.sync()
    return server


def end(bed: ShareBed, undone: list[str]) -> Facts:
    """Give what came of it."""
    receipt = bed.receipt("a.csv") if "a.csv.receipt.json" in bed.files("archive") else {}
    return {
        "undone": undone,
        "outcomes": sorted(str(job["code"] or job["state"]) for job in bed.jobs()),
        "paid": len(bed.sent()),
        "results": sorted(bed.files("outbox")),
        "archive": sorted(bed.files("archive")),
        "error": sorted(bed.files("error")),
        "source_lost": receipt.get("source_lost"),
    }


def inbox_of(bed: ShareBed) -> list[str]:
    return sorted(name for name in os.listdir(bed.there / "inbox") if not name.startswith("."))


def undone_while_it_runs(bed: ShareBed) -> Facts:
    """Cut the server after the task was accepted: the file stands in the inbox again."""
    daemon = bed.start()
    server = dropped_and_on_disk(bed, daemon)
    bed.sandbox.plan(Fault(call="download", http_status=503, times="always"))
    bed.does("resume", "leads")
    daemon.wait_for("job.deferred", at="finished")
    with server.cut():
        undone = inbox_of(bed)
    bed.sandbox.clear()
    bed.wait_ended(2, HUNG_S)
    return end(bed, undone)


def undone_before_it_is_sent(bed: ShareBed) -> Facts:
    """
    Cut the server while the claimed file waits for its turn: the file stands in the inbox again.

    Both jobs end in error: the second has the bytes of the first, and the first has no file. Then it is dropped again.
    """
    bed.api["submit_spacing"] = "40s"
    daemon = bed.start()
    bed.drop("first.csv", rows("first"), "more")
    bed.wait_ended(1)
    server = dropped_and_on_disk(bed, daemon)
    bed.does("resume", "leads")
    daemon.wait_for("job.checked", file="a.csv")
    with server.cut():
        undone = inbox_of(bed)
    bed.wait_ended(3, HUNG_S)
    before = end(bed, undone)
    bed.place("error").joinpath("a.csv").rename(bed.place("inbox") / "a.csv")
    bed.wait_ended(4, HUNG_S)
    return {"before": before, **end(bed, undone)}


def undone_when_all_is_over(bed: ShareBed) -> Facts:
    """Cut the server after result and original were handed over: all of it is undone, and the result is had again."""
    daemon = bed.start()
    server = dropped_and_on_disk(bed, daemon)
    bed.does("resume", "leads")
    daemon.wait_for("job.done", file="a.csv")
    with server.cut():
        undone = inbox_of(bed)
    bed.wait_ended(2, HUNG_S)
    [done] = [job["job"] for job in bed.jobs() if job["state"] == "done"]
    before = sorted(bed.files("outbox"))
    bed.does("redeliver", done)
    wait(lambda: len(daemon.told("job.delivered")) == 2, "it is delivered again", HUNG_S, daemon)
    wait(lambda: bed.job("a.csv") and bed.jobs()[0]["state"] == "done", "it has ended again", HUNG_S, daemon)
    return {**end(bed, undone), "before": before}


OPTIONS = "vers=4.2,hard"


def main() -> None:
    export = Path("/run/export")
    with disk(export, options="commit=600"):
        server = CutNfs(export)
        with server.serving():
            stories = (undone_while_it_runs, undone_before_it_is_sent, undone_when_all_is_over)
            tell([Story(each, OPTIONS) for each in stories], server)


if __name__ == "__main__":
    main()
