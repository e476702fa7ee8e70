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

JOBS = ("nfs", "cifs", "undone")
"""Kinds of stories that are told in a kernel of their own: tests.system.uml_KIND."""

STORIES_S = 1800.0
"""All stories of one kind: 8 minutes, most of them deadlines of hanging calls; a busy machine needs more."""


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


@pytest.fixture(scope="session")
def kernels(request: pytest.FixtureRequest) -> Iterator[dict[str, Kernel]]:
    """Boot a kernel for each kind of stories that is asked for, side by side: most of what they take is waiting."""
    if reason := why_no_kernel():
        pytest.skip(reason)
    asked: set[object] = set()
    for item in request.session.items:
        if isinstance(item, pytest.Function):
            asked.update(item.fixturenames)
            if "share" in item.fixturenames:
                asked.add(item.callspec.params["share"])
    made = {job: Kernel() for job in JOBS if job in asked}
    try:
        for job, kernel in made.items():
            kernel.boot(f"tests.system.uml_{job}")
        yield made
    finally:
        for kernel in made.values():
            kernel.close()


def told(kernels: dict[str, Kernel], job: str) -> Kernel:
    """Give the facts of a kind of stories, once all are told."""
    code = kernels[job].ended(STORIES_S)
    assert code == 0, f"the job {job} ended with {code}:\n{kernels[job].tail()}"
    return kernels[job]


@pytest.fixture(scope="session")
def nfs(kernels: dict[str, Kernel]) -> Kernel:
    """Give the facts of the stories on NFS."""
    return told(kernels, "nfs")


@pytest.fixture(scope="session")
def cifs(kernels: dict[str, Kernel]) -> Kernel:
    """Give the facts of the stories on CIFS."""
    return told(kernels, "cifs")


@pytest.fixture(scope="session")
def undone(kernels: dict[str, Kernel]) -> Kernel:
    """Give the facts of the stories on a server that loses its power alone."""
    return told(kernels, "undone")


@pytest.fixture(params=["nfs", "cifs"])
def share(request: pytest.FixtureRequest) -> Kernel:
    """Give the facts of the stories that are told on each kind of share."""
    kernel: Kernel = request.getfixturevalue(request.param)
    return kernel
