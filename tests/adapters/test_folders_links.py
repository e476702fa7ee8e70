from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.errors import DiskTrouble
from bulkgpt_watchd.core.folders import Look, LookRules
from tests.adapters.beds import NOBODY, memory_disk, needs_two_users, put
from tests.adapters.kernels import Hooked


@pytest.fixture
def inbox() -> Iterator[Path]:
    with memory_disk() as folder:
        yield folder


def look(
    inbox: Path,
    *match: str,
    known: frozenset[str] = frozenset(),
    recursive: bool = False,
    done_file: str | None = None,
    on_network: bool = False,
    kernel: Hooked | None = None,
) -> Look:
    rules = LookRules(match or ("*.csv",), recursive, done_file, on_network)
    return LocalFolders(kernel).look(inbox, rules, known)


def test_an_inbox_may_be_reached_by_links_that_root_or_we_made(inbox: Path) -> None:
    (inbox / "real").mkdir()
    settled = put(inbox / "real" / "x.csv")
    os.symlink("real", inbox / "relative")
    os.symlink(inbox / "relative", inbox / "absolute")
    os.symlink("absolute/../real/.", inbox / "winding")

    for way in ("relative", "absolute", "winding"):
        assert look(inbox / way).files == {"x.csv": settled}


@pytest.mark.fault("S5", "S14")
@needs_two_users
def test_a_link_of_somebody_else_leads_nowhere(inbox: Path) -> None:
    (inbox / "real").mkdir()
    os.symlink("real", inbox / "link")
    os.chown(inbox / "link", NOBODY, NOBODY, follow_symlinks=False)

    with pytest.raises(DiskTrouble, match="is a symbolic link of uid 65534; only links of root and of user root"):
        look(inbox / "link")


def test_a_circle_of_links_ends(inbox: Path) -> None:
    os.symlink("b", inbox / "a")
    os.symlink("a", inbox / "b")
    with pytest.raises(DiskTrouble, match="too many levels of symbolic links"):
        look(inbox / "a")


def test_a_file_is_no_inbox(inbox: Path) -> None:
    put(inbox / "x")
    with pytest.raises(DiskTrouble, match="not a directory"):
        look(inbox / "x")
