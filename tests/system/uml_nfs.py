"""Stories on NFS, told in a kernel of its own: its server and its client, over the loopback. Run by test_uml_nfs.py."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import cast

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.process import wait
from tests.system.uml_shares import Nfs, disk
from tests.system.uml_stories import HUNG_S, found_after, names_are_taken, of_each_kind, rows
from tests.system.uml_telling import Facts, ShareBed, Story, tell

HARD = "vers=4.2,hard"
"""As most are mounted: a call waits for as long as the server is away."""

SOFT = "vers=4.2,soft,timeo=10,retrans=1"
"""Calls fail after some seconds."""


def found_without_events(bed: ShareBed) -> Facts:
    """Drop files as somebody else; this kernel tells nobody of it."""

    def drop(number: int) -> float:
        time.sleep(0.7)  # at another moment of the time that the kernel believes what it knows
        started = time.monotonic()
        bed.remote(f"{number}.csv", rows(f"remote {number}"))
        return started

    return found_after(bed, drop)


def renamed_late(bed: ShareBed) -> Facts:
    """Stop the server when a file gets its sent name: the kernel does the rename when it is back, unasked."""
    bed.api["submit_spacing"] = "6s"
    daemon = bed.start()
    bed.remote("a.csv", rows("a"))
    bed.wait_ended(1)
    bed.remote("b.csv", rows("b"))
    daemon.wait_for("job.checked", file="b.csv")
    wait(lambda: bed.sandbox.ledger[1:], "it is being sent")
    bed.server.stop()
    bed.drop("c.csv", rows("c"), "more")
    daemon.wait_for("job.done", file="c.csv")
    deferred = daemon.wait_for("job.deferred", within_s=HUNG_S, file="b.csv")
    bed.server.start()
    bed.wait_ended(3, HUNG_S)
    return {
        "deferred": deferred["reason"],
        "states": sorted(job["state"] for job in bed.jobs()),
        "paid": len(bed.sent()),
    }


def soft_mount(bed: ShareBed) -> Facts:
    """Have calls fail while the server is away: that is not an empty inbox."""
    daemon = bed.start()
    bed.does("pause", "leads")
    bed.remote("waits.csv", rows("waits"))
    daemon.wait_for("job.discovered", file="waits.csv")
    bed.server.stop()
    told = daemon.wait_for("route.unavailable", within_s=HUNG_S, route="leads")
    bed.does("resume", "leads")
    bed.drop("beside.csv", rows("beside"), "more")
    daemon.wait_for("job.done", file="beside.csv")
    states = {job["file"]: job["state"] for job in bed.jobs()}
    bed.server.start()
    daemon.wait_for("job.done", within_s=HUNG_S, file="waits.csv")
    return {
        "reason": told["reason"],
        "states": states,
        "withdrawn": daemon.told("job.withdrawn"),
        "failed": daemon.told("job.failed"),
        "results": sorted(bed.files("outbox")),
    }


def silly_names(bed: ShareBed) -> Facts:
    """Remove a file that is open, so that it keeps a name, `.nfs…`; and replace one again and again."""
    bed.routes[0] |= {"match": ["*"], "settle": "1s"}
    daemon = bed.start()
    bed.does("pause", "leads")
    held = bed.place("inbox") / "held.csv"
    held.write_bytes(rows("held"))
    with open(held, "rb"):
        held.unlink()
        silly = [name for name in os.listdir(held.parent) if name.startswith(".nfs")]
        bed.does("resume", "leads")
        for number in range(20):
            bed.remote("swapped.csv", rows(f"swapped {number}"))
            bed.dropped.clear()
            time.sleep(0.2)
        bed.expect(rows("swapped 19"))
        daemon.wait_for("job.done", file="swapped.csv")
        left = [name for name in os.listdir(held.parent) if name.startswith(".nfs")]
    return {
        "silly": len(silly),
        "left": silly == left,
        "files": sorted({job["file"] for job in bed.jobs() if job["state"] != "withdrawn"}),
        "whole": bed.sent() == [hashlib.sha256(rows("swapped 19")).hexdigest()],
    }


def names_are_never_replaced(bed: ShareBed) -> Facts:
    """Take names that ours would have; NFS knows no rename that replaces nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    probe = bed.place("inbox") / ".probe"
    probe.touch()
    libc.renameat2(-100, os.fsencode(probe), -100, os.fsencode(probe.with_name(".probed")), 1)
    code = errno.errorcode.get(ctypes.get_errno())
    probe.unlink(missing_ok=True)
    taken = ("outbox/a.csv", "archive/a.csv", "error/bad.csv", "error/worse.csv.error.json")
    return {"code": code, **names_are_taken(bed, taken, ("bad.csv", "worse.csv"))}


def root_is_nobody(bed: ShareBed) -> Facts:
    """Have a server to which root is nobody, as most are; one file may be read by its owner alone."""
    server = cast("Nfs", bed.server)
    server.export("sync,root_squash")
    try:
        daemon = bed.start()
        closed = bed.there / "inbox" / "closed.csv"
        closed.touch(0o600)
        closed.write_bytes(rows("closed"))
        bed.expect(rows("closed"))
        bed.remote("open.csv", rows("open"))
        bed.remote("bad.csv", b"a,b\n1\n")
        bed.wait_ended(2)
        told = daemon.wait_for("file.ignored", file="closed.csv")
        left = closed.exists()
        closed.chmod(0o644)
        bed.wait_ended(3)
        bed.leave()
    finally:
        server.export()
    return {
        "owner": (bed.there / "inbox" / ".bulkgpt-watchd").stat().st_uid,
        "reason": told["reason"],
        "left": left,
        "results": sorted(bed.files("outbox")),
        "error": sorted(bed.files("error")),
    }


def server_is_full(bed: ShareBed) -> Facts:
    """Fill the server's disk between the submit and its result."""
    bed.routes[0]["min_free"] = 1
    content = b"Input_1\n" + b"".join(b"%d %s\n" % (number, b"x" * 90) for number in range(15_000))
    filler = bed.server.folder / "filler"
    bed.sandbox.plan(Fault(call="submit", delay_s=4))
    daemon = bed.start()
    bed.remote("large.csv", content)
    wait(lambda: bed.sandbox.accepted, "it is accepted", daemon=daemon)
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], check=False, capture_output=True)
    deferred = daemon.wait_for("job.deferred", at="finished")
    visible = [name for name in bed.files("outbox") if not name.startswith(".")]
    filler.unlink()
    bed.wait_ended(1)
    return {
        "reason": deferred["reason"],
        "visible": visible,
        "whole": bed.files("outbox") == {"large.csv": answer(content)},
        "paid": len(bed.sent()),
        "failed": daemon.told("job.failed"),
    }


STORIES = (
    *of_each_kind(HARD),
    Story(found_without_events, HARD),
    Story(renamed_late, HARD),
    Story(soft_mount, SOFT),
    Story(silly_names, HARD),
    Story(names_are_never_replaced, HARD),
    Story(root_is_nobody, HARD),
    Story(server_is_full, HARD),
)


def main() -> None:
    export = Path("/run/export")
    with disk(export):
        server = Nfs(export)
        with server.serving():
            tell(STORIES, server)


if __name__ == "__main__":
    main()
