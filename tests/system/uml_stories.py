"""Stories that hold on a share of any kind, told in a kernel of its own (see uml_telling.py)."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV
from tests.system.process import SOON_S, wait
from tests.system.uml_shares import does
from tests.system.uml_telling import Facts, ShareBed, Story, descriptors, inotify_watches, threads

HUNG_S = 240.0
"""A look is given 20 s, or 60 s where the hang comes in its midst, before its share counts as hung."""

CYCLES = 3
"""How often a server goes and comes: of what is left each time there would be two more after the third."""

FOREIGN = b"of somebody else: "
"""How files begin that stood there before."""


def rows(name: str) -> bytes:
    """Make a small CSV that no other file is."""
    return b"Input_1\n" + name.encode() + b"\n"


def since(started: float) -> float:
    return round(time.monotonic() - started, 2)


def found_after(bed: ShareBed, drop: Callable[[int], float]) -> Facts:
    """Let four files be dropped by others, and tell how long each stood there unseen; *drop* gives since when."""
    daemon = bed.start()
    found_after_s = []
    for number in range(4):
        started = drop(number)
        daemon.wait_for("job.discovered", file=f"{number}.csv")
        found_after_s.append(since(started))
    bed.wait_ended(4)
    return {
        "found_after_s": found_after_s,
        "results": sorted(bed.files("outbox")),
        "watches": inotify_watches(daemon),
        "unavailable": daemon.told("route.unavailable"),
    }


def stale_attributes(bed: ShareBed) -> Facts:
    """Write, as somebody else, for longer than `settle`, while this kernel says that the file stands still."""
    bed.routes[0]["settle"] = "3s"
    there, here = bed.there / "inbox" / "grows.csv", bed.place("inbox") / "grows.csv"
    there.write_bytes(b"Input_1\n")
    wait(here.exists, "the client sees it")
    with open(there, "ab", buffering=0) as growing:
        for _ in range(40):
            growing.write(b"%d\n" % time.monotonic_ns())
            time.sleep(0.1)
        behind_bytes = there.stat().st_size - here.stat().st_size
        daemon = bed.start()
        started = time.monotonic()
        while since(started) < 20:
            growing.write(b"%d\n" % time.monotonic_ns())
            time.sleep(0.25)
    early = daemon.told("job.discovered")
    content = there.read_bytes()
    bed.expect(content)
    bed.wait_ended(1)
    return {"behind_bytes": behind_bytes, "early": early, "whole": bed.sent() == [hashlib.sha256(content).hexdigest()]}


def server_stopped_and_back(bed: ShareBed) -> Facts:
    """Stop the server under a route, and start it again."""
    bed.more["web"] = {"listen": "127.0.0.1:8787"}
    daemon = bed.start()
    bed.remote("before.csv", rows("before"))
    bed.wait_ended(1)
    beside = []

    def drop_beside(number: int) -> None:
        started = time.monotonic()
        bed.drop(f"{number}.csv", rows(f"beside {number}"), "more")
        daemon.wait_for("job.done", file=f"{number}.csv")
        beside.append(since(started))

    drop_beside(0)
    bed.server.stop()
    bed.remote("during.csv", rows("during"))
    for number in range(1, 4):
        drop_beside(number)
    told = daemon.wait_for("route.unavailable", within_s=HUNG_S, route="leads")
    for number in range(4, 7):
        drop_beside(number)
    status = bed.json("status")
    healthz = urllib.request.urlopen("http://127.0.0.1:8787/healthz", timeout=SOON_S).status
    while_hung = threads(daemon)
    bed.server.start()
    started = time.monotonic()
    daemon.wait_for("route.available", within_s=HUNG_S, route="leads")
    back_after_s = since(started)
    bed.wait_ended(9)
    return {
        "reason": told["reason"],
        "beside_s": beside,
        "beside_told": daemon.told("route.unavailable", route="more"),
        "state": status["state"],
        "problems": status["problems"],
        "healthz": healthz,
        "threads": while_hung,
        "back_after_s": back_after_s,
        "results": sorted(bed.files("outbox")),
        "state_after": bed.json("status")["state"],
        "withdrawn": daemon.told("job.withdrawn"),
    }


def result_while_away(bed: ShareBed) -> Facts:
    """Stop the server between the submit and its result."""
    bed.sandbox.plan(Fault(call="submit", delay_s=4))
    daemon = bed.start()
    bed.remote("a.csv", VENDOR_CSV)
    wait(lambda: bed.sandbox.accepted, "it is accepted", daemon=daemon)
    bed.server.stop()
    daemon.wait_for("task.submitted")
    bed.drop("beside.csv", rows("beside"), "more")
    daemon.wait_for("job.done", file="beside.csv")
    told = daemon.wait_for("route.unavailable", within_s=HUNG_S, route="leads")
    bed.server.start()
    bed.wait_ended(2, HUNG_S)
    return {
        "reason": told["reason"],
        "whole": bed.files("outbox") == {"a.csv": answer(VENDOR_CSV)},
        "archive": sorted(bed.files("archive")),
        "paid": len(bed.sent()),
        "failed": daemon.told("job.failed"),
    }


def hung_again_and_again(bed: ShareBed) -> Facts:
    """Stop and start the server many times: what is stuck each time must end each time."""
    daemon = bed.start()
    bed.remote("first.csv", rows("first"))
    bed.wait_ended(1)
    counted = []

    def has_hung(times: int) -> bool:
        return len(daemon.told("route.unavailable", route="leads")) >= times

    for number in range(CYCLES):
        bed.server.stop()
        bed.drop(f"{number}.csv", rows(f"beside {number}"), "more")
        bed.remote(f"{number}.csv", rows(f"cycle {number}"))
        wait(partial(has_hung, number + 1), f"it hangs for the {number + 1}. time", HUNG_S, daemon)
        while_hung = threads(daemon)
        bed.server.start()
        bed.wait_ended(3 + 2 * number, HUNG_S)
        counted.append({"hung": while_hung, "back": threads(daemon), "descriptors": descriptors(daemon)})
    return {"counted": counted, "results": len(bed.files("outbox"))}


def stopped_while_hung(bed: ShareBed) -> Facts:
    """Stop a daemon and start another one while the server is away."""
    daemon = bed.start()
    bed.remote("before.csv", rows("before"))
    bed.wait_ended(1)
    bed.server.stop()
    bed.remote("during.csv", rows("during"))
    time.sleep(2)  # every look at the share hangs by now
    started = time.monotonic()
    code = daemon.stop()
    stop_s = since(started)
    started = time.monotonic()
    daemon = bed.start()
    start_s = since(started)
    bed.drop("beside.csv", rows("beside"), "more")
    daemon.wait_for("job.done", file="beside.csv")
    bed.server.start()
    daemon.wait_for("job.done", file="during.csv", within_s=HUNG_S)
    return {"code": code, "stop_s": stop_s, "start_s": start_s, "results": sorted(bed.files("outbox"))}


def mounted_over_and_gone(bed: ShareBed) -> Facts:
    """Take the share from under a route, then put something over it; what stands there is nobody's."""
    leads = bed.folder / "leads"
    daemon = bed.start()
    bed.remote("a.csv", rows("a"))
    bed.wait_ended(1)
    does("umount", "-l", leads)
    gone = daemon.wait_for("route.unavailable", route="leads")["reason"]
    (leads / "inbox").mkdir()
    (leads / "inbox" / "trap.csv").write_bytes(rows("trap"))
    time.sleep(1.5)
    below = sorted(str(path.relative_to(leads)) for path in leads.rglob("*"))
    reason_below = bed.json("status")["problems"]
    with bed.mounted():
        wait(lambda: len(daemon.told("route.available", route="leads")) == 1, "it is back", daemon=daemon)
        bed.remote("b.csv", rows("b"))
        daemon.wait_for("job.done", file="b.csv")
        does("mount", "-t", "tmpfs", "none", leads)
        (leads / "inbox").mkdir()
        (leads / "inbox" / "trap.csv").write_bytes(rows("trap"))
        wait(lambda: len(daemon.told("route.unavailable", route="leads")) == 2, "it is told", daemon=daemon)
        time.sleep(1.5)
        over = sorted(str(path.relative_to(leads)) for path in leads.rglob("*"))
        reason_over = daemon.told("route.unavailable", route="leads")[1]["reason"]
        does("umount", leads)
        bed.remote("c.csv", rows("c"))
        daemon.wait_for("job.done", file="c.csv")
        results = sorted(bed.files("outbox"))
        bed.leave()
    bed.dropped.clear()  # the share is no longer seen; what is on it was counted just now
    return {
        "gone": gone,
        "below": below,
        "reason_below": reason_below,
        "over": over,
        "reason_over": reason_over,
        "results": results,
        "files": sorted({job["file"] for job in bed.jobs()}),
    }


def names_are_taken(bed: ShareBed, taken: Sequence[str], bad: Sequence[str]) -> Facts:
    """Have foreign files where a.csv, and the *bad* ones, would come to stand; *taken* are their paths in the route."""
    places = [bed.folder / "leads" / path for path in taken]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(FOREIGN + place.name.encode())
    bed.start()
    bed.remote("a.csv", VENDOR_CSV)
    for number, name in enumerate(bad):
        bed.remote(name, b"a,b\n%d\n" % number)
    jobs = bed.wait_ended(1 + len(bad))
    return {
        "kept": all(place.read_bytes() == FOREIGN + place.name.encode() for place in places),
        "states": {job["file"]: job["state"] for job in jobs},
        "counts": {role: len(bed.files(role)) for role in ("outbox", "archive", "error")},
    }


def settles_a_minute(bed: ShareBed) -> Facts:
    """Say nothing of `settle`."""
    del bed.routes[0]["settle"]
    daemon = bed.start()
    started = time.monotonic()
    bed.remote("a.csv", rows("a"))
    daemon.wait_for("job.discovered", file="a.csv")
    taken_after_s = since(started)
    bed.wait_ended(1)
    return {"taken_after_s": taken_after_s}


def state_on_the_share(bed: ShareBed) -> Facts:
    """Have the state on the share."""
    bed.more["state"] = {"path": "leads/state/state.db"}
    (bed.folder / "leads" / "state").mkdir()
    daemon = bed.start(is_ready=False)
    code = daemon.ended()
    told = daemon.tail()
    bed.more["state"] = {"path": "state/state.db"}
    return {"code": code, "told": told, "made": sorted(os.listdir(bed.folder / "leads" / "state"))}


def of_each_kind(options: str) -> tuple[Story, ...]:
    """Give the stories that are told of each kind of share, with these options of its mount."""
    stories = (
        server_stopped_and_back,
        result_while_away,
        hung_again_and_again,
        stopped_while_hung,
        mounted_over_and_gone,
        settles_a_minute,
        state_on_the_share,
    )
    return (*(Story(each, options) for each in stories), Story(stale_attributes, f"{options},actimeo=30"))
