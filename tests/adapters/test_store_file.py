"""What is found under the state's name: taken up, upgraded or refused, and never taken for nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters import sqlite_file
from bulkgpt_watchd.adapters.sqlite_file import MIGRATIONS, prepare
from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.errors import StateLocked, StateUnusable
from tests.adapters.open_state import NOW, open_state
from tests.sample_jobs import sample_job


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Give a state that was used and stopped."""
    path = tmp_path / "state.db"
    store = await open_state(path)
    await store.add([sample_job(f"job{number:05}") for number in range(500)])
    await store.close()
    return path


async def test_a_new_state_has_the_uuid_that_it_was_given(tmp_path: Path) -> None:
    store = await open_state(tmp_path / "state.db")
    await store.close()

    assert store.uuid == "fresh"
    with closing(sqlite3.connect(tmp_path / "state.db")) as state:
        assert state.execute("SELECT uuid, created_at FROM meta").fetchall() == [("fresh", NOW)]


async def test_an_old_state_keeps_its_uuid_and_its_jobs(path: Path) -> None:
    with closing(sqlite3.connect(path)) as state, state:
        state.execute("UPDATE meta SET uuid = 'old'")

    store = await open_state(path)

    assert store.uuid == "old"
    assert await store.get("job00499") is not None
    await store.close()


async def test_a_state_that_was_stopped_is_one_file_and_its_lock(path: Path) -> None:
    assert sorted(os.listdir(path.parent)) == ["state.db", "state.db.lock"]


@pytest.mark.fault("F1", "F2")
async def test_a_first_start_that_was_cut_as_it_began_its_log_goes_on(path: Path, tmp_path: Path) -> None:
    """SQLite keeps a journal for that one step, and only who may write can undo it."""
    cut = tmp_path / "cut"
    cut.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as state:
        state.executescript("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1")
        state.executescript("BEGIN; UPDATE jobs SET file = 'b.csv'")
        for name in ("state.db", "state.db-journal"):
            shutil.copy(tmp_path / name, cut)

    store = await open_state(cut / "state.db")

    assert (await store.get("job00499")) == sample_job("job00499")
    await store.close()


@pytest.mark.fault("S26")
async def test_only_owner_and_group_may_read_a_state(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = await open_state(tmp_path / "state.db")
        await store.add([sample_job("aaaa1111")])
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        await store.close()
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm", "state.db.lock"], 0o640)


async def test_a_second_instance_is_told_who_holds_the_state(path: Path) -> None:
    store = await open_state(path)

    with pytest.raises(StateLocked, match=f"pid {os.getpid()}"):
        await open_state(path)

    await store.close()
    await (await open_state(path)).close()


async def test_another_name_for_a_state_has_the_same_lock(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    store = await open_state(path)

    with pytest.raises(StateLocked):
        await open_state(link)

    await store.close()


@pytest.mark.parametrize("fstype", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuseblk", "9p"])
async def test_a_state_on_a_share_is_refused(tmp_path: Path, fstype: str) -> None:
    with pytest.raises(StateUnusable, match=fstype):
        await open_state(tmp_path / "state.db", fstype)

    assert os.listdir(tmp_path) == []


async def test_a_missing_folder_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match=r"folder .* is missing"):
        await open_state(tmp_path / "missing" / "state.db")

    assert os.listdir(tmp_path) == []


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garble(path: Path) -> None:
    path.write_bytes(b"garbage " * 4096)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def hurt(path: Path) -> None:
    """Zero one page in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(bytes(4096))


DAMAGES = [truncate, zero, garble, cut, hurt]


@pytest.mark.fault("F41")
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_state_is_refused_and_left_as_it_is(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    before = path.read_bytes()

    with pytest.raises(StateUnusable, match="state backup"):
        await open_state(path)

    assert path.read_bytes() == before


async def test_a_cut_is_seen_in_a_state_that_is_too_large_to_be_read_at_each_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "CHECKED_BYTES", 0)
    cut(path)

    with pytest.raises(StateUnusable, match="damaged"):
        await open_state(path)


@pytest.mark.parametrize("damage", [truncate, zero, garble, cut])
def test_a_reader_refuses_a_damaged_state(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)

    with pytest.raises(StateUnusable, match="state backup"), StateReader.open(path) as state:
        state.counts()


@pytest.mark.fault("F41")
async def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE jobs (id)")
    before = path.read_bytes()

    with pytest.raises(StateUnusable, match="not the state of bulkgpt-watchd"):
        await open_state(path)
    with pytest.raises(StateUnusable, match="not the state of bulkgpt-watchd"), StateReader.open(path):
        pass

    assert path.read_bytes() == before


@pytest.mark.fault("F41")
async def test_a_log_without_its_state_is_no_new_start(path: Path) -> None:
    path.rename(path.with_name("state.db-wal"))

    with pytest.raises(StateUnusable, match="is gone"):
        await open_state(path)


async def test_a_first_start_that_was_cut_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "state.db.new").write_bytes(b"half a state")

    await (await open_state(tmp_path / "state.db")).close()

    assert sorted(os.listdir(tmp_path)) == ["state.db", "state.db.lock"]


# --- Versions --------------------------------------------------------------------------------------------------------

HAS, GETS = len(MIGRATIONS), len(MIGRATIONS) + 1
BEFORE = f"state.db.before-{GETS:04}"
NEXT = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN mood TEXT; UPDATE jobs SET mood = 'new';")


def upgrade(path: Path, migrations: tuple[str, ...] = NEXT) -> None:
    prepare(path, lambda: NOW, lambda: "unused", migrations)


def test_an_older_state_is_copied_and_then_migrated(path: Path) -> None:
    upgrade(path)

    copy = path.with_name(BEFORE)
    with closing(sqlite3.connect(path)) as new, closing(sqlite3.connect(copy)) as old:
        assert new.execute("SELECT count(*) FROM jobs WHERE mood = 'new'").fetchone() == (500,)
        assert new.execute("PRAGMA user_version").fetchone() == (GETS,)
        assert old.execute("PRAGMA user_version").fetchone() == (HAS,)
        assert old.execute("SELECT count(*) FROM jobs").fetchone() == (500,)
    assert sorted(os.listdir(path.parent)) == ["state.db", BEFORE, "state.db.lock"]


async def test_the_copy_made_before_a_migration_is_a_state_again(path: Path) -> None:
    upgrade(path)
    path.with_name(BEFORE).rename(path)

    store = await open_state(path)

    assert await store.get("job00499") is not None
    await store.close()


async def test_a_migration_that_fails_leaves_the_old_state(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        upgrade(path, (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN mood TEXT; NONSENSE;"))

    store = await open_state(path)
    assert await store.get("job00499") is not None
    await store.close()


@pytest.mark.fault("F41")
async def test_a_newer_state_is_refused_with_both_versions(path: Path) -> None:
    upgrade(path)

    with pytest.raises(StateUnusable, match=rf"schema {GETS}, and this version knows up to {HAS}.*before-"):
        await open_state(path)
    with pytest.raises(StateUnusable, match=f"schema {GETS}"), StateReader.open(path):
        pass


def test_a_reader_leaves_migrating_to_the_daemon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkgpt_watchd.adapters.sqlite_reader.MIGRATIONS", NEXT)

    with pytest.raises(StateUnusable, match="start the daemon once"), StateReader.open(path):
        pass
