"""Stories on CIFS, told in a kernel of its own: Samba and the kernel's client, over the loopback (test_uml_cifs.py)."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import cast

from bulkgpt_watchd.sandbox import answer
from tests.system.bed import VENDOR_CSV
from tests.system.process import wait
from tests.system.uml_shares import Cifs, stick
from tests.system.uml_stories import HUNG_S, found_after, names_are_taken, of_each_kind, rows, since
from tests.system.uml_telling import Facts, ShareBed, Story, tell

USUAL = "guest,vers=3.1.1,nosharesock"
"""Each mount with a connection of its own, so that one story's dead server is not another's."""

BLOCK_ROWS = 8000
"""Of a kilobyte each: smbclient sends nothing before it has read eight megabytes."""

ODD_NAMES = (
    b"colon:.csv",
    b"question?.csv",
    b"star*.csv",
    b"back\\slash.csv",
    b"line\nfeed.csv",
    b"con.csv",
    b" blank .csv",
    "umlaut ü €.csv".encode(),
    b"not utf-8 \xff.csv",
    b"n" * 251 + b".csv",
)

ODD_FOLDERS = (b"back\\slash", b"deep/er\\:than", b"question?/not utf-8 \xff")


def samba(bed: ShareBed) -> Cifs:
    return cast("Cifs", bed.server)


def found_without_events(bed: ShareBed) -> Facts:
    """Drop files by a rename, as another client and as somebody on the server."""
    local = bed.folder / "upload"

    def drop(number: int) -> float:
        content = rows(f"remote {number}")
        if number % 2:
            started = time.monotonic()
            bed.remote(f"{number}.csv", content)
            return started
        local.write_bytes(content)
        bed.expect(content)
        samba(bed).client(f"cd {bed.there.name}/inbox; put {local} {number}.part; rename {number}.part {number}.csv")
        return time.monotonic()

    return found_after(bed, drop)


def without_inode_numbers(bed: ShareBed) -> Facts:
    """Have a server whose inode numbers are not used: the client makes its own."""
    bed.routes[0]["settle"] = "1s"
    return found_without_events(bed)


class Uploading:
    """Be another client that sends a file through a pipe, as slowly as it is given."""

    def __init__(self, bed: ShareBed, name: str) -> None:
        pipe = bed.folder / "pipe"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        self.content = b""
        command = [*samba(bed).command(), "-c", f"cd {bed.there.name}/inbox; put {pipe} {name}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._pipe = open(pipe, "wb", buffering=0)  # noqa: SIM115 `end` closes it

    def send(self, block: bytes) -> None:
        self.content += block
        self._pipe.write(block)

    def end(self) -> str:
        """End the file; give its hash."""
        self._pipe.close()
        assert self._process.wait(120) == 0
        return hashlib.sha256(self.content).hexdigest()


def upload_in_progress(bed: ShareBed) -> Facts:
    """
    Upload, as another client, for longer than the route waits, with stalls that are longer still.

    Every stall ends at the end of a line, and while nothing has arrived the file is empty for longer than its grace.
    """
    bed.routes[0] |= {"settle": "1s", "empty_grace": "1s"}
    daemon = bed.start()
    block = b"".join(b"%06d %s\n" % (number, b"x" * 1000) for number in range(BLOCK_ROWS))
    upload = Uploading(bed, "slow.csv")
    path = bed.there / "inbox" / "slow.csv"
    wait(path.exists, "the upload begins")
    time.sleep(5)
    sizes = [path.stat().st_size]
    for number in range(3):
        upload.send(b"Input_1\n" + block if number == 0 else block)
        time.sleep(5)
        sizes.append(path.stat().st_size)
    early = len(bed.sandbox.ledger)
    sha256 = upload.end()
    bed.dropped[sha256] += 1
    daemon.wait_for("job.done", within_s=HUNG_S, file="slow.csv")
    return {
        "sizes": sizes,
        "whole_bytes": len(upload.content),
        "early": early,
        "busy": sorted({line["reason"] for line in daemon.told("job.deferred", file="slow.csv")}),
        "whole": bed.sent() == [sha256],
        "failed": daemon.told("job.failed"),
    }


def server_silent(bed: ShareBed) -> Facts:
    """Halt the server: it is there, takes what it is sent, and says nothing."""
    daemon = bed.start()
    bed.remote("before.csv", rows("before"))
    bed.wait_ended(1)
    samba(bed).signal(signal.SIGSTOP)
    bed.remote("during.csv", rows("during"))
    beside = []
    for number in range(3):
        started = time.monotonic()
        bed.drop(f"{number}.csv", rows(f"beside {number}"), "more")
        daemon.wait_for("job.done", file=f"{number}.csv")
        beside.append(since(started))
    told = daemon.wait_for("route.unavailable", within_s=HUNG_S, route="leads")
    samba(bed).signal(signal.SIGCONT)
    daemon.wait_for("job.done", within_s=HUNG_S, file="during.csv")
    return {"reason": told["reason"], "beside_s": beside, "results": sorted(bed.files("outbox"))}


def modes_are_not_kept(bed: ShareBed) -> Facts:
    """Ask for a mode; the share shows its own."""
    bed.routes[0]["result"] = {"mode": "0640"}
    bed.start()
    bed.remote("a.csv", VENDOR_CSV)
    bed.wait_ended(1)
    mode = stat.S_IMODE((bed.place("outbox") / "a.csv").stat().st_mode)
    return {"mode": oct(mode), "results": sorted(bed.files("outbox"))}


def case_is_not_kept(bed: ShareBed) -> Facts:
    """Have names there that differ in case only from ours: they are one name."""
    return names_are_taken(bed, ("outbox/A.CSV", "archive/A.csv", "error/BAD.csv.ERROR.json"), ("bad.csv",))


def odd_names(bed: ShareBed) -> Facts:
    """Have a local inbox that takes names which the share cannot have, or has in another way."""
    return odd_names_to(bed, bed.folder / "leads")


def odd_names_on_a_stick(bed: ShareBed) -> Facts:
    """Have a local inbox that takes names which vfat cannot have."""
    with stick(bed.folder / "stick"):
        return odd_names_to(bed, bed.folder / "stick")


def odd_names_to(bed: ShareBed, disk: Path) -> Facts:
    """Drop files with odd names, and in folders with odd names, into a local inbox whose results go to *disk*."""
    roles = {role: disk / f"{role}-of-more" for role in ("outbox", "error", "archive")}
    for role, folder in roles.items():
        folder.mkdir()
        bed.routes[1][role] = str(folder)
    bed.routes[1]["recursive"] = True
    daemon = bed.start()
    good = [*ODD_NAMES, *(folder + b"/good.csv" for folder in ODD_FOLDERS)]
    bad = [b"bad\\?.csv", *(folder + b"/bad.csv" for folder in ODD_FOLDERS)]
    for number, name in enumerate(good):
        bed.drop(name, rows(f"odd {number}"), "more")
    for number, name in enumerate(bad):
        bed.drop(name, b"a,b\n%d\n" % number, "more")
    jobs = bed.wait_ended(len(good) + len(bad), HUNG_S)
    daemon.stop()
    found = {role: [path for path in folder.rglob("*") if path.is_file()] for role, folder in roles.items()}
    contents = {role: {path.read_bytes() for path in paths} for role, paths in found.items()}
    whole = {answer(rows(f"odd {number}")) for number in range(len(good))}
    kept = {hashlib.sha256(content).hexdigest() for content in contents["archive"] | contents["error"]}
    lost = bed.dropped.keys() - kept
    bed.dropped.clear()  # these folders are counted here
    return {
        "states": {ascii(job["file"]): job["state"] for job in jobs},
        "names": sorted(ascii(str(path.relative_to(roles["outbox"]))) for path in found["outbox"]),
        "missing": len(whole - contents["outbox"]),
        "more": len(contents["outbox"] - whole),
        "lost": sorted(lost),
        "counts": {role: len(paths) for role, paths in found.items()},
        "unavailable": daemon.told("route.unavailable"),
    }


STORIES = (
    *of_each_kind(USUAL),
    Story(found_without_events, USUAL),
    Story(upload_in_progress, USUAL),
    Story(server_silent, USUAL),
    Story(modes_are_not_kept, USUAL),
    Story(case_is_not_kept, USUAL),
    Story(odd_names, USUAL),
    Story(odd_names_on_a_stick, USUAL),
    Story(without_inode_numbers, f"{USUAL},noserverino"),
)


def main() -> None:
    export = Path("/run/export")
    export.mkdir()
    server = Cifs(export)
    with server.serving():
        tell(STORIES, server)


if __name__ == "__main__":
    main()
