"""What the crash tests share: folders that cost no disk, since only the order of calls matters to a simulated kill."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def new_folder(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Make an empty folder, in memory where that is possible; the one before is removed."""
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    root = Path(tempfile.mkdtemp(dir=MEMORY if in_memory else tmp_path))
    numbers = itertools.count()

    def make() -> Path:
        shutil.rmtree(root)
        folder = root / str(next(numbers))
        folder.mkdir(parents=True)
        return folder

    yield make
    shutil.rmtree(root)
