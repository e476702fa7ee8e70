"""Disks that lose power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.power.disk import FILE_SYSTEMS, Disk, own_mounts, why_not


@pytest.fixture(params=FILE_SYSTEMS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    with own_mounts(), Disk(tmp_path, request.param).mounted() as disk:
        yield disk
