"""Samba's smbclient sends into an inbox, through a real smbd: stalled, killed, sent anew, with odd time stamps."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.bed import Bed
from tests.system.process import wait
from tests.system.uploads.clients import Pipe, Smb, landed
from tests.system.uploads.servers import Opening, Server, smbd, why_not
from tests.system.uploads.stories import ENDED, WAYS, Story, lines, sample

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]  # some 10 s each

if reason := why_not("/usr/sbin/smbd", "smbclient"):
    pytest.skip(reason, allow_module_level=True)

SEED = random.SystemRandom().randrange(10**6)
ROUNDS = 9


@pytest.fixture
def smb(inbox: Path, serve: Callable[[Opening, Path], Server]) -> Smb:
    return Smb(serve(smbd, inbox))


@pytest.mark.fault("F20", "F21", "F23", "F33")
@pytest.mark.parametrize("way", WAYS)
def test_no_half_upload_is_taken(
    bed: Bed, inbox: Path, smb: Smb, way: str, record_property: Callable[[str, object], None]
) -> None:
    """Each begins empty, stalls, and then goes on, or is killed and sent anew over what is there."""
    story = Story(bed, inbox, way)
    chance = random.Random(SEED)
    for number in range(ROUNDS):
        name = f"upload-{number}.csv"
        content = sample(chance, f"{number}-")
        interim = story.interim(name)
        seen = inbox / interim
        pipe = Pipe(bed.folder / f"pipe-{number}")
        transfer = smb.started(f"put {pipe.path} {interim}")
        try:
            wait(seen.exists, "the file is made")
            story.not_taken(name)
            half = chance.randrange(70_000, len(content) - 1)
            pipe.write(content[:half])
            wait(lambda path=seen: path.stat().st_size > 0, "some of it arrives")  # type: ignore[misc]
            assert landed(seen) < len(content)
            story.not_taken(name)
            if number % 2 == 0:
                pipe.write(content[half:])
                pipe.end()
                transfer.ended()
            else:
                transfer.kill()
                pipe.end()
                story.not_taken(name)
                smb.does(f"put {story.local(name, content)} {interim}")
        finally:
            if transfer.process.poll() is None:
                transfer.kill()
            pipe.path.unlink()
        story.not_taken(name)
        smb.does(story.finish(name))
        story.whole(name, content)
    record_property("seed: uploads", SEED)
    record_property("counted: smb uploads stalled, or killed and sent anew; no half file taken", ROUNDS)


@pytest.mark.fault("F25")
@pytest.mark.parametrize("way", [*WAYS, "quiet"])
def test_the_time_stamp_that_a_client_sets_says_nothing(bed: Bed, inbox: Path, smb: Smb, way: str) -> None:
    story = Story(bed, inbox, way, **({"settle": "1s"} if way == "quiet" else {}))
    for year in (2001, 2106):
        name = f"of-{year}.csv"
        content = lines(100, ENDED, f"{year}-")
        interim = story.interim(name)
        stamped = f"utimes {interim} -1 -1 {year}:01:01-00:00:00 -1"
        last = [] if way == "quiet" else [story.finish(name)]
        smb.does(f"put {story.local(name, content)} {interim}", stamped, *last)
        story.whole(name, content)
        assert abs((bed.place("archive") / name).stat().st_mtime / 31_556_952 + 1970 - year) < 1


@pytest.mark.fault("F33")
def test_a_quiet_file_that_is_still_empty_is_left_alone(bed: Bed, inbox: Path, smb: Smb) -> None:
    """A client makes the file, and sends nothing for longer than `settle`."""
    story = Story(bed, inbox, "quiet", settle="1s")
    content = lines(1000, ENDED, "late-")
    pipe = Pipe(bed.folder / "pipe")
    transfer = smb.started(f"put {pipe.path} a.csv")
    wait((inbox / "a.csv").exists, "the file is made")
    for _ in range(2):
        story.not_taken("a.csv")
    pipe.write(content)
    pipe.end()
    transfer.ended()
    pipe.path.unlink()
    story.whole("a.csv", content)
