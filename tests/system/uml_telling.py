"""Tell the stories of a job in a kernel of its own, one after the other, and leave the facts of each as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkgpt_watchd.sandbox import Sandbox, SandboxOptions
from tests.system.bed import KEY, Bed
from tests.system.bulk import bulk
from tests.system.process import Daemon
from tests.system.uml_shares import Cifs, Nfs, mounted

OUT = Path("/run/out")
"""What the test outside sees."""

BEDS = Path("/run/beds")

Facts = dict[str, Any]


class ShareBed(Bed):
    """
    Hold a bed whose route `leads` lies on a share, and `more` beside it on a local disk.

    Shape: *there* is the folder of `leads` as the server has it: what is done there is done by somebody else.
    """

    def __init__(self, folder: Path, sandbox: Sandbox, server: Nfs | Cifs, options: str) -> None:
        super().__init__(folder, sandbox)
        self.server = server
        self.there = server.folder / folder.name
        self._options = options
        for shared in (self.there, self.there / "inbox"):
            shared.mkdir(exist_ok=True)
            shared.chmod(0o777)

    def mounted(self) -> AbstractContextManager[None]:
        """Mount the share where the route is."""
        return mounted(self.server.kind, self.server.source(self.there.name), self.folder / "leads", self._options)

    def remote(self, name: str, content: bytes) -> None:
        """Let somebody else put a whole file into the inbox."""
        dotted = self.there / "inbox" / ".from-elsewhere"
        dotted.write_bytes(content)
        dotted.rename(self.there / "inbox" / name)
        self.expect(content)

    def expect(self, content: bytes) -> None:
        """Count a file that somebody else put there: it must not be lost."""
        self.dropped[hashlib.sha256(content).hexdigest()] += 1

    def sent(self) -> list[str | None]:
        """Give the hashes of what was paid for, in order."""
        return [record.sha256 for record in self.sandbox.accepted]


@dataclass(frozen=True)
class Story:
    """
    Hold one story.

    Shape: *options* are those of its mount. What it returns are its facts; what holds in every story is asked then.
    """

    tells: Callable[[ShareBed], Facts]
    options: str

    @property
    def name(self) -> str:
        return self.tells.__name__


def tell(stories: Iterable[Story], server: Nfs | Cifs) -> None:
    """Tell the stories; $STORIES names those that are wanted where it is not all."""
    wanted = os.environ.get("STORIES", "").split()
    for each in stories:
        if not wanted or each.name in wanted:
            began = time.monotonic()
            facts = _told(each, server)
            leave_outside(each.name, facts)
            print(f"{each.name}: {time.monotonic() - began:.0f} s", facts, flush=True)  # noqa: T201 it is the console


def leave_outside(name: str, what: Any) -> None:
    """Leave a fact for the test outside, whole; the mount is synchronous, so it is there before this returns."""
    (OUT / f".{name}").write_text(json.dumps(what, indent=1, default=str))
    (OUT / f".{name}").rename(OUT / f"{name}.json")


def _told(each: Story, server: Nfs | Cifs) -> Facts:
    folder = BEDS / each.name
    folder.mkdir(parents=True)
    with bulk(SandboxOptions.instant(key=KEY)) as sandbox:
        bed = ShareBed(folder, sandbox, server, each.options)
        try:
            with bed.mounted():
                bed.route("leads", min_free="1MB")
                bed.route("more", min_free="1MB")
                facts = each.tells(bed)
                bed.leave()
            return facts
        except Exception:  # noqa: BLE001 it is the fact of this story, and the others are told all the same
            return {"broke_off": traceback.format_exc(), "logs": [daemon.tail() for daemon in bed.daemons]}
        finally:
            bed.kill()


def threads(daemon: Daemon) -> int:
    """Count the threads of a daemon."""
    return len(os.listdir(f"/proc/{daemon.pid}/task"))


def descriptors(daemon: Daemon) -> int:
    """Count what a daemon has open."""
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def inotify_watches(daemon: Daemon) -> int:
    """Count the folders that a daemon watches."""
    watches = 0
    for info in Path(f"/proc/{daemon.pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            watches += info.read_text().count("inotify wd:")
    return watches
