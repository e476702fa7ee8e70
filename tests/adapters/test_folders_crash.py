"""
Die before and after every call that changes something; then repeat.

At the moment of death nothing may be lost or seen half; after the repeat everything must be as if nobody had died. A
second death, at every step of the repeat, must change nothing about that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from tests.adapters.beds import memory_disk, other_disk, put, stamp
from tests.adapters.kernels import FILE_SYSTEMS, Dying, Failing, Killed, deaths

CONTENT = b"a,b\n" + b"1,2\n" * 1000
OLD = b"old"
FOLDER = b"/"
WORK_NAME = "k3v9q0xw-orders.csv"
TAKEN = "k3v9q0xw.marker-orders.csv"
TEMP = ".k3v9q0xw-orders.csv.part"


@dataclass(frozen=True)
class Case:
    """
    Hold one call.

    Shape: *before* and *after* are all files, by their paths. *target* is the path that others watch: at any time it
        has its bytes of before or of after. Where the call *keeps* a file, its bytes are somewhere at any time.
    """

    before: Mapping[str, bytes]
    act: Callable[[LocalFolders, Path], object]
    after: Mapping[str, bytes]
    target: str
    keeps: bool = False


def claim(folders: LocalFolders, bed: Path) -> None:
    settled = stamp(next(path for path in (bed / "in/orders.csv", bed / "out" / WORK_NAME) if path.exists()))
    claimed = folders.claim(bed / "in", "orders.csv", bed / "out", WORK_NAME, settled, ("orders.csv.done", TAKEN))
    assert claimed == settled


def deliver(folders: LocalFolders, bed: Path) -> None:
    """Create, finish and publish, as after a download: what was finished is not fetched again."""
    outbox, is_fetched = bed / "out", bed / "in/fetched"
    if not is_fetched.exists():
        target = folders.create(outbox, TEMP, 0o640, None)
        with target:
            target.write(CONTENT)
            folders.finish(target, outbox)
        put(is_fetched, b"")
    folders.publish(outbox, TEMP, "orders.csv")


def make_folders(folders: LocalFolders, bed: Path) -> None:
    folders.make_work(bed / "out/work")
    folders.make_below(bed / "out", bed / "out/work/a/b")


CASES = {
    "claim": Case(
        {"in/orders.csv": CONTENT, "in/orders.csv.done": b""},
        claim,
        {f"out/{WORK_NAME}": CONTENT, f"out/{TAKEN}": b""},
        f"out/{WORK_NAME}",
        keeps=True,
    ),
    "unclaim_marker": Case(
        {f"out/{TAKEN}": CONTENT},
        lambda folders, bed: folders.unclaim_marker(bed / "in", "orders.csv.done", bed / "out", TAKEN),
        {"in/orders.csv.done": CONTENT},
        "in/orders.csv.done",
        keeps=True,
    ),
    "rename_in_work": Case(
        {"out/plain": CONTENT},
        lambda folders, bed: folders.rename_in_work(bed / "out", "plain", "sent"),
        {"out/sent": CONTENT},
        "out/sent",
        keeps=True,
    ),
    "deliver": Case({}, deliver, {"in/fetched": b"", "out/orders.csv": CONTENT}, "out/orders.csv"),
    "move": Case(
        {"in/orders.csv": CONTENT},
        lambda folders, bed: folders.move(bed / "in/orders.csv", bed / "out/moved.csv"),
        {"out/moved.csv": CONTENT},
        "out/moved.csv",
        keeps=True,
    ),
    "write_whole": Case(
        {},
        lambda folders, bed: folders.write_whole(bed / "out", "x.json", CONTENT, replace=False),
        {"out/x.json": CONTENT},
        "out/x.json",
    ),
    "write_whole, replacing": Case(
        {"out/x.json": OLD},
        lambda folders, bed: folders.write_whole(bed / "out", "x.json", CONTENT, replace=True),
        {"out/x.json": CONTENT},
        "out/x.json",
    ),
    "remove": Case({"out/x": OLD}, lambda folders, bed: folders.remove(bed / "out/x"), {}, "out/x"),
    "free_target": Case(
        {}, lambda folders, bed: folders.free_target(bed / "out", "a:b.csv", "k3v9q0xw", ()), {}, "out/x"
    ),
    "probe": Case({}, lambda folders, bed: folders.probe(bed / "out"), {}, "out/x"),
    "make_work, make_below": Case(
        {}, make_folders, {"out/work": FOLDER, "out/work/a": FOLDER, "out/work/a/b": FOLDER}, "out/x"
    ),
}


@contextmanager
def bed_of(case: Case, near: Path, far: Path | None) -> Iterator[Path]:
    """Give a folder with `in` and `out`; *far* is where `out` really lies."""
    with tempfile.TemporaryDirectory(dir=near) as folder, tempfile.TemporaryDirectory(dir=far or near) as other:
        bed = Path(folder)
        (bed / "in").mkdir()
        (bed / "out").symlink_to(other)
        for path, content in case.before.items():
            put(bed / path, content)
        yield bed


def files(bed: Path) -> dict[str, bytes]:
    found = {}
    for side in ("in", "out"):
        root = (bed / side).resolve()
        found.update({f"{side}/{path.relative_to(root)}": path for path in root.rglob("*")})
    return {name: path.read_bytes() if path.is_file() else FOLDER for name, path in found.items()}


def dies(case: Case, kernel: Dying, bed: Path) -> bool:
    """Act until the kernel dies, and look what is left."""
    try:
        case.act(LocalFolders(kernel), bed)
    except Killed:
        left = files(bed)
        assert left.get(case.target) in {case.before.get(case.target), case.after.get(case.target)}
        assert CONTENT in left.values() or not case.keeps
        return True
    assert files(bed) == case.after
    return False


def sweep(case: Case, errors: Mapping[str, int], near: Path, far: Path | None = None) -> int:
    """Die at every step, and once more at every step of the repeat; give the number of first deaths."""
    for number, first in enumerate(deaths()):
        for second in deaths():
            with bed_of(case, near, far) as bed:
                if not dies(case, Dying(errors, *first), bed):
                    return number
                dies_again = dies(case, Dying(errors, *second), bed)
                case.act(LocalFolders(Failing(errors)), bed)
                assert files(bed) == case.after, (first, second)
            if not dies_again:
                break
    raise AssertionError


@pytest.mark.fault("F1")
@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_death_at_any_step_is_made_good_by_a_repeat(case: Case, errors: Mapping[str, int]) -> None:
    with memory_disk() as disk:
        assert sweep(case, errors, disk) >= 4


@pytest.mark.fault("F35")
@pytest.mark.parametrize("errors", FILE_SYSTEMS.values(), ids=FILE_SYSTEMS)
def test_a_death_between_two_file_systems_is_made_good_too(tmp_path: Path, errors: Mapping[str, int]) -> None:
    with other_disk(tmp_path) as disk:
        assert sweep(CASES["move"], errors, disk, tmp_path) >= 20
