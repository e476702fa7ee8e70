"""Beds for stories with the real command."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions
from tests.system.bed import KEY, Bed
from tests.system.bulk import bulk
from tests.system.host import Host
from tests.system.hostile import Hostile, hostile
from tests.system.machine import Machine, why_not
from tests.system.uml import Kernel
from tests.system.uml import why_not as why_no_kernel

STORIES_S = 1800.0
"""All stories of one kind of share: 8 minutes, most of them deadlines of hanging calls; a busy machine needs more."""


@pytest.fixture
def options() -> SandboxOptions:
    """Say how the sandbox of this test is; tests that want another one override this."""
    return SandboxOptions.instant(key=KEY)


@pytest.fixture
def sandbox(options: SandboxOptions) -> Iterator[Sandbox]:
    with bulk(options) as opened:
        yield opened


@pytest.fixture
def kind() -> type[Bed]:
    """Say what bed this test has; tests that want another one override this."""
    return Bed


@pytest.fixture
def bed(tmp_path: Path, sandbox: Sandbox, kind: type[Bed]) -> Iterator[Bed]:
    """Give a bed; what must hold in every story is asked when the test is over."""
    made = kind(tmp_path, sandbox)
    try:
        yield made
        made.leave()
        shutil.rmtree(tmp_path)  # pytest would keep gigabytes; what failed is kept
    finally:
        made.kill()


@pytest.fixture
def world() -> Iterator[Hostile]:
    """Give a BulkGPT and a store that do as each test plans; they outlive the daemon of a bed that asks for both."""
    with hostile() as opened:
        yield opened


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on another file system."""
    place = Path(tempfile.mkdtemp(dir="/dev/shm"))
    assert place.stat().st_dev != tmp_path.stat().st_dev, "set TMPDIR to a disk"
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Give a machine with the service on it; what a test changes there, it puts back."""
    if reason := why_not():
        pytest.skip(reason)
    machine = Machine(tmp_path_factory.mktemp("machine"))
    with machine.booted():
        host = Host(machine)
        host.install()
        yield host


def told(job: str) -> Iterator[Kernel]:
    """Run a job of stories in a kernel of its own, once for all tests that ask for its facts."""
    if reason := why_no_kernel():
        pytest.skip(reason)
    kernel = Kernel()
    try:
        code = kernel.run(job, STORIES_S)
        assert code == 0, f"the job {job} ended with {code}:\n{kernel.tail()}"
        yield kernel
    finally:
        kernel.close()


@pytest.fixture(scope="session")
def nfs() -> Iterator[Kernel]:
    """Give the facts of the stories on NFS."""
    yield from told("tests.system.uml_nfs")


@pytest.fixture(scope="session")
def cifs() -> Iterator[Kernel]:
    """Give the facts of the stories on CIFS."""
    yield from told("tests.system.uml_cifs")


@pytest.fixture(params=["nfs", "cifs"])
def share(request: pytest.FixtureRequest) -> Kernel:
    """Give the facts of the stories that are told on each kind of share."""
    kernel: Kernel = request.getfixturevalue(request.param)
    return kernel
