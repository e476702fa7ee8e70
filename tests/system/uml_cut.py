"""
Live through power cuts of a whole kernel (see test_uml_cut.py): what is on disk goes on, everything else is new.

The jobs: `local`, a daemon and its folders on one disk, with files dropped until the cut; `local-end`, the same
without new files, until all is over; `share` and `share-end`, with `nfs` or `cifs`, one file on a server whose disk is
not in step.
BulkGPT would outlive the cuts; here its tasks are told to each new sandbox anew, from the ledger outside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bulkgpt_watchd.sandbox import Fault, Sandbox, SandboxOptions, answer
from tests.system.bed import KEY, Bed
from tests.system.bulk import bulk
from tests.system.process import SOON_S, wait
from tests.system.uml_shares import Cifs, Nfs, disk, does, mounted
from tests.system.uml_telling import OUT, leave_outside

DISK = Path("/run/disk")
SERVERS_DISK = Path("/run/export")
LEDGER = OUT / "ledger.jsonl"
DROPPED = OUT / "dropped.json"

TOLD_AGAIN = "told again"
"""The workflow of what only tells a new sandbox which tasks there are."""

WAITING_MOST = 12
"""Files in the inbox above which the dropper rests."""


def content_of(number: int) -> bytes:
    """Give the bytes of the file that is dropped as the so manieth."""
    return b"Input_1\n" + b"".join(b"file %d row %d\n" % (number, row) for row in range(1 + number % 40))


def dropped() -> int:
    """Say how many files were dropped and brought to disk, in all boots."""
    return int(json.loads(DROPPED.read_bytes())) if DROPPED.exists() else 0


def accepted() -> list[dict[str, Any]]:
    """Give what was accepted, in all boots."""
    records = [json.loads(line) for line in LEDGER.read_text().splitlines()] if LEDGER.exists() else []
    return [record for record in records if record["accepted"] and record["workflow_id"] != TOLD_AGAIN]


@contextmanager
def sandbox_of_all_boots() -> Iterator[Sandbox]:
    """Run a sandbox that knows the tasks of the boots before."""
    contents = {hashlib.sha256(content_of(number)).hexdigest(): content_of(number) for number in range(dropped() + 1)}
    options = SandboxOptions(key=KEY, preparing_s=0, running_s=0.5, finalizing_s=0, ledger_file=str(LEDGER))
    known = accepted()
    with bulk(options) as sandbox:
        for record in known:
            sandbox.plan(Fault(call="submit", task_id=record["task_id"]))
            body = {"workflowId": TOLD_AGAIN, "csvBase64": base64.b64encode(contents[record["sha256"]]).decode()}
            request = urllib.request.Request(
                f"{sandbox.base_url}/upload-trigger",
                json.dumps(body).encode(),
                {"x-api-key": KEY, "content-type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=SOON_S).close()
        # As from a distance: without it the moment between the last block and the answer is too short to be hit.
        sandbox.plan(Fault(call="submit", delay_s=0.2, times="always"))
        yield sandbox


# --- one disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def bed_on_disk() -> Iterator[Bed]:
    with mounted("ext4", "/dev/ubda", DISK, "rw"), sandbox_of_all_boots() as sandbox:
        folder = DISK / "bed"
        folder.mkdir(exist_ok=True)
        bed = Bed(folder, sandbox)
        bed.route(min_free="1MB", hold_backlog=None, scan_every="1s")
        try:
            yield bed
        finally:
            bed.kill()


def drop_durably(bed: Bed, number: int) -> None:
    """Drop a file as a careful sender does: whole and on disk, and only then it counts."""
    inbox = bed.place("inbox")
    dotted = inbox / f".{number}"
    with open(dotted, "wb") as file:
        file.write(content_of(number))
        file.flush()
        os.fsync(file.fileno())
    dotted.rename(inbox / f"{number}.csv")
    opened = os.open(inbox, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)
    leave_outside("dropped", number + 1)


def live() -> None:
    """Drop files until the power goes."""
    with bed_on_disk() as bed:
        daemon = bed.start()
        leave_outside("ready", True)
        for number in range(dropped(), 1_000_000):
            wait(lambda: len(os.listdir(bed.place("inbox"))) < WAITING_MOST, "it takes files", daemon=daemon)
            drop_durably(bed, number)
            time.sleep(0.05)


def end() -> None:
    """Let the last daemon finish, and count."""
    with bed_on_disk() as bed:
        daemon = bed.start()

        def is_over() -> bool:
            return all(job["state"] in {"done", "failed", "withdrawn"} for job in bed.jobs()) and not [
                name for name in os.listdir(bed.place("inbox")) if not name.startswith(".")
            ]

        with suppress(AssertionError):  # what is not over is told, with all the rest
            wait(is_over, "all is over", 2 * SOON_S, daemon)
        open_jobs = [job for job in bed.jobs() if job["state"] not in {"done", "failed", "withdrawn"}]
        code = daemon.stop()
        told = {"code": code, "bugs": daemon.told("daemon.bug"), "open": open_jobs}
        leave_outside("counted", {**counted(bed), **told})


def counted(bed: Bed) -> dict[str, Any]:
    """Count what must hold, over all boots."""
    number_of = {hashlib.sha256(content_of(number)).hexdigest(): number for number in range(dropped() + 1)}
    copies: Counter[int] = Counter()
    for role in ("inbox", "error", "archive"):
        for path in bed.place(role).rglob("*"):
            if path.is_file():
                copies[number_of.get(hashlib.sha256(path.read_bytes()).hexdigest(), -1)] += 1
    paid = Counter(number_of[record["sha256"]] for record in accepted())
    results = {name: content for name, content in bed.files("outbox").items() if not name.startswith(".")}
    whole = {answer(content_of(number)): number for number in range(dropped() + 1)}
    delivered = Counter(whole.get(content, -1) for content in results.values())
    jobs = bed.jobs()
    return {
        "dropped": dropped(),
        "lost": [number for number in range(dropped()) if copies[number] == 0],
        "doubled": [number for number, times in copies.items() if number >= 0 and times > 1],
        "paid": sum(paid.values()),
        "paid_twice": [number for number, times in paid.items() if times > 1],
        "torn": delivered.pop(-1, 0),
        "delivered": sum(delivered.values()),
        "delivered_twice": [number for number, times in delivered.items() if times > 1],
        "done_without_result": [
            job["file"] for job in jobs if job["state"] == "done" and Path(job["file"]).name not in results
        ],
        "outcomes": Counter(job["code"] or job["state"] for job in jobs),
        "work": sorted(bed.files("work")),
    }


# --- a share ----------------------------------------------------------------------------------------------------------


SHARES: dict[str, tuple[Callable[[], Nfs | Cifs], str]] = {
    "nfs": (lambda: Nfs(SERVERS_DISK, "async,no_root_squash"), "vers=4.2,hard"),
    "cifs": (lambda: Cifs(SERVERS_DISK), "guest,vers=3.1.1"),
}
"""
Servers that answer before their disk does, and the options of their mounts.

Samba does so as it is: of a file it brings to disk what it is asked to, and CIFS has no such question for a folder.
"""


@contextmanager
def bed_on_share() -> Iterator[Bed]:
    """Have the state on one disk and the route on a server."""
    with (
        mounted("ext4", "/dev/ubda", DISK, "rw"),
        disk(SERVERS_DISK, "/dev/ubdb", "commit=600"),
        sandbox_of_all_boots() as sandbox,
    ):
        (SERVERS_DISK / "leads" / "inbox").mkdir(parents=True, exist_ok=True)
        make, options = SHARES[sys.argv[2]]
        server = make()
        with server.serving(), mounted(server.kind, server.source("leads"), DISK / "bed" / "leads", options):
            bed = Bed(DISK / "bed", sandbox)
            bed.route(min_free="1MB")
            try:
                yield bed
            finally:
                bed.kill()


def drop_there(number: int) -> None:
    """Let somebody on the server drop a file."""
    dotted = SERVERS_DISK / "leads" / "inbox" / ".dropped"
    dotted.write_bytes(content_of(number))
    dotted.rename(dotted.with_name(f"{number}.csv"))


def pass_the_point(*, claim_is_kept: bool) -> None:
    """Have one file accepted without an answer; the server's disk knows of nothing since, or since the claim."""
    with bed_on_share() as bed:
        bed.api["submit_spacing"] = "15s"  # time enough to bring the claim to disk before the point of no return
        daemon = bed.start()
        drop_there(0)
        daemon.wait_for("job.done")
        bed.sandbox.clear()
        bed.sandbox.plan(Fault(call="submit", hang=True, accept=True))
        if claim_is_kept:
            drop_there(1)
            daemon.wait_for("job.checked", file="1.csv")
            does("sync", "--file-system", SERVERS_DISK)
        else:
            bed.does("pause", "leads")
            drop_there(1)
            daemon.wait_for("job.discovered", file="1.csv")
            does("sync", "--file-system", SERVERS_DISK)
            bed.does("resume", "leads")
        leave_outside("dropped", 2)
        wait(lambda: len(accepted()) == 2, "it is accepted", daemon=daemon)
        leave_outside("cut", sorted(os.listdir(SERVERS_DISK / "leads" / "inbox" / ".bulkgpt-watchd")))
        time.sleep(SOON_S)


def after_the_cut() -> None:
    """See what the server's disk knows, and what the daemon makes of it."""
    with bed_on_share() as bed:
        inbox = SERVERS_DISK / "leads" / "inbox"
        undone = {"inbox": sorted(os.listdir(inbox)), "work": sorted(os.listdir(inbox / ".bulkgpt-watchd"))}
        daemon = bed.start()
        wait(daemon.ends, "it makes up its mind", SOON_S, daemon)
        time.sleep(8)  # in which a file that was given back would be sent
        wait(
            lambda: all(job["state"] in {"done", "failed", "withdrawn"} for job in bed.jobs()),
            "all is over",
            SOON_S,
            daemon,
        )
        code = daemon.stop()
        leave_outside("counted", {**counted(bed), "undone": undone, "code": code})


JOBS = {
    "local": live,
    "local-end": end,
    "share": lambda: pass_the_point(claim_is_kept=True),
    "share-claim": lambda: pass_the_point(claim_is_kept=False),
    "share-end": after_the_cut,
}


if __name__ == "__main__":
    JOBS[sys.argv[1]]()
