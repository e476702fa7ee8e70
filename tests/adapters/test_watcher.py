from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters import watcher
from bulkgpt_watchd.adapters.watcher import Doorbell
from tests.adapters.loopback import until


class Rings(list[str]):
    """Collect rings, and the thread that they came in."""

    def __call__(self, route: str) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.append(route)


@pytest.fixture
async def rings() -> Rings:
    return Rings()


@pytest.fixture
async def doorbell(rings: Rings) -> AsyncIterator[Doorbell]:
    doorbell = Doorbell(rings)
    yield doorbell
    await asyncio.to_thread(doorbell.stop)
    assert not [thread for thread in threading.enumerate() if "Inotify" in type(thread).__name__]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


async def assert_rung(rings: Rings) -> None:
    """Wait for a ring, and for those that belong to it."""
    await until(lambda: bool(rings))
    assert rings
    await asyncio.sleep(0.05)
    rings.clear()


async def assert_silence(rings: Rings) -> None:
    await asyncio.sleep(0.1)
    assert rings == []


async def test_a_file_that_comes_rings(doorbell: Doorbell, rings: Rings, inbox: Path, tmp_path: Path) -> None:
    assert doorbell.watch("leads", str(inbox), is_recursive=False) is None

    (inbox / "written.csv").write_bytes(b"a\n")
    await assert_rung(rings)
    (tmp_path / "elsewhere").write_bytes(b"a\n")
    (tmp_path / "elsewhere").rename(inbox / "moved.csv")
    await assert_rung(rings)
    (inbox / "written.csv").rename(inbox / "renamed.csv")
    await assert_rung(rings)
    (inbox / os.fsdecode(b"kunden_\xe4\n.csv")).write_bytes(b"a\n")
    await assert_rung(rings)


async def test_what_we_do_ourselves_rings_not(doorbell: Doorbell, rings: Rings, inbox: Path) -> None:
    """A claim is a move into our own hidden folder; a ring for each would be a scan for each."""
    work = inbox / ".bulkgpt-watchd"
    work.mkdir()
    (inbox / "orders.csv").write_bytes(b"a\n")
    doorbell.watch("leads", str(inbox), is_recursive=True)

    (inbox / "orders.csv").rename(work / "h3k9p2mv-orders.csv")
    (work / "h3k9p2mv-orders.csv").rename(work / "h3k9p2mv.sent-orders.csv")
    (inbox / ".hidden.csv").write_bytes(b"a\n")
    (work / "h3k9p2mv.sent-orders.csv").unlink()
    await assert_silence(rings)

    (inbox / "next.csv").write_bytes(b"a\n")
    await assert_rung(rings)


async def test_a_claim_holds_no_later_ring_back(doorbell: Doorbell, rings: Rings, inbox: Path, tmp_path: Path) -> None:
    """As it comes, the library waits half a second for the other half of the move."""
    (inbox / "orders.csv").write_bytes(b"a\n")
    doorbell.watch("leads", str(inbox), is_recursive=False)
    loop = asyncio.get_running_loop()

    (inbox / "orders.csv").rename(tmp_path / "orders.csv")
    (inbox / "next.csv").write_bytes(b"a\n")
    started = loop.time()
    await until(lambda: bool(rings))

    assert loop.time() - started < 0.3


async def test_many_events_at_once_are_few_rings(doorbell: Doorbell, rings: Rings, inbox: Path) -> None:
    doorbell.watch("leads", str(inbox), is_recursive=False)
    for number in range(500):
        (inbox / f"{number}.csv").write_bytes(b"a\n")
    await assert_rung(rings)

    (inbox / "last.csv").write_bytes(b"a\n")
    await until(lambda: bool(rings))
    assert len(rings) < 10


async def test_only_the_route_whose_folder_changed_rings(doorbell: Doorbell, rings: Rings, tmp_path: Path) -> None:
    for route in ("leads", "orders"):
        (tmp_path / route).mkdir()
        doorbell.watch(route, str(tmp_path / route), is_recursive=False)

    (tmp_path / "orders" / "a.csv").write_bytes(b"a\n")
    await until(lambda: bool(rings))
    assert set(rings) == {"orders"}


@pytest.mark.parametrize("is_recursive", [True, False])
async def test_folders_below_ring_where_they_are_meant(
    doorbell: Doorbell, rings: Rings, inbox: Path, *, is_recursive: bool
) -> None:
    (inbox / "old").mkdir()
    doorbell.watch("leads", str(inbox), is_recursive=is_recursive)
    (inbox / "old" / "a.csv").write_bytes(b"a\n")
    if not is_recursive:
        await assert_silence(rings)
        (inbox / "a.csv").write_bytes(b"a\n")
        await assert_rung(rings)
        return

    await assert_rung(rings)
    (inbox / "new").mkdir()
    await assert_rung(rings)
    (inbox / "new" / "b.csv").write_bytes(b"a\n")
    await assert_rung(rings)
    (inbox / "new").rename(inbox / "newer")
    await assert_rung(rings)
    (inbox / "newer" / "c.csv").write_bytes(b"a\n")
    await assert_rung(rings)


async def test_a_folder_that_is_a_link_is_watched(
    doorbell: Doorbell, rings: Rings, inbox: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(inbox)
    doorbell.watch("leads", str(tmp_path / "link"), is_recursive=False)
    (inbox / "a.csv").write_bytes(b"a\n")
    await assert_rung(rings)


@pytest.mark.fault("F43")
async def test_a_folder_that_was_replaced_rings_again_once_it_is_armed_anew(
    doorbell: Doorbell, rings: Rings, inbox: Path
) -> None:
    doorbell.watch("leads", str(inbox), is_recursive=False)
    inbox.rmdir()
    await assert_rung(rings)
    inbox.mkdir()
    (inbox / "unseen.csv").write_bytes(b"a\n")
    await assert_silence(rings)

    assert doorbell.watch("leads", str(inbox), is_recursive=False) is None
    (inbox / "seen.csv").write_bytes(b"a\n")
    await assert_rung(rings)


async def test_a_route_that_is_not_watched_any_more_rings_not(doorbell: Doorbell, rings: Rings, inbox: Path) -> None:
    doorbell.watch("leads", str(inbox), is_recursive=False)
    (inbox / "a.csv").write_bytes(b"a\n")
    await assert_rung(rings)
    doorbell.unwatch("leads")
    doorbell.unwatch("never")
    (inbox / "b.csv").write_bytes(b"a\n")
    await assert_silence(rings)


async def test_a_folder_that_cannot_be_watched_says_why(doorbell: Doorbell, rings: Rings, inbox: Path) -> None:
    assert doorbell.watch("leads", str(inbox / "none"), is_recursive=False) == "No such file or directory"

    assert doorbell.watch("leads", str(inbox), is_recursive=False) is None
    (inbox / "a.csv").write_bytes(b"a\n")
    await assert_rung(rings)


@pytest.mark.fault("F43")
async def test_a_limit_of_the_kernel_is_named(doorbell: Doorbell, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(watcher, "InotifyObserver", no_more)
    reason = doorbell.watch("leads", str(inbox), is_recursive=False)
    assert reason is not None
    assert "fs.inotify.max_user_instances" in reason


@pytest.mark.fault("F43")
async def test_a_warning_of_the_library_rings_for_all(doorbell: Doorbell, rings: Rings, tmp_path: Path) -> None:
    """It is how an overflow is told, and all that is told of it."""
    for route in ("leads", "orders"):
        (tmp_path / route).mkdir()
        doorbell.watch(route, str(tmp_path / route), is_recursive=False)

    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    await until(lambda: len(rings) == 2)
    assert set(rings) == {"leads", "orders"}


async def test_a_stopped_bell_is_silent(rings: Rings, inbox: Path) -> None:
    doorbell = Doorbell(rings)
    doorbell.watch("leads", str(inbox), is_recursive=False)
    (inbox / "a.csv").write_bytes(b"a\n")
    await assert_rung(rings)
    await asyncio.to_thread(doorbell.stop)

    (inbox / "b.csv").write_bytes(b"a\n")
    logging.getLogger("watchdog.observers.inotify_c").warning("overflow")
    await assert_silence(rings)
