"""Python's ftplib sends into an inbox, through a real vsftpd: stalled, reset, ended cleanly in the middle, resumed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.system.bed import Bed
from tests.system.uploads.clients import Ftp, landed
from tests.system.uploads.servers import Opening, Server, vsftpd, why_not
from tests.system.uploads.stories import ENDED, WAYS, Story, lines, sample

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]  # some 10 s each

if reason := why_not("/usr/sbin/vsftpd"):
    pytest.skip(reason, allow_module_level=True)

SEED = random.SystemRandom().randrange(10**6)
ROUNDS = 12


@pytest.fixture
def logged_in(inbox: Path, serve: Callable[[Opening, Path], Server]) -> Iterator[Callable[[], Ftp]]:
    """Open sessions that end with the test."""
    server = serve(vsftpd, inbox)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Ftp(server, inbox.name)))


@pytest.mark.fault("F20", "F21", "F22", "F23")
@pytest.mark.parametrize("way", WAYS)
def test_no_half_upload_is_taken(
    bed: Bed, inbox: Path, logged_in: Callable[[], Ftp], way: str, record_property: Callable[[str, object], None]
) -> None:
    """Each stalls, and then goes on, ends cleanly too early, or is reset; it is resumed by REST, or sent anew."""
    story = Story(bed, inbox, way)
    chance = random.Random(SEED)
    ftp = logged_in()
    for number in range(ROUNDS):
        name = f"upload-{number}.csv"
        content = sample(chance, f"{number}-")
        interim = story.interim(name)
        seen = inbox / interim
        half = chance.randrange(1, len(content))
        data = ftp.begin(interim, content[:half])
        assert landed(seen) == half
        story.not_taken(name)
        if number % 3 == 0:
            data.sendall(content[half:])
            ftp.end(data)
        else:
            if number % 3 == 1:
                ftp.end(data)
            else:
                ftp.cut(data)
                ftp = logged_in()
            assert landed(seen) == half
            story.not_taken(name)
            if chance.random() < 0.5:
                ftp.put(interim, content[half:], rest=half)
            else:
                ftp.put(interim, content)
        story.not_taken(name)
        if way == "rename":
            ftp.rename(interim, name)
        else:
            ftp.put(f"{name}.done", b"")
        story.whole(name, content)
    record_property("seed: uploads", SEED)
    record_property("counted: ftp uploads stalled, cut or reset; no half file taken", ROUNDS)


@pytest.mark.fault("F21", "F22")
def test_a_quiet_file_that_was_cut_at_the_end_of_a_line_is_taken_and_its_rest_is_refused(
    bed: Bed, inbox: Path, logged_in: Callable[[], Ftp]
) -> None:
    """As docs/files.md says: a client that resumes without a look makes a file of zeros and the rest."""
    story = Story(bed, inbox, "quiet", settle="500ms")
    content = lines(1000, ENDED, "cut-")
    half = 500 * ENDED
    ftp = logged_in()
    ftp.end(ftp.begin("a.csv", content[:half]))
    story.whole("a.csv", content[:half])
    ftp.put("a.csv", content[half:], rest=half)
    story.daemon.wait_for("job.quarantined", file="a.csv")
    error = bed.error("a.csv")
    assert (error["code"], error["bytes"]) == ("csv_encoding", len(content))
    assert len(bed.sandbox.accepted) == 1


@pytest.mark.fault("F20")
def test_a_quiet_file_that_stalls_within_a_line_has_six_times_settle(
    bed: Bed, inbox: Path, logged_in: Callable[[], Ftp]
) -> None:
    story = Story(bed, inbox, "quiet", settle="2s")
    content = lines(1000, ENDED, "slow-")
    ftp = logged_in()
    data = ftp.begin("a.csv", content[:1001])
    (inbox / "beside.csv").write_bytes(b"a\nbeside\n")
    story.whole("beside.csv", b"a\nbeside\n")
    assert not story.daemon.told("job.discovered", file="a.csv"), "longer than `settle` it was quiet"
    data.sendall(content[1001:])
    ftp.end(data)
    story.whole("a.csv", content)
