"""`run --dry-run`: what it foresees is what a start does, and it touches nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bulkgpt_watchd.core.job import State
from tests.cli.conftest import Bed, submitted
from tests.cli.live import live
from tests.sample_jobs import sample_job

GOOD = "a,b\n1,2\n3,4\n"


def drop(bed: Bed, name: str, content: str = GOOD, at: int = 0) -> None:
    path = bed.inbox / name
    path.write_text(content)
    os.utime(path, (at, at))


def foresee(bed: Bed, *, code: int) -> dict[str, Any]:
    ran = bed.cli("run", "--dry-run", "--json")
    assert ran.exit_code == code, ran.output
    return dict(json.loads(ran.stdout))


def verdicts(content: dict[str, Any]) -> dict[str, str]:
    return {file["file"]: file["verdict"] for route in content["routes"] for file in route["files"]}


def file_of(content: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (file for route in content["routes"] for file in route["files"] if file["file"] == name)
    return dict(found)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def configure(bed: Bed, **keys: str) -> None:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    bed.config.write_text(bed.config.read_text().replace(", settle: 0", more))


def test_each_file_is_foreseen_with_its_rows_and_nothing_is_touched(bed: Bed) -> None:
    drop(bed, "good.csv", at=1)
    drop(bed, "same.csv", at=2)
    drop(bed, "bad.csv", "a,b\n1\n")
    drop(bed, "empty.csv", "")
    (bed.inbox / "link.csv").symlink_to("/etc/passwd")
    drop(bed, "other.txt")
    before = tree(bed.folder)

    content = foresee(bed, code=1)

    assert tree(bed.folder) == before
    assert verdicts(content) == {
        "good.csv": "taken",
        "same.csv": "refused",
        "bad.csv": "refused",
        "empty.csv": "waits",
        "link.csv": "ignored",
    }
    assert (file_of(content, "good.csv")["rows"], file_of(content, "same.csv")["code"]) == (2, "duplicate")
    bad = file_of(content, "bad.csv")
    assert (bad["code"], bad["line"]) == ("csv_invalid", 2)
    assert "1 column, but the header has 2" in bad["why"]
    assert content["totals"]["taken"] == {"files": 1, "rows": 2}
    text = bed.cli("run", "--dry-run").stdout
    assert "1 file with 2 rows to pay would be taken, 1 file would wait, 2 files would be refused" in text


def test_what_is_fine_ends_with_0(bed: Bed) -> None:
    drop(bed, "good.csv")
    assert verdicts(foresee(bed, code=0)) == {"good.csv": "taken"}


def test_that_one_look_cannot_tell_quiet_is_said_with_the_time(bed: Bed) -> None:
    configure(bed)
    drop(bed, "ended.csv")
    drop(bed, "open.csv", "a\n1")
    content = foresee(bed, code=0)

    assert file_of(content, "ended.csv")["why"] == "once it was quiet for 10s, which one look cannot tell"
    assert "quiet for 1m" in file_of(content, "open.csv")["why"]


def test_a_file_whose_marker_is_missing_waits_for_it(bed: Bed) -> None:
    configure(bed, ready='{done_file: "{name}.done"}')
    drop(bed, "a.csv")
    drop(bed, "b.csv", "c\n1\n")
    (bed.inbox / "b.csv.done").touch()
    content = foresee(bed, code=0)

    assert verdicts(content) == {"a.csv": "waits", "b.csv": "taken"}
    assert "a.csv.done" in file_of(content, "a.csv")["why"]


def test_a_backlog_that_would_be_held_is_told_with_its_rows(bed: Bed) -> None:
    configure(bed, settle="0", hold_backlog="1")
    drop(bed, "a.csv")
    drop(bed, "b.csv", "c\n1\n")
    content = foresee(bed, code=0)

    assert set(verdicts(content).values()) == {"waits"}
    assert content["totals"]["waits"] == {"files": 2, "rows": 3}
    assert "hold_backlog" in content["routes"][0]["held"]
    assert "resume leads" in bed.cli("run", "--dry-run").stdout


def test_a_disk_with_too_little_room_holds_the_files(bed: Bed) -> None:
    configure(bed, settle="0", min_free="900000TB")
    for folder in ("leads/outbox", "leads/inbox/.bulkgpt-watchd"):
        (bed.folder / folder).mkdir()
    drop(bed, "a.csv")
    content = foresee(bed, code=0)

    assert file_of(content, "a.csv")["verdict"] == "waits"
    assert "min_free" in file_of(content, "a.csv")["why"]


def test_a_missing_inbox_is_told_and_not_made(bed: Bed) -> None:
    bed.inbox.rename(bed.folder / "away")
    content = foresee(bed, code=1)

    assert "is missing" in content["routes"][0]["reason"]
    assert not bed.inbox.exists()
    assert "cannot be used" in bed.cli("run", "--dry-run").stdout


def test_a_work_folder_of_another_state_is_told(bed: Bed) -> None:
    work = bed.inbox / ".bulkgpt-watchd"
    work.mkdir()
    (work / "route.json").write_text('{"state": "other", "route": "leads"}')
    assert "belongs to another daemon" in foresee(bed, code=1)["routes"][0]["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
def test_who_is_not_the_daemon_is_not_told_to_take_rights_on_its_work(of_nobody: Bed) -> None:
    (of_nobody.inbox / ".bulkgpt-watchd").mkdir(mode=0o700)
    drop(of_nobody, "a.csv")
    for path in (of_nobody.config, of_nobody.folder / "key"):
        os.chown(path, 65534, 65534)
    foresee(of_nobody, code=0)  # so that all is imported: Python itself may be closed to others
    os.seteuid(65534)
    try:
        content = foresee(of_nobody, code=0)
    finally:
        os.seteuid(0)

    assert verdicts(content) == {"a.csv": "taken"}
    why = f"only the daemon's user may look into {of_nobody.inbox}/.bulkgpt-watchd"
    assert content["routes"][0]["notes"] == [f"whose work folder it is cannot be told: {why}"]


def test_what_was_paid_before_is_a_duplicate_and_a_pause_holds(bed: Bed) -> None:
    import hashlib
    import time

    sha256 = hashlib.sha256(GOOD.encode()).hexdigest()
    done = sample_job("aaaaaaaa", state=State.DONE, sha256=sha256, workflow_id="w", ended_at=time.time(), due_at=None)
    pause = {"reason": "month end", "since": 0.0, "until": None}
    bed.remember(done, facts={"pauses": {"leads": pause}, "routes": {"leads": {"inbox": str(bed.inbox)}}})
    drop(bed, "again.csv")
    drop(bed, "new.csv", "a\n1\n")
    content = foresee(bed, code=1)

    assert "aaaaaaaa" in file_of(content, "again.csv")["why"]
    assert (file_of(content, "new.csv")["verdict"], file_of(content, "new.csv")["why"]) == (
        "waits",
        "paused: month end",
    )


def test_a_state_that_cannot_be_used_is_told_and_the_files_are_seen_all_the_same(bed: Bed) -> None:
    bed.state.write_text("something else, and long enough to be read\n" * 100)
    drop(bed, "a.csv")
    content = foresee(bed, code=0)

    assert verdicts(content) == {"a.csv": "taken"}
    assert "the state cannot be read" in content["routes"][0]["notes"][0]


@pytest.mark.parametrize("others", [("--once",), ("--once", "--json"), ("--timeout", "1s")])
def test_it_goes_alone(bed: Bed, others: tuple[str, ...]) -> None:
    assert bed.cli("run", "--dry-run", *others).exit_code == 2
    assert bed.cli("run", "--json").exit_code == 2


async def test_it_looks_beside_a_daemon_that_runs(bed: Bed) -> None:
    async with live(bed) as running:
        await running.cli("pause")
        running.drop("one.csv", "1", "2")
        content = await running.json("run", "--dry-run")
        assert file_of(content, "one.csv")["verdict"] == "waits"
        assert content["totals"]["waits"] == {"files": 1, "rows": 2}
        await running.cli("resume")
        await running.until("one.csv", lambda row: row["state"] == "done")


def test_a_budget_is_spent_file_by_file_and_what_does_not_fit_waits(bed: Bed) -> None:
    configure(bed, settle="0", budget="{rows_per_day: 3}")
    for at, (name, rows) in enumerate({"a.csv": 2, "b.csv": 2, "c.csv": 1, "d.csv": 4}.items(), 1):
        drop(bed, name, "\n".join([name, *map(str, range(rows)), ""]), at=at)
    content = foresee(bed, code=0)

    assert verdicts(content) == {"a.csv": "taken", "b.csv": "waits", "c.csv": "taken", "d.csv": "waits"}
    assert content["totals"]["taken"] == {"files": 2, "rows": 3}
    assert "does not fit into the rest of it" in file_of(content, "b.csv")["why"]
    assert "this file has 4: no day is enough for it" in file_of(content, "d.csv")["why"]
    assert content["routes"][0]["held"] is None


def test_a_budget_of_all_routes_counts_over_all_of_them(bed: Bed) -> None:
    (bed.folder / "more/inbox").mkdir(parents=True)
    (bed.folder / "more/inbox/b.csv").write_text(GOOD)
    drop(bed, "a.csv")
    bed.config.write_text(
        bed.config.read_text()
        + "  - {name: more, workflow_id: w, folder: more, settle: 0}\nbudget: {rows_per_day: 3}\n"
    )
    content = foresee(bed, code=0)

    assert verdicts(content) == {"a.csv": "taken", "b.csv": "waits"}
    assert "all routes together may send 3 rows a day" in file_of(content, "b.csv")["why"]


def test_a_used_up_budget_is_named_unless_a_person_let_it_go(bed: Bed) -> None:
    import time

    from bulkgpt_watchd.core.ledger import day_of

    now = time.time()
    configure(bed, settle="0", budget="{rows_per_day: 5}")
    drop(bed, "a.csv")
    first, *changes = submitted("aaaaaaaa", now, 5)
    bed.remember(first.old, changes=[first, *changes])
    content = foresee(bed, code=0)

    assert verdicts(content) == {"a.csv": "waits"}
    held = content["routes"][0]["held"]
    assert held.startswith("over budget: route leads may send 5 rows a day, and 5 were sent; goes on at ")
    assert held.endswith(", or `bulkgpt-watchd resume leads --over-budget`")

    bed.remember(facts={"budget": {"lifted": {"leads": day_of(now)}}})
    assert verdicts(foresee(bed, code=0)) == {"a.csv": "taken"}
