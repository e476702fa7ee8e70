"""The same again: a backlog at the first start, the same bytes, the same names, and files moved back from error."""

from __future__ import annotations

import stat
import time

import pytest

from bulkgpt_watchd.sandbox import Fault, answer
from tests.system.bed import VENDOR_CSV, Bed
from tests.system.process import wait

# --- a backlog --------------------------------------------------------------------------------------------------------


def test_a_backlog_at_the_first_start_waits_for_a_person(bed: Bed) -> None:
    bed.route(hold_backlog=5)
    bed.route("more", hold_backlog=5)
    size = 0
    for number in range(6):
        content = b"a\n%d\n%d\n" % (number, number)
        size += len(content)
        bed.drop(f"{number}.csv", content)
    bed.drop("few.csv", b"a\nfew\n", "more")
    daemon = bed.start()
    told = daemon.wait_for("route.paused")
    assert told["route"] == "leads"
    assert "6 files (12 rows" in told["reason"]
    assert f"{size} bytes" in told["reason"]
    assert "`bulkgpt-watchd resume`" in told["reason"]
    bed.wait_ended(1)
    time.sleep(0.5)
    assert len(bed.files("inbox")) == 6
    [leads, _] = bed.json("status")["routes"]
    assert leads["paused"]
    assert "6 files" in leads["pause"]["reason"]
    assert "PAUSED" in bed.does("status")
    assert daemon.stop() == 0
    again = bed.start()
    time.sleep(0.5)
    assert len(bed.files("inbox")) == 6, "a restart does not end it"
    bed.does("resume", "leads")
    bed.wait_ended(7)

    # A second start is none: whatever waits is taken.
    assert again.stop() == 0
    for number in range(10, 20):
        bed.drop(f"{number}.csv", b"a\n%d\n" % number)
    last = bed.start()
    bed.wait_ended(17)
    assert not last.told("route.paused")


# --- the same bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.fault("F26", "S10")
def test_the_same_bytes_within_the_window_are_refused_and_name_the_result(bed: Bed) -> None:
    bed.start()
    sha256 = bed.drop("first.csv")
    [first] = bed.wait_ended(1)
    bed.drop("second.csv")
    [_, second] = bed.wait_ended(2)
    assert (second["state"], second["code"], second["other_job"]) == ("failed", "duplicate", first["job"])
    why = bed.error("second.csv")
    assert first["job"] in why["message"]
    assert first["result"] in why["message"]
    assert f"redeliver {first['job']}" in why["what_to_do"]
    assert f"retry {second['job']} --pay-again" in why["what_to_do"]
    assert len(bed.sandbox.accepted) == 1
    # Other bytes, or the same on another route, are no duplicate.
    bed.does("retry", second["job"], "--pay-again")
    bed.paid_twice.add(sha256)
    bed.wait_ended(3)
    assert bed.files("outbox").keys() == {"first.csv", "second.csv"}
    assert bed.files("error") == {}


@pytest.mark.fault("F26")
def test_of_twins_that_come_together_one_is_paid(bed: Bed) -> None:
    for number in range(4):
        bed.drop(f"{number}.csv")
    bed.start()
    jobs = bed.wait_ended(4)
    assert sorted(job["code"] or "" for job in jobs) == ["", "duplicate", "duplicate", "duplicate"]
    assert len(bed.sandbox.accepted) == 1


def test_the_same_bytes_on_another_route_or_with_submit_are_paid(bed: Bed) -> None:
    bed.route()
    bed.route("more")
    bed.route("often", duplicates="submit")
    bed.start()
    bed.paid_twice.add(bed.drop("a.csv"))
    bed.wait_ended(1)
    bed.drop("a.csv", VENDOR_CSV, "more")
    bed.drop("a.csv", VENDOR_CSV, "often")
    bed.wait_ended(3)
    bed.drop("b.csv", VENDOR_CSV, "often")
    jobs = bed.wait_ended(4)
    assert {job["state"] for job in jobs} == {"done"}
    assert len(bed.sandbox.accepted) == 4


@pytest.mark.fault("F26")
def test_after_the_window_the_same_bytes_are_a_new_order(bed: Bed) -> None:
    bed.route(duplicate_window="1s")
    bed.start()
    bed.paid_twice.add(bed.drop("a.csv"))
    bed.wait_ended(1)
    time.sleep(1.2)
    bed.drop("b.csv")
    jobs = bed.wait_ended(2)
    assert [job["state"] for job in jobs] == ["done", "done"]


@pytest.mark.parametrize("end", ["error", "canceled"])
def test_what_ended_in_error_at_bulkgpt_may_simply_be_dropped_again(bed: Bed, end: str) -> None:
    bed.sandbox.plan(Fault(call="submit", task_end=end))
    bed.start()
    bed.paid_twice.add(bed.drop("a.csv"))
    bed.wait_ended(1)
    bed.drop("a.csv")
    jobs = bed.wait_ended(2)
    assert jobs[-1]["state"] == "done"


# --- back from error --------------------------------------------------------------------------------------------------


def move_back(bed: Bed, name: str) -> None:
    (bed.place("error") / name).rename(bed.place("inbox") / name)


def test_a_refused_file_moved_back_supersedes_its_job_and_its_sidecar_goes(bed: Bed) -> None:
    bed.sandbox.plan(Fault(call="submit", error="Invalid workflow ID.", http_status=400))
    bed.start()
    bed.drop("a.csv")
    [old] = bed.wait_ended(1)
    move_back(bed, "a.csv")
    [_, new] = bed.wait_ended(2)
    assert new["state"] == "done"
    assert bed.files("error") == {}
    assert bed.json("jobs", "show", old["job"])["superseded_by"] == new["job"]
    assert bed.command("retry", old["job"]).returncode == 77


def test_a_corrected_file_moved_back_is_a_fresh_job(bed: Bed) -> None:
    bed.start()
    bad = bed.drop("a.csv", b"a,b\n1\n")
    bed.wait_ended(1)
    bed.gone[bad] += 1
    (bed.place("error") / "a.csv").unlink()
    bed.drop("a.csv", b"a,b\n1,2\n")
    jobs = bed.wait_ended(2)
    assert jobs[-1]["state"] == "done"
    assert bed.files("outbox") == {"a.csv": answer(b"a,b\n1,2\n")}


@pytest.mark.parametrize("doubt", [True, False])
def test_a_doubt_or_a_paid_file_moved_back_is_refused_as_duplicate(bed: Bed, doubt: bool) -> None:
    if doubt:
        bed.sandbox.plan(Fault(call="submit", reset=True, accept=True))
        word = "resolve"
    else:
        bed.sandbox.plan(Fault(call="submit", task_end="never"))
        bed.route(task_timeout="500ms")
        word = "redeliver"
    bed.start()
    bed.drop("a.csv")
    [old] = bed.wait_ended(1)
    move_back(bed, "a.csv")
    [_, new] = bed.wait_ended(2)
    assert (new["state"], new["code"], new["other_job"]) == ("failed", "duplicate", old["job"])
    why = bed.error("a-" + new["job"] + ".csv" if (bed.place("error") / f"a-{new['job']}.csv").exists() else "a.csv")
    assert why["job"] == new["job"]
    assert word in why["message"] + why["what_to_do"]
    assert old["job"] in why["message"] + why["what_to_do"]
    assert len(bed.sandbox.accepted) == 1


# --- the same name ----------------------------------------------------------------------------------------------------


def test_names_never_overwrite(bed: Bed) -> None:
    bed.start()
    good = [b"a,b\n%d,2\n" % number for number in range(3)]
    bad = [b"a,b\n%d\n" % number for number in range(3)]
    foreign = {"outbox": b"somebody's", "archive": b"else's", "error": b"file"}
    for role, content in foreign.items():
        bed.place(role).mkdir(exist_ok=True)
        (bed.place(role) / "other.csv").write_bytes(content)
    for number in range(3):
        bed.drop("good.csv", good[number])
        bed.drop("bad.csv", bad[number])
        bed.drop("other.csv", good[number] + b"7,7\n")
        bed.wait_ended(3 * number + 3)
    bed.drop("other.csv", b"a,b\n9\n")
    jobs = bed.wait_ended(10)
    ids = {name: [job["job"] for job in jobs if job["file"] == name] for name in ("good.csv", "bad.csv", "other.csv")}
    want = {f"good-{job}.csv" for job in ids["good.csv"][1:]} | {"good.csv", "other.csv"}
    want |= {f"other-{job}.csv" for job in ids["other.csv"][:3]}
    outbox, archive, error = bed.files("outbox"), bed.files("archive"), bed.files("error")
    assert outbox.keys() == want
    assert archive.keys() == want | {f"{name}.receipt.json" for name in want - {"other.csv"}}
    names = {"bad.csv", *(f"bad-{job}.csv" for job in ids["bad.csv"][1:]), f"other-{ids['other.csv'][3]}.csv"}
    assert error.keys() == names | {f"{name}.error.json" for name in names} | {"other.csv"}
    for role, content in foreign.items():
        assert (bed.place(role) / "other.csv").read_bytes() == content
    assert sorted(content for name, content in outbox.items() if name.startswith("good")) == sorted(map(answer, good))
    for job in jobs:
        if job["state"] == "done":
            assert job["result"] is not None
            name = job["result"].rpartition("/")[2]
            assert bed.receipt(job["archive"].rpartition("/")[2])["result"] == name


def test_an_old_receipt_or_reason_counts_as_a_taken_name(bed: Bed) -> None:
    for role, suffix in (("archive", "receipt"), ("error", "error")):
        bed.route() if not bed.routes else None
        bed.place(role).mkdir(parents=True, exist_ok=True)
        (bed.place(role) / f"a.csv.{suffix}.json").write_bytes(b"{}")
    bed.start()
    bed.drop("a.csv", b"a,b\n1,2\n")
    [good] = bed.wait_ended(1)
    bed.drop("a.csv", b"a,b\n1\n")
    [_, bad] = bed.wait_ended(2)
    assert bed.files("archive").keys() == {"a.csv.receipt.json"} | {
        f"a-{good['job']}.csv",
        f"a-{good['job']}.csv.receipt.json",
    }
    assert bed.files("error").keys() == {"a.csv.error.json"} | {
        f"a-{bad['job']}.csv",
        f"a-{bad['job']}.csv.error.json",
    }


# --- how a result is handed over --------------------------------------------------------------------------------------


def test_a_result_is_handed_over_as_the_route_says(bed: Bed) -> None:
    bed.route(
        result={"name": "{stem}.result{suffix}", "done_file": "{name}.ok", "mode": "0640"},
        on_success="delete",
    )
    bed.start()
    sha256 = bed.drop("a.csv")
    bed.gone[sha256] += 1
    [job] = bed.wait_ended(1)
    assert bed.files("outbox") == {"a.result.csv": answer(VENDOR_CSV), "a.result.csv.ok": b""}
    assert stat.S_IMODE((bed.place("outbox") / "a.result.csv").stat().st_mode) == 0o640
    assert bed.files("archive").keys() == {"a.csv.receipt.json"}
    receipt = bed.receipt("a.csv")
    assert (receipt["result"], receipt["sha256"]) == ("a.result.csv", sha256)
    assert "source_lost" not in receipt
    assert job["result"] == str(bed.place("outbox") / "a.result.csv")
    bed.drop("a.csv", b"a\n1\n")
    [_, second] = bed.wait_ended(2)
    bed.gone.update({bed.sandbox.accepted[1].sha256 or "": 1})
    name = f"a.result-{second['job']}.csv"
    assert bed.files("outbox").keys() == {"a.result.csv", "a.result.csv.ok", name, f"{name}.ok"}


def test_a_result_never_shows_under_its_name_before_it_is_whole(bed: Bed) -> None:
    """Somebody who looks all the time sees dot-names only until it is complete."""
    bed.sandbox.plan(Fault(call="download", transfer="dripping", bytes_per_s=600))
    bed.drop("a.csv")
    daemon = bed.start()
    seen: set[str] = set()

    def look() -> bool:
        for name, content in bed.files("outbox").items():
            seen.add(name)
            if not name.startswith("."):
                assert content == answer(VENDOR_CSV)
        return bool(daemon.told("job.done"))

    wait(look, "it is delivered", daemon=daemon)
    assert len(seen) == 2
    assert bed.files("outbox").keys() == {"a.csv"}
