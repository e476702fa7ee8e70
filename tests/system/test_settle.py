"""When is a file whole: what still grows is not taken, and what its owner takes back is let go."""

from __future__ import annotations

import os
import time
from datetime import datetime

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.system.bed import Bed
from tests.system.process import Daemon, wait


def taken_after_s(daemon: Daemon, file: str, since: float) -> float:
    """Wait until a file was taken; give how long after *since* (Unix seconds) its job was found."""
    line = daemon.wait_for("job.discovered", file=file)
    return datetime.fromisoformat(line["ts"]).timestamp() - since


@pytest.mark.fault("F22")
def test_a_file_that_grows_is_not_taken_before_it_is_quiet(bed: Bed) -> None:
    bed.route(settle="1s", scan_every="100ms")
    daemon = bed.start()
    path = bed.place("inbox") / "grows.csv"
    content = b"a\n"
    path.write_bytes(content)
    ends_at = time.monotonic() + 3
    with open(path, "ab", buffering=0) as growing:
        while time.monotonic() < ends_at:
            growing.write(b"1\n")
            content += b"1\n"
            time.sleep(0.2)
    quiet_since = time.time()
    assert not daemon.told("job.discovered")
    assert taken_after_s(daemon, "grows.csv", quiet_since) > 0.6
    bed.wait_ended(1)
    assert bed.files("outbox") == {"grows.csv": answer(content)}


def test_a_file_without_its_last_newline_waits_six_times_as_long(bed: Bed) -> None:
    bed.route(settle="500ms", scan_every="100ms")
    daemon = bed.start()
    (bed.place("inbox") / "cut.csv").write_bytes(b"a\n1")
    (bed.place("inbox") / "whole.csv").write_bytes(b"a\n1\n")
    since = time.time()
    whole_s = taken_after_s(daemon, "whole.csv", since)
    cut_s = taken_after_s(daemon, "cut.csv", since)
    assert 0.4 < whole_s < 2.5
    assert 2.9 < cut_s < 6
    bed.wait_ended(2)


@pytest.mark.fault("F25")
@pytest.mark.parametrize("stamp", [978307200, 4294967295], ids=["2001", "2106"])
def test_the_mtime_is_not_compared_with_the_clock(bed: Bed, stamp: int) -> None:
    bed.route(settle="300ms")
    path = bed.place("inbox") / "a.csv"
    path.write_bytes(b"a\n1\n")
    os.utime(path, (stamp, stamp))
    bed.start()
    bed.wait_ended(1)


def test_files_that_were_there_at_the_start_settle_too(bed: Bed) -> None:
    bed.route(settle="1s")
    bed.drop("old.csv")
    daemon = bed.start()
    since = time.time()
    assert taken_after_s(daemon, "old.csv", since) > 0.7
    bed.wait_ended(1)


def test_a_marked_file_is_taken_when_its_marker_comes(bed: Bed) -> None:
    bed.route(ready={"done_file": "{name}.done"})
    daemon = bed.start()
    inbox = bed.place("inbox")
    bed.drop("a.csv", b"a\n1\n")
    bed.drop("b.csv", b"a\n2\n")
    (inbox / "b.csv.done").write_bytes(b"")
    bed.wait_ended(1)
    time.sleep(0.6)
    assert bed.files("inbox").keys() == {"a.csv"}
    assert not daemon.told("job.discovered", file="a.csv")
    (inbox / "a.csv.done").write_bytes(b"")
    bed.wait_ended(2)
    assert bed.files("inbox") == {}
    assert bed.files("work").keys() == {"route.json"}
    assert bed.files("outbox").keys() == {"a.csv", "b.csv"}
    # The same name once more: its old marker must not count.
    bed.drop("a.csv", b"a\n3\n")
    time.sleep(0.6)
    assert bed.files("inbox").keys() == {"a.csv"}
    (inbox / "a.csv.done").write_bytes(b"")
    bed.wait_ended(3)


@pytest.mark.fault("F33")
def test_an_empty_file_is_refused_after_its_grace_only(bed: Bed) -> None:
    bed.route(empty_grace="1s", scan_every="100ms")
    daemon = bed.start()
    (bed.place("inbox") / "empty.csv").write_bytes(b"")
    (bed.place("inbox") / "filled.csv").write_bytes(b"")
    since = time.time()
    time.sleep(0.4)
    (bed.place("inbox") / "filled.csv").write_bytes(b"a\n1\n")
    assert taken_after_s(daemon, "empty.csv", since) > 0.9
    jobs = {job["file"]: job for job in bed.wait_ended(2)}
    assert (jobs["empty.csv"]["state"], jobs["empty.csv"]["code"]) == ("failed", "csv_empty")
    assert jobs["filled.csv"]["state"] == "done"
    assert bed.error("empty.csv")["bytes"] == 0


def test_a_file_that_its_owner_takes_back_is_withdrawn(bed: Bed) -> None:
    daemon = bed.start()
    bed.does("pause")
    sha256 = bed.drop("mine.csv", b"a\n1\n")
    bed.drop("changed.csv", b"a\n2\n")
    wait(lambda: len(daemon.told("job.discovered")) == 2, "both are found", daemon=daemon)
    time.sleep(0.5)
    assert bed.files("inbox").keys() == {"mine.csv", "changed.csv"}, "paused: nothing is claimed"
    assert {job["state"] for job in bed.jobs()} == {"waiting"}
    (bed.place("inbox") / "mine.csv").unlink()
    bed.gone[sha256] += 1
    with open(bed.place("inbox") / "changed.csv", "ab") as file:
        file.write(b"3\n")
    bed.gone.update(bed.dropped.keys() - {sha256})
    daemon.wait_for("job.withdrawn", file="mine.csv")
    bed.does("resume")
    wait(lambda: daemon.told("job.done"), "the changed one goes", daemon=daemon)
    states = [(job["file"], job["state"]) for job in bed.jobs()]
    assert ("mine.csv", "withdrawn") in states
    assert ("changed.csv", "done") in states
    assert bed.files("outbox") == {"changed.csv": answer(b"a\n2\n3\n")}


def test_a_file_that_replaces_another_is_the_one_that_is_taken(bed: Bed) -> None:
    bed.route(settle="1s", scan_every="100ms")
    daemon = bed.start()
    sha256 = bed.drop("a.csv", b"a\n1\n")
    time.sleep(0.5)
    bed.drop("a.csv", b"a\n2\n")
    bed.gone[sha256] += 1
    daemon.wait_for("job.done")
    assert bed.files("outbox") == {"a.csv": answer(b"a\n2\n")}
    assert len(bed.sandbox.accepted) == 1


def test_folders_within_are_taken_only_where_the_route_says_so(bed: Bed) -> None:
    bed.route()
    bed.route("deep", recursive=True)
    bed.drop("top.csv", b"a\n1\n")
    bed.drop("2026/11/day.csv", b"a\n2\n")
    bed.drop("2026/11/day.csv", b"a\n3\n", "deep")
    bed.drop("2026/12/day.csv", b"a\n4\n", "deep")
    bed.drop("2026/12/bad.csv", b"a,b\n4\n", "deep")
    bed.drop("top.csv", b"a\n5\n", "deep")
    bed.start()
    bed.wait_ended(5)
    assert bed.files("outbox").keys() == {"top.csv"}
    assert bed.files("inbox").keys() == {"2026/11/day.csv"}
    assert bed.files("outbox", "deep").keys() == {"2026/11/day.csv", "2026/12/day.csv", "top.csv"}
    assert bed.files("error", "deep").keys() == {"2026/12/bad.csv", "2026/12/bad.csv.error.json"}
    assert "2026/11/day.csv.receipt.json" in bed.files("archive", "deep")
    assert bed.receipt("2026/12/day.csv", "deep")["file"] == "2026/12/day.csv"
    assert (bed.place("inbox", "deep") / "2026" / "11").is_dir(), "the folders are theirs"
