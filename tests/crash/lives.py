"""Live a story with kills in it, and hold every instant and the end against what is promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bulkgpt_watchd.adapters.sqlite_reader import StateReader
from bulkgpt_watchd.config import ApiSettings
from bulkgpt_watchd.config.models import RetrySettings
from bulkgpt_watchd.core.job import Job, State
from tests.crash.fuse import Fuse, Term, live
from tests.crash.stories import Story, Tree, resolve, tree_of
from tests.daemon import Daemon, Place


@dataclass
class Lived:
    """
    Tell how a story went.

    Shape: *fuses* has one for each life, the last of them whole; *doubts* are those that a kill has left.
    """

    fuses: list[Fuse] = field(default_factory=list)
    doubts: list[Job] = field(default_factory=list)

    @property
    def kills(self) -> list[str]:
        return [fuse.instant for fuse in self.fuses if fuse.is_blown]


async def tell(
    story: Story, folder: Path, *kills: int | None, skips: str | None = None, death: type[Fuse] = Fuse
) -> Lived:
    """Tell a story, killing its first lives at the given boundaries (None: not); one more life goes to the end."""
    place, lived = Place(folder), Lived()
    place.api.runs_s = 0.0
    place.settings = ApiSettings(retry=RetrySettings(min=1.0, max=10.0))  # no long waits for a gate
    await story.before(place)
    jobs: list[Job] = []

    async def life(daemon: Daemon) -> None:
        await daemon.run_until(lambda: not is_failing(daemon))
        await story.person(daemon)
        await daemon.run_to_idle()
        jobs[:] = await daemon.jobs()

    for kill in (*kills, None):
        lived.fuses.append(death(kill, skips))
        await live(place, lived.fuses[-1], life, story.refusal)
        check_instant(place, story, lived)
        if death is Term:
            with StateReader.open(place.state) as state:
                assert not [key for key in state.counts() if key[1] is State.SUBMITTING], lived.kills
    expects_doubts = b"submission_unknown" in story.ends.values()
    doubts = [job for job in jobs if job.is_doubt]
    lived.doubts = [
        job
        for job in doubts
        if any(may_be_sent(fuse.steps, job.id, is_on_network=place.is_on_network) for fuse in lived.fuses)
    ]
    assert doubts == lived.doubts or expects_doubts, (lived.kills, "a doubt that no kill has made", doubts)
    if not lived.doubts:
        assert names_and_contents(tree_of(place, jobs), story) == names_and_contents(story.ends, story), lived.kills
    for doubt in doubts:
        stands = Path(str(doubt.error_path)).relative_to(place.folder)
        assert tree_of(place)[f"{stands}.error.json"] == b"submission_unknown", lived.kills
    if doubts:
        await _resolve(place, story, lived)
    check_ledger(place, lived)
    return lived


def is_failing(daemon: Daemon) -> bool:
    """Tell whether a file is on its way to the error folder: until it stands there, a person is told to wait."""
    return any(number for (_, state), number in daemon.scheduler.book.counts.items() if state is State.FAILING)


async def _resolve(place: Place, story: Story, lived: Lived) -> None:
    """Answer the doubts by the ledger: then all must end as if nobody had died."""
    daemon = await place.start()
    await daemon.run_until(lambda: not is_failing(daemon))
    await resolve(daemon)
    await daemon.run_to_idle()
    jobs = await daemon.jobs()
    await daemon.stop()
    check_instant(place, story, lived)
    end = names_and_contents(story.resolved or story.ends, story)
    assert names_and_contents(tree_of(place, jobs), story) == end, (lived.kills, "resolved")


def names_and_contents(tree: Tree, story: Story) -> tuple[list[str], list[bytes]] | Tree:
    """Give a tree for comparing; where two files have one name, the kill decides which of them is first."""
    return (sorted(tree), sorted(tree.values())) if story.is_race else tree


def check_instant(place: Place, story: Story, lived: Lived) -> None:
    """Nothing is lost, nothing is half, nothing is paid twice: at any instant."""
    tree = tree_of(place)
    for content in story.contents:
        stands = [name for name, found in tree.items() if found == content]
        copies = len({(place.folder / name).stat().st_ino for name in stands})  # a link on its way is one file
        wanted = place.dropped.count(content)
        assert copies in range(wanted if story.keeps_originals else 0, wanted + story.copies + 1), (lived.kills, stands)
        paid = sum(1 for sent in place.api.accepted if sent.csv == content)
        assert paid <= story.most_paid, (lived.kills, "paid", paid)
    whole = [found for end in (story.ends, story.resolved or {}) for name, found in end.items() if "/outbox/" in name]
    results = {name: found for name, found in tree.items() if "/outbox/" in name and "/." not in name}
    assert all(found in whole for found in results.values()), (lived.kills, results)


def check_ledger(place: Place, lived: Lived) -> None:
    """Hold the ledger against what BulkGPT bills, whenever we died; nothing is left open in it."""
    with StateReader.open(place.state) as state:
        lines = state.ledger("")
    told = {what: sum(getattr(line, f"{what}_files") for line in lines) for what in ("accepted", "doubt")}
    assert told == {"accepted": len(place.api.accepted), "doubt": 0}, (lived.kills, lines)
    assert all(line.submitted_files == line.accepted_files + line.refused_files for line in lines), lived.kills


def may_be_sent(steps: list[str], job_id: str, *, is_on_network: bool) -> bool:
    """
    Tell whether a life ended between the point of no return of a job and the commit of its answer.

    Shape: what says that the point was passed is the file's name, and on a share, which may undo that, the commit.
    """
    is_sent = False
    for step in steps:
        if step.startswith("after rename") and f"/{job_id}-" in step and f"/{job_id}.sent-" in step:
            is_sent = is_on_network or f"/{job_id}.sent-" in step.partition(">")[2]
        elif step.startswith("after commit") and step.endswith(f" of {job_id}"):
            is_sent = is_on_network and " of Passed of " in step
    return is_sent
