"""The soak can fail: each of its checks finds what it is there for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import answer
from tests.soak import droppers, measuring
from tests.soak.bed import Soak, content_of
from tests.soak.watching import Watch

INPUT = content_of(1, 2)


@pytest.fixture
def bed(tmp_path: Path) -> Soak:
    bed = Soak(tmp_path, 0)
    for route in bed.routes:
        for role in ("outbox", "error", "archive", "inbox/.bulkgpt-watchd"):
            bed.place(route, role).mkdir()
    bed.log_file.write_bytes(b"")
    bed.expect(1, 2, "leads")
    droppers.put(bed, "leads", "1.csv", INPUT)
    return bed


def accepted(bed: Soak, *task_ids: str) -> None:
    sha256 = next(iter(bed.expected))
    records = [{"accepted": True, "sha256": sha256, "task_id": each, "fault": "", "rows": 2} for each in task_ids]
    bed.ledger_file.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def test_what_is_right_passes(bed: Soak) -> None:
    (bed.place("leads", "outbox") / "1.csv").write_bytes(answer(INPUT))
    accepted(bed, "a")
    Watch(bed).check(is_still=True)


def test_a_lost_file_is_found(bed: Soak) -> None:
    (bed.place("leads", "inbox") / "1.csv").unlink()
    with pytest.raises(AssertionError, match="dropped 1 times, stands at \\[\\]"):
        Watch(bed).check(is_still=True)


def test_a_file_in_two_places_is_found(bed: Soak) -> None:
    (bed.place("leads", "archive") / "1.csv").write_bytes(INPUT)
    with pytest.raises(AssertionError, match=r"archive/1\.csv"):
        Watch(bed).check(is_still=False)


def test_a_half_file_that_was_taken_is_found(bed: Soak) -> None:
    (bed.place("orders", "inbox/.bulkgpt-watchd") / "job-2.csv").write_bytes(INPUT[:20])
    with pytest.raises(AssertionError, match="dropped 0 times"):
        Watch(bed).check(is_still=True)


def test_a_torn_result_is_found(bed: Soak) -> None:
    (bed.place("leads", "outbox") / "1.csv").write_bytes(answer(INPUT)[:-3])
    with pytest.raises(AssertionError, match="no whole result"):
        Watch(bed).check(is_still=True)


def test_a_second_payment_is_found_unless_a_person_allowed_it(bed: Soak) -> None:
    accepted(bed, "a", "b")
    watch = Watch(bed)
    with pytest.raises(AssertionError, match="accepted, allowed besides"):
        watch.check(is_still=True)
    watch.allowed[next(iter(bed.expected))] += 1
    watch.check(is_still=True)


def test_a_bug_in_the_log_is_found(bed: Soak) -> None:
    bed.log_file.write_bytes(b'{"event":"daemon.bug"}\n')
    with pytest.raises(AssertionError, match=r"daemon\.bug"):
        Watch(bed).check(is_still=True)


@pytest.mark.parametrize(("what", "each_second"), [("memory_mb", 0.03), ("threads", 1 / 60), ("descriptors", 1 / 60)])
def test_what_leaks_is_told_from_what_is_flat(what: str, each_second: float) -> None:
    """What allocators settle and a kilobyte for each of twenty requests a second; a thread or a descriptor a minute."""
    flat = {"memory_mb": 60.0, "threads": 27, "descriptors": 30}
    leaky = [measuring.Sample(**{**flat, what: flat[what] + at_s * each_second}) for at_s in range(500)]  # type: ignore[arg-type]  # mixed kinds of numbers
    assert measuring.growth(leaky).keys() == {what}
    assert measuring.growth([measuring.Sample(60.0, 27, 30)] * 500) == {}
