"""Inboxes into which real servers write, as another user than the daemon's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.bed import Bed
from tests.system.uploads import servers


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Give a folder that other users may enter, as pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="uploads-") as place:
        os.chmod(place, 0o711)
        yield Path(place)


@pytest.fixture
def inbox(bed: Bed) -> Path:
    """Give an inbox into which everybody may write; its route is not made yet."""
    path = bed.place("inbox")
    path.mkdir(parents=True)
    path.chmod(0o777)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[[servers.Opening, Path], servers.Server]]:
    """Start servers that end with the test."""
    with ExitStack() as stack:

        def start(how: servers.Opening, folder: Path) -> servers.Server:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="server-")))
            place.chmod(0o711)
            return stack.enter_context(how(place, folder))

        yield start
