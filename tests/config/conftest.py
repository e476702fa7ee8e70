"""What tests of the configuration share: a file with it, folders for it, and its mistakes as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bulkgpt_watchd.config import ConfigInvalid, Settings, load

WriteConfig = Callable[[str | bytes], Path]
"""Writes a configuration that nobody else can read, and gives its path."""


@pytest.fixture
def write(tmp_path: Path) -> WriteConfig:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def settings_of(write: WriteConfig) -> Callable[[str], Settings]:
    return lambda text: load(write(text))


@pytest.fixture
def mistakes_of(write: WriteConfig) -> Callable[[str | bytes], list[str]]:
    """Give the mistakes of a configuration without the file's name: `line:column: path: message`."""

    def mistakes_of(text: str | bytes) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigInvalid) as caught:
            load(path)
        assert str(caught.value) == "\n".join(map(str, caught.value.mistakes))
        return [str(mistake).removeprefix(f"{path}:") for mistake in caught.value.mistakes]

    return mistakes_of


ROUTE = """
routes:
  - name: leads
    workflow_id: w
    folder: /srv/leads
"""
"""The smallest configuration; keys of the route can be added to its end."""
