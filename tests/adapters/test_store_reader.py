"""Who may look at a state, and when."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.core.errors import StateUnusable
from bulkgpt_watchd.core.events import GaveUp
from bulkgpt_watchd.core.job import State
from bulkgpt_watchd.core.ports import Query
from tests.adapters.open_state import NOW, open_state
from tests.adapters.state_writer import writer
from tests.sample_jobs import sample_job, step

NOBODY = 65534
as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="not as root: becomes another user")


def test_a_state_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="start the daemon once"), StateReader.open(tmp_path / "state.db"):
        pass

    assert os.listdir(tmp_path) == []


async def test_a_reader_answers_what_the_store_answers(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await open_state(path)
    job = sample_job("aaaa1111", file="caf\udce9.csv")
    change = step(job, GaveUp("rejected", "No."), state=State.FAILED, code="rejected")
    await store.add([job, sample_job("aaab2222"), sample_job("bbbb3333", file="caf\udce9.csv", route="other")])
    await store.save(change)
    await store.set_fact("gate", {"is_shut": True})

    with StateReader.open(path) as state:
        assert state.uuid == store.uuid
        assert state.get("aaaa1111") == change.new
        assert state.query(Query(codes=("rejected",))) == [change.new]
        assert state.counts() == await store.counts()
        assert state.journal("aaaa1111") == await store.journal("aaaa1111")
        assert state.journal("aaaa1111")[0].at == NOW
        assert state.facts() == {"gate": {"is_shut": True}}
        assert [found.id for found in state.matching("aaa")] == ["aaab2222", "aaaa1111"]
        assert [found.id for found in state.matching("aaaa1111")] == ["aaaa1111"]
        assert state.matching("a%") == []
        latest = state.latest("caf\udce9.csv")
        assert latest is not None
        assert latest.id == "bbbb3333"
        assert state.latest("unknown.csv") is None
    await store.close()


async def test_looking_at_a_state_at_rest_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await (await open_state(path)).close()
    before = sorted(os.listdir(tmp_path))

    with StateReader.open(path) as state:
        state.counts()

    assert sorted(os.listdir(tmp_path)) == before


# --- Another user ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a folder in which nobody's group may read, and only we may write."""
    folder = Path(tempfile.mkdtemp(prefix="bulkgpt-watchd-"))  # pytest's own folders are closed to other users
    os.chown(folder, 0, NOBODY)
    folder.chmod(0o2750)
    yield folder
    shutil.rmtree(folder)


def as_nobody(look: Callable[[], str]) -> str:
    """Run *look* in a child that is another user, and give what it says."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            said = look()
        except BaseException as error:  # noqa: BLE001 the parent asserts on it
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def count_of(path: Path) -> Callable[[], str]:
    def look() -> str:
        with StateReader.open(path) as state:
            return f"{len(state.query(Query()))} jobs"

    return look


@as_root_only
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_who_may_not_write_beside_a_state_sees_it_at_any_time(shared: Path) -> None:
    """While the daemon runs, after it was killed, and after it was started and stopped again."""
    path = shared / "state.db"

    with writer(path) as process:
        assert process.stdout is not None
        list(islice(process.stdout, 100))
        while_running = as_nobody(count_of(path))
    after_kill = as_nobody(count_of(path))
    with StateReader.open(path) as state:
        written = f"{len(state.query(Query()))} jobs"

    assert int(while_running.removesuffix(" jobs")) >= 50
    assert after_kill == written


@as_root_only
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_who_may_not_write_beside_a_state_sees_it_at_rest(shared: Path) -> None:
    path = shared / "state.db"
    store = await open_state(path)
    await store.add([sample_job("aaaa1111")])
    await store.close()

    assert as_nobody(count_of(path)) == "1 jobs"


@as_root_only
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_who_may_not_read_a_state_is_told(shared: Path) -> None:
    path = shared / "state.db"
    await (await open_state(path)).close()
    path.chmod(0o600)

    assert "join its group" in as_nobody(count_of(path))
