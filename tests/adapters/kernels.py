"""Kernels that fail, die, lose answers, let others act in between, or check what was brought to disk."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bulkgpt_watchd.adapters.folders import Kernel

When = Callable[[str, tuple[Any, ...]], bool]
"""Pick calls by name and arguments."""

CALLS = frozenset(name for name in vars(Kernel) if not name.startswith("_"))
CHANGES = frozenset(
    {"write", "mkdir", "rename", "rename_noreplace", "link", "unlink", "fsync", "fchmod", "fchown", "utime"}
)
RENAMES = ("rename_noreplace", "link", "rename")

LOCAL: Mapping[str, int] = {}
NFS: Mapping[str, int] = {"rename_noreplace": errno.EINVAL}
WITHOUT_LINKS: Mapping[str, int] = {"rename_noreplace": errno.EINVAL, "link": errno.EPERM}
FILE_SYSTEMS = {"local": LOCAL, "nfs": NFS, "without links": WITHOUT_LINKS}


class Killed(BaseException):
    """Be a death at this very call."""


class Hooked(Kernel):
    """Let *around* stand before every call: it gets the call's name, the call, and its arguments."""

    def __getattribute__(self, name: str) -> Any:
        call = super().__getattribute__(name)
        if name not in CALLS:
            return call
        return lambda *args, **named: self.around(name, call, *args, **named)

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        del name
        return call(*args, **named)


def is_change(name: str, args: tuple[Any, ...]) -> bool:
    return name in CHANGES or (name == "open" and bool(args[1] & os.O_CREAT))


class Failing(Hooked):
    """Answer calls with an error: always, or for the first *times* of each."""

    def __init__(self, errors: Mapping[str, int], times: int | None = None) -> None:
        self.errors = errors
        self.left = dict.fromkeys(errors, -1 if times is None else times)

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if name in self.errors and self.left[name] != 0 and not is_across(named):
            self.left[name] -= 1
            raise OSError(self.errors[name], os.strerror(self.errors[name]))
        return call(*args, **named)


class FailingWhen(Hooked):
    """Answer the calls that *when* picks with an error."""

    def __init__(self, code: int, when: When) -> None:
        self.code = code
        self.when = when

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self.when(name, args):
            raise OSError(self.code, os.strerror(self.code))
        return call(*args, **named)


class WithoutNames(Hooked):
    """
    Have no name with one of some characters.

    Shape: *is_told*: also when such a name is looked at, as on CIFS; else it is said not to be there, as on vfat.
    *within* names the folders that lie there; without it all do.
    """

    def __init__(self, characters: str, *, is_told: bool = True, within: tuple[str, ...] = ("",)) -> None:
        self.characters = frozenset(characters)
        self.is_told = is_told
        self.within = within

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        folders = [os.readlink(f"/proc/self/fd/{opened}") for key, opened in named.items() if key.endswith("dir_fd")]
        texts = [text for text in args if isinstance(text, str)]
        # Of two, a rename has the source first.
        for folder, text in zip(folders, texts, strict=len(folders) == 2):
            if self.characters & set(text) and any(inside in folder for inside in self.within):
                is_made = name in {"mkdir", "link", *RENAMES} or (name == "open" and bool(args[1] & os.O_CREAT))
                code = errno.EINVAL if self.is_told or is_made else errno.ENOENT
                raise OSError(code, os.strerror(code))
        return call(*args, **named)


class Recording(Hooked):
    """Note the names of calls and what they were about."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        self.calls.append((name, args[0]))
        return call(*args, **named)


class Short(Hooked):
    """Read and write less than was asked for."""

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if name == "read":
            args = (args[0], min(args[1], 3))
        if name == "write":
            args = (args[0], bytes(args[1])[:1000])
        return call(*args, **named)


def is_across(named: Mapping[str, Any]) -> bool:
    """Tell whether a call is between two file systems; the kernel sees that (EXDEV) before it asks one of them."""
    folders = [os.fstat(named[key]).st_dev for key in ("src_dir_fd", "dst_dir_fd") if key in named]
    return len(set(folders)) > 1


class Dying(Failing):
    """Die before, or after, the n-th call that changes something; the dead change nothing more."""

    def __init__(self, errors: Mapping[str, int], step: int, after: bool) -> None:
        super().__init__(errors)
        self.step = step
        self.after = after

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if not is_change(name, args):
            return super().around(name, call, *args, **named)
        self.step -= 1
        if self.step < 0 or (self.step == 0 and not self.after):
            raise Killed(name)
        result = super().around(name, call, *args, **named)
        if self.step == 0:
            raise Killed(name)
        return result


class LosingAnswers(Hooked):
    """Do what was asked, and answer with an error all the same, as NFS may."""

    def __init__(self, lost: Mapping[str, int], errors: Mapping[str, int] = LOCAL) -> None:
        self.lost = lost
        self.errors = errors

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))
        result = call(*args, **named)
        if name in self.lost:
            raise OSError(self.lost[name], os.strerror(self.lost[name]))
        return result


class Interrupted(Hooked):
    """Let somebody act once, just before the first call that *when* picks."""

    def __init__(self, when: When, action: Callable[[], object]) -> None:
        self.when = when
        self.action: Callable[[], object] | None = action

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self.action is not None and self.when(name, args):
            action, self.action = self.action, None
            action()
        return call(*args, **named)


class Hanging(Hooked):
    """
    Hang, as a dead share does, at the first call that *when* picks, and then at all of its route, until *freed*.

    Shape: *route* is None as long as nothing hangs.
    """

    def __init__(self, when: When) -> None:
        self.when = when
        self.route: str | None = None
        self.freed = threading.Event()

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        route = threading.current_thread().name.removeprefix("route ")
        if self.route is None and self.when(name, args):
            self.route = route
        if self.route == route:
            self.freed.wait()
        return call(*args, **named)


class Careful(Failing):
    """Know what a power cut would lose: names of folders, and bytes of files, that were changed and not synced."""

    def __init__(self, errors: Mapping[str, int] = LOCAL) -> None:
        super().__init__(errors)
        self.unsynced: set[tuple[int, int]] = set()

    def around(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        folders = [named[key] for key in ("dir_fd", "src_dir_fd", "dst_dir_fd") if key in named]
        if name in RENAMES:
            moved = os.stat(args[0], dir_fd=named["src_dir_fd"], follow_symlinks=False)
            assert (moved.st_dev, moved.st_ino) not in self.unsynced, "renamed before its bytes were on disk"
        try:
            result = super().around(name, call, *args, **named)
        except OSError:
            folders = []
            raise
        finally:
            if is_change(name, args):
                self.unsynced.update(map(identity, folders))
        if name in {"write", "fchmod", "fchown"}:
            self.unsynced.add(identity(args[0]))
        if name == "fsync":
            self.unsynced.discard(identity(args[0]))
        return result


def identity(opened: int) -> tuple[int, int]:
    found = os.fstat(opened)
    return found.st_dev, found.st_ino


def deaths() -> Iterator[tuple[int, bool]]:
    """Give every step, and whether to die before or after it; the caller stops when one lived."""
    return ((step, after) for step in itertools.count(1) for after in (False, True))
