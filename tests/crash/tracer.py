"""
Stop a process at every system call of all its threads, as a debugger does, and tell the caller.

strace can kill at the n-th call, but counts for each thread by itself, knows no "below this folder", and kills at the
beginning of a call only; a sweep over the whole process needs one count.

Source: ptrace(2). The tracer is the thread that seized, and the process has a group of its own, so that waiting for its
threads takes no other child's end away.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_SEIZE, _INTERRUPT, _SYSCALL, _GET_SYSCALL_INFO, _POKE = 0x4206, 0x4207, 24, 0x420E, 6
_OPTIONS = 0x1 | 0x8 | 0x100000
"""Tell stops at calls from signals (TRACESYSGOOD), seize new threads (TRACECLONE), let nobody outlive us (EXITKILL)."""

_AT_ENTRY, _AT_EXIT = 1, 2
_NUMBER, _RESULT, _THIRD = 8 * 15, 8 * 10, 8 * 12
"""Places of registers for a thread at a call: orig_rax, rax, and rdx (struct user, x86_64)."""

_HELD_LOOK_S = 0.002
"""How often is asked whether a thread that is held may go on."""

_AT_CALL = signal.SIGTRAP | 0x80
_WALL = 0x40000000
"""Wait for threads too (__WALL)."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long


def why_not() -> str | None:
    """Say why nothing can be traced here, or None."""
    if platform.machine() != "x86_64":
        return "the numbers of system calls are known for x86_64 only: run it there"
    with subprocess.Popen(["sleep", "60"], process_group=0) as child:  # any child will do
        try:
            _ptrace(_SEIZE, child.pid, data=_OPTIONS)
        except OSError as error:
            return f"ptrace is forbidden ({error.strerror}): allow it (CAP_SYS_PTRACE, seccomp=unconfined)"
        finally:
            child.kill()
    return None


class _Info(ctypes.Structure):
    """struct ptrace_syscall_info, without what only seccomp stops have; an exit's result lies where the number does."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


@dataclass(frozen=True)
class Call:
    """One system call of one thread; *result*: None at its entry."""

    thread: int
    number: int
    args: tuple[int, ...]
    result: int | None = None


class Tracer:
    """Trace one child with a process group of its own, from now to its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert os.getpgid(process.pid) == process.pid, "start it with process_group=0"
        self._process = process
        self._entered: dict[int, Call] = {}
        self._answers: dict[int, int] = {}
        self._held: dict[int, Callable[[], bool]] = {}
        threads: set[str] = set()
        while new := set(os.listdir(f"/proc/{process.pid}/task")) - threads:  # until none came meanwhile
            for thread in new:
                with suppress(ProcessLookupError, PermissionError):  # ended, or seized by its creation meanwhile
                    _ptrace(_SEIZE, int(thread), data=_OPTIONS)
                    _ptrace(_INTERRUPT, int(thread))
            threads |= new

    def run(self, meet: Callable[[Call], None]) -> int:
        """Let it go on to its end, and tell every entry and exit of a call; give the exit code as Popen does."""
        while True:
            thread, status = self._wait()
            if not os.WIFSTOPPED(status):
                for told in (self._entered, self._answers, self._held):
                    told.pop(thread, None)
                if thread == self._process.pid:
                    self._process.returncode = os.waitstatus_to_exitcode(status)  # nobody else can ask any more
                    return self._process.returncode
                continue
            passed_on = 0
            with suppress(ProcessLookupError):  # killed meanwhile
                if os.WSTOPSIG(status) == _AT_CALL:
                    self._meet(thread, meet)
                elif status >> 16 == 0:  # no event of tracing: a signal that is on its way
                    passed_on = os.WSTOPSIG(status)
                if thread not in self._held:
                    _ptrace(_SYSCALL, thread, data=passed_on)

    def answer(self, call: Call, result: int) -> None:
        """Let a call, at its entry, do nothing and end with *result*; an error is minus its number."""
        self._answers[call.thread] = result
        _ptrace(_POKE, call.thread, _NUMBER, -1)

    def shorten(self, call: Call, length: int) -> None:
        """Let a read or write, at its entry, be asked for fewer bytes."""
        _ptrace(_POKE, call.thread, _THIRD, length)

    def hold(self, call: Call, until: Callable[[], bool]) -> None:
        """Keep its thread, and no other, from going on."""
        self._held[call.thread] = until

    def _wait(self) -> tuple[int, int]:
        while self._held:
            for thread in [thread for thread, may_go_on in self._held.items() if may_go_on()]:
                del self._held[thread]
                with suppress(ProcessLookupError):
                    _ptrace(_SYSCALL, thread)
            thread, status = os.waitpid(-self._process.pid, _WALL | os.WNOHANG)
            if thread:
                return thread, status
            time.sleep(_HELD_LOOK_S)
        return os.waitpid(-self._process.pid, _WALL)

    def _meet(self, thread: int, meet: Callable[[Call], None]) -> None:
        info = _Info()
        _ptrace(_GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
        if info.op == _AT_ENTRY:
            self._entered[thread] = call = Call(thread, info.number, tuple(info.args))
            meet(call)
        elif info.op == _AT_EXIT and (entered := self._entered.pop(thread, None)) is not None:
            result = self._answers.pop(thread, ctypes.c_int64(info.number).value)
            _ptrace(_POKE, thread, _RESULT, result)
            meet(Call(thread, entered.number, entered.args, result))

    def text(self, address: int) -> bytes:
        """Read a string from its memory, such as a path."""
        with open(f"/proc/{self._process.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            try:
                read = memory.read(4096)
            except OSError:
                return b""
        return read.partition(b"\0")[0]

    def descriptor(self, number: int) -> str:
        """Say what a descriptor of it is open on: a path, or `socket:[inode]`; empty: nothing."""
        with suppress(OSError):
            return os.readlink(f"/proc/{self._process.pid}/fd/{number}")
        return ""


def _ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> None:
    ctypes.set_errno(0)
    if (
        _libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), ctypes.c_void_p(address), ctypes.c_void_p(data))
        == -1
    ):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code)) if code != errno.EIO else ProcessLookupError(code, os.strerror(code))
