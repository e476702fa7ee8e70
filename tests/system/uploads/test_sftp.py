"""OpenSSH's sftp sends into an inbox, through a real sshd: slow, stalled, killed, resumed, overwritten."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.bed import Bed, sha256_of
from tests.system.process import wait
from tests.system.uploads.clients import Sftp, landed
from tests.system.uploads.servers import Opening, Server, sshd, why_not
from tests.system.uploads.stories import ENDED, UNENDED, WAYS, Story, lines, sample

pytestmark = pytest.mark.system

if reason := why_not("/usr/sbin/sshd", "sftp"):
    pytest.skip(reason, allow_module_level=True)

SEED = random.SystemRandom().randrange(10**6)
ROUNDS = 9


@pytest.fixture
def sftp(inbox: Path, serve: Callable[[Opening, Path], Server]) -> Sftp:
    return Sftp(serve(sshd, inbox))


def uploads(story: Story, sftp: Sftp, record_property: Callable[[str, object], None]) -> None:
    """Upload one after the other; each stalls, then goes on, is killed and resumed, or killed and sent anew."""
    chance = random.Random(SEED)
    for number in range(ROUNDS):
        name = f"upload-{number}.csv"
        content = sample(chance, f"{number}-")
        local, interim = story.local(name, content), story.interim(name)
        seen = story.inbox / interim
        with sftp.sending(local, interim, seen, chance.randrange(1, len(content) // 2)) as transfer:
            transfer.stop()
            assert 0 < landed(seen) < len(content)
            story.not_taken(name)
            if number % 3 == 0:
                transfer.go_on()
                transfer.ended()
            else:
                transfer.kill()
                assert landed(seen) < len(content)
                story.not_taken(name)
                sftp.does(f"{'reput' if number % 3 == 1 else 'put'} {local} {interim}")
        story.not_taken(name)
        sftp.does(story.finish(name))
        story.whole(name, content)
    record_property("seed: uploads", SEED)
    record_property("counted: sftp uploads stalled, killed, resumed or sent anew; no half file taken", ROUNDS)


@pytest.mark.timeout(300)  # some 40 s a way: sftp is told to be slow
@pytest.mark.fault("F20", "F21", "F22", "F23")
@pytest.mark.parametrize("way", WAYS)
def test_no_half_upload_is_taken(
    bed: Bed, inbox: Path, sftp: Sftp, way: str, record_property: Callable[[str, object], None]
) -> None:
    uploads(Story(bed, inbox, way), sftp, record_property)


@pytest.mark.fault("F23", "F26")
def test_a_file_that_is_renamed_over_a_waiting_one_takes_its_place(bed: Bed, inbox: Path, sftp: Sftp) -> None:
    story = Story(bed, inbox, "rename")
    bed.does("pause")
    contents = [lines(100, ENDED, tag) for tag in ("old-", "new-")]
    for content in contents:
        local = story.local("a.csv", content)
        sftp.does(f"put {local} a.csv.part", "rename a.csv.part a.csv")
        story.daemon.wait_for("job.discovered", file="a.csv")
    bed.does("resume")
    story.whole("a.csv", contents[1])
    assert len(bed.sandbox.accepted) == 1, "what was replaced is not paid for"


@pytest.mark.fault("F25")
@pytest.mark.parametrize("way", [*WAYS, "quiet"])
def test_the_time_stamp_that_a_client_sets_says_nothing(bed: Bed, inbox: Path, sftp: Sftp, way: str) -> None:
    """`put -p` brings the client's own: brand-new files of 2001, and of the last second that SFTP knows."""
    story = Story(bed, inbox, way, **({"settle": "300ms"} if way == "quiet" else {}))
    for stamp in (978307200, 4294967295):
        name = f"of-{stamp}.csv"
        content = lines(100, ENDED, f"{stamp}-")
        local = story.local(name, content)
        os.utime(local, (stamp, stamp))
        sftp.does(f"put -p {local} {story.interim(name)}", *([] if way == "quiet" else [story.finish(name)]))
        story.whole(name, content)
        assert (bed.place("archive") / name).stat().st_mtime == stamp, "the client did set it"


@pytest.mark.fault("F47")
def test_a_file_that_only_its_owner_may_read_waits_until_we_may(bed: Bed, inbox: Path, sftp: Sftp) -> None:
    story = Story(bed, inbox, "rename")
    content = lines(100, ENDED, "mine-")
    local = story.local("mine.csv", content)
    sftp.does(f"put {local} mine.csv.part", "chmod 600 mine.csv.part", "rename mine.csv.part mine.csv")
    told = story.daemon.wait_for("file.ignored", file="mine.csv")
    assert told["level"] == "warning"
    assert bed.json("status")["routes"][0]["unreadable"] == ["mine.csv"]
    story.not_taken("mine.csv")
    sftp.does("chmod 644 mine.csv")
    story.whole("mine.csv", content)


@pytest.mark.fault("F20")
def test_a_quiet_file_may_stall_for_less_than_settle(bed: Bed, inbox: Path, sftp: Sftp) -> None:
    story = Story(bed, inbox, "quiet", settle="10s")
    content = lines(12_000, ENDED, "stalls-")
    with sftp.sending(story.local("a.csv", content), "a.csv", inbox / "a.csv", 20_000) as transfer:
        transfer.stop()
        landed(inbox / "a.csv")
        bed.command("scan")
        assert not story.daemon.told("job.discovered")
        transfer.go_on()
        transfer.ended()
    assert not story.daemon.told("job.discovered"), "it has just come"
    story.whole("a.csv", content)


@pytest.mark.timeout(120)  # six times `settle` has to be long enough for a second connection
@pytest.mark.fault("F21", "F22")
def test_a_quiet_file_that_was_cut_within_a_line_may_be_resumed_for_six_times_settle(
    bed: Bed, inbox: Path, sftp: Sftp
) -> None:
    story = Story(bed, inbox, "quiet", settle="4s")
    content = lines(8_000, UNENDED, "cut-")
    local = story.local("a.csv", content)
    with sftp.sending(local, "a.csv", inbox / "a.csv", 20_000) as transfer:
        transfer.kill()
    landed(inbox / "a.csv")
    assert not (inbox / "a.csv").read_bytes().endswith(b"\n")
    (inbox / "beside.csv").write_bytes(b"a\nbeside\n")
    story.whole("beside.csv", b"a\nbeside\n")
    assert not story.daemon.told("job.discovered", file="a.csv"), "longer than `settle` it was quiet"
    sftp.does(f"reput {local} a.csv")
    story.whole("a.csv", content)


@pytest.mark.fault("F21", "F22", "F26")
def test_a_quiet_file_that_was_cut_at_the_end_of_a_line_is_taken_as_it_is(bed: Bed, inbox: Path, sftp: Sftp) -> None:
    """As docs/files.md says: it is paid for, cannot be resumed, and sent anew it is another file."""
    story = Story(bed, inbox, "quiet", settle="1s")
    content = lines(12_000, ENDED, "cut-")
    local = story.local("a.csv", content)
    with sftp.sending(local, "a.csv", inbox / "a.csv", 20_000) as transfer:
        transfer.kill()
    story.daemon.wait_for("job.done", file="a.csv")
    half = (bed.place("archive") / "a.csv").read_bytes()
    assert content.startswith(half)
    assert len(half) < len(content)
    story.whole("a.csv", half)
    resumed = sftp.started(f"reput {local} a.csv")
    assert "No such file" in resumed.process.communicate(timeout=30)[0], "so the sender learns of it"
    sftp.does(f"put {local} a.csv")
    wait(lambda: len(story.daemon.told("job.done")) > 1, "the whole one goes too", daemon=story.daemon)
    bed.dropped[sha256_of(local)] += 1
    story.nothing_else()
    assert [record.sha256 for record in bed.sandbox.accepted][1] == sha256_of(local)


@pytest.mark.fault("F22", "F24")
def test_a_quiet_file_that_goes_on_after_it_was_sent_is_told(bed: Bed, inbox: Path, sftp: Sftp) -> None:
    """As docs/files.md says: what stood still was sent; the server goes on writing to the file that we took."""
    story = Story(bed, inbox, "quiet", settle="1s", poll={"min": "8s", "max": "8s"})
    content = lines(12_000, ENDED, "on-")
    with sftp.sending(story.local("a.csv", content), "a.csv", inbox / "a.csv", 100_000) as transfer:
        transfer.stop()
        half = landed(inbox / "a.csv")
        story.daemon.wait_for("task.submitted", file="a.csv")
        transfer.go_on()
        transfer.ended()
    assert story.daemon.wait_for("job.done", file="a.csv")["level"] == "warning"
    assert bed.receipt("a.csv")["source_changed"]
    assert bed.receipt("a.csv")["bytes"] == half < len(content)
    bed.dropped[hashlib.sha256(content[:half]).hexdigest()] += 0
    assert (bed.place("archive") / "a.csv").read_bytes() == content, "and nothing of it is lost"
    story.nothing_else()
