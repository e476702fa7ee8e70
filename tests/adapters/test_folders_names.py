"""Send files of every possible name, and of none, all the way from the inbox to the archive."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkgpt_watchd.adapters.folders import LocalFolders
from bulkgpt_watchd.core.folders import LookRules
from bulkgpt_watchd.core.names import marker_taken_name, sent_name, temp_name, work_name
from tests.adapters.beds import put

JOB = "k3v9q0xw"
EVERY_NAME = (
    st.binary(min_size=1, max_size=251)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"\n"))
    .filter(lambda raw: not raw.startswith((b".", b"~$")))
    .map(lambda raw: os.fsdecode(raw + b".csv"))
)
DONE = "{name}.ok"


@pytest.mark.fault("S7")
@settings(deadline=None, max_examples=150)
@given(EVERY_NAME, st.sampled_from(["", "sub/"]), st.booleans())
def test_every_name_goes_all_the_way(name: str, sub: str, has_marker: bool) -> None:
    folders = LocalFolders()
    has_marker = has_marker and len(os.fsencode(name + ".ok")) <= 255
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        inbox, work, archive = Path(folder, "inbox"), Path(folder, "work"), Path(folder, "archive")
        (inbox / "sub").mkdir(parents=True)
        archive.mkdir()
        folders.make_work(work)
        settled = put(inbox / (sub + name), b"a,b\n1,2\n")
        marker = (DONE.format(name=sub + name), marker_taken_name(JOB, name)) if has_marker else None
        if marker:
            put(inbox / marker[0], b"")

        seen = folders.look(inbox, LookRules(("*.csv",), True, DONE, on_network=True), ())
        assert seen.files == {sub + name: settled}
        assert seen.marked == ({sub + name} if marker else set())
        assert folders.ends_line(inbox, sub + name)

        plain, sent = work_name(JOB, name), sent_name(JOB, name)
        assert folders.claim(inbox, sub + name, work, plain, settled, marker) == settled
        folders.rename_in_work(work, plain, sent)
        assert folders.list_work(work)[sent] == settled
        source, _ = folders.open_source(work, (plain, sent))
        with source:
            assert source.read() == b"a,b\n1,2\n"

        place = archive / os.path.dirname(sub + name)
        folders.make_below(archive, place)
        target = folders.free_target(place, name, JOB, (".receipt.json",))
        temp = folders.create(place, temp_name(JOB, name), None, None)
        folders.finish(temp, place)
        folders.write_whole(place, target + ".receipt.json", b"{}", replace=False)
        folders.move(work / sent, place / target)
        assert folders.free_target(place, name, JOB, (".receipt.json",)) != target
        assert (place / target).read_bytes() == b"a,b\n1,2\n"
        assert folders.list_work(work).keys() == ({marker[1]} if marker else set())
