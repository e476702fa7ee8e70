"""What tests of the command line share: a configuration, a state, and a way to run commands in this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bulkgpt_watchd.cli import root
from bulkgpt_watchd.core.events import Accepted, Delivered, GaveUp, Passed
from bulkgpt_watchd.core.job import Job, State
from bulkgpt_watchd.core.ports import Change
from tests.adapters.open_state import open_state
from tests.sample_jobs import sample_job, step

DAY_S = 86_400.0
TODAY = time.time()
YESTERDAY = TODAY - DAY_S

NO_ENVIRON = {
    "BULKGPT_API_KEY": None,
    "CREDENTIALS_DIRECTORY": None,
    "BULKGPT_WATCHD_CONFIG": None,
    "RUNTIME_DIRECTORY": None,
}
"""What the machine of the tests may have set."""

CONFIG = """\
api: {{base_url: "{base_url}", api_key_file: key, retry: {{min: 200ms, max: 1s}}}}
state: {{path: state/state.db}}
web: {{listen: off}}
routes:
  - {{name: leads, workflow_id: w, folder: leads, settle: 0, scan_every: 1s, poll: {{min: 100ms, max: 300ms}}}}
"""


@dataclass(frozen=True)
class Bed:
    """Hold a folder with a configuration, and perhaps a state."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state/state.db"

    @property
    def inbox(self) -> Path:
        return self.folder / "leads/inbox"

    def configure(self, base_url: str = "http://127.0.0.1:9") -> None:
        self.inbox.mkdir(parents=True)
        self.state.parent.mkdir()
        (self.folder / "key").write_text("k\n")
        (self.folder / "key").chmod(0o600)
        self.config.write_text(CONFIG.format(base_url=base_url))

    def remember(self, *jobs: Job, changes: Sequence[Change] = (), facts: Mapping[str, Any] | None = None) -> None:
        """Write a state as the daemon would leave it."""

        async def write() -> None:
            store = await open_state(self.state)
            await store.add(jobs)
            for change in changes:
                await store.save(change)
            for key, value in (facts or {}).items():
                await store.set_fact(key, value)
            await store.close()

        asyncio.run(write())

    def cli(self, *arguments: str | Path, **environ: str | None) -> Result:
        """Run a command with this configuration."""
        return invoke("--config", self.config, *arguments, **environ)


def invoke(*arguments: str | Path, **environ: str | None) -> Result:
    """Run a command in this process."""
    return CliRunner(catch_exceptions=False).invoke(root, list(map(str, arguments)), env={**NO_ENVIRON, **environ})


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    """Give a configuration, and no state yet."""
    bed = Bed(tmp_path)
    bed.configure()
    return bed


@pytest.fixture
def of_nobody() -> Iterator[Bed]:
    """Give a bed whose state belongs to nobody, as whom doctor then looks; pytest's folders are closed to others."""
    bed = Bed(Path(tempfile.mkdtemp()))
    bed.folder.chmod(0o711)
    bed.configure()
    bed.remember()
    for path in (bed.state.parent, bed.folder / "leads", bed.inbox, bed.folder / "key", *bed.state.parent.iterdir()):
        os.chown(path, 65534, 65534)
    yield bed
    shutil.rmtree(bed.folder)


Invoke = Callable[..., Result]


def submitted(job_id: str, at: float, rows: int, *, route: str = "leads", workflow_id: str = "w") -> list[Change]:
    """Give the changes of a job that was accepted and delivered with one bad row."""
    job = sample_job(job_id, state=State.READY, rows=rows, route=route)
    passed = step(job, Passed(workflow_id), state=State.SUBMITTING, passed_at=at, workflow_id=workflow_id)
    accepted = step(passed.new, Accepted("t"), state=State.SUBMITTED, task_id="t")
    complete = replace(accepted.new, rows_ok=rows - 1, rows_total=rows, completed_at=at + 1)
    delivered = step(complete, Delivered(None), state=State.DELIVERED, delivered_at=at + 2)
    return [passed, accepted, delivered]


def lost(job_id: str, at: float, rows: int) -> list[Change]:
    """Give the changes of a job in doubt."""
    [passed, *_] = submitted(job_id, at, rows)
    return [passed, step(passed.new, GaveUp("submission_unknown", "lost"), state=State.FAILING)]


@pytest.fixture
def paid(bed: Bed) -> Bed:
    """Give a state with two days of submits on two routes, one of them renamed."""
    changes = [
        *submitted("aaaa1111", YESTERDAY, 1000),
        *submitted("bbbb2222", TODAY, 20, workflow_id="v"),
        *submitted("cccc3333", TODAY, 3),
        *submitted("dddd4444", TODAY, 7, route="key-of-old"),
        *lost("eeee5555", TODAY, 50),
        *submitted("ffff6666", TODAY - 40 * DAY_S, 9),
    ]
    jobs = {change.old.id: change.old for change in reversed(changes)}
    bed.remember(*jobs.values(), changes=changes, facts={"names": {"leads": "leads", "key-of-old": "new name"}})
    return bed
