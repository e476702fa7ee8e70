"""Hold what the kernel lets a user watch against what this one watches already. Source: inotify(7), proc(5)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bulkgpt_watchd.cli.doctor.finding import Finding, ok, warn

LINK = "anon_inode:inotify"
"""What a descriptor of an instance points to."""


@dataclass(frozen=True, slots=True)
class Used:
    """Hold what other processes of a user take; the limits are for all of his together."""

    watches: int
    instances: int


def used(uid: int, but: int | None) -> Used:
    """Count what the processes of a user have, without those of the daemon; what is not ours to see counts nothing."""
    watches = instances = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another's
            if process.name == str(but) or process.stat().st_uid != uid:
                continue
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if os.readlink(descriptor) == LINK:
                        instances += 1
                        lines = (process / "fdinfo" / descriptor.name).read_text(encoding="ascii").splitlines()
                        watches += sum(line.startswith("inotify ") for line in lines)
    return Used(watches, instances)


def check(wanted: int, others: Used, read: Callable[[str], int] | None = None) -> Iterator[Finding]:
    """Tell whether the kernel lets us watch as many folders as there are to watch."""
    ask = read or _limit
    try:
        most, instances = ask("max_user_watches"), ask("max_user_instances")
    except (OSError, ValueError):
        yield warn("inotify", "skipped: its limits cannot be read; inboxes are scanned in any case")
        return
    text = (
        f"{wanted:,} of {most:,} watches wanted, 1 of {instances:,} instances; "
        f"{others.watches:,} and {others.instances:,} taken by other processes of this user"
    )
    if others.instances >= instances:
        fix = f"sysctl fs.inotify.max_user_instances={instances * 2}, and a file in /etc/sysctl.d to keep it"
        yield warn("inotify", f"{text}: files are found by the scan alone", fix)
    elif (needed := others.watches + wanted) > most:
        fix = f"sysctl fs.inotify.max_user_watches={needed * 2}, and a file in /etc/sysctl.d to keep it"
        yield warn("inotify", f"{text}: files in the others are found by the scan alone", fix)
    else:
        yield ok("inotify", text)


def _limit(name: str) -> int:
    return int(Path("/proc/sys/fs/inotify", name).read_text(encoding="ascii"))
