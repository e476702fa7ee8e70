"""What a daemon frees goes back to the machine."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

LIFE = """
import ctypes, sys
from bulkgpt_watchd.adapters.memory import give_back_large_blocks

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks".split()] + [
        (str(number), ctypes.c_size_t) for number in range(4)]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if sys.argv[1:]:
    give_back_large_blocks()
block = bytes(8 << 20)
del block  # glibc, left alone, takes its size for the limit from now on
before = mallinfo().hblks
block = bytes(256 << 10)
print(mallinfo().hblks - before)
"""
"""A process of its own, since the setting stays; it prints how many mappings its block of 256 KiB has for itself."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc 2.33 or newer tells what it mapped")
def test_a_large_block_is_mapped_by_itself_however_large_one_was_freed_before() -> None:
    left_alone, held = (
        subprocess.run([sys.executable, "-c", LIFE, *more], capture_output=True, text=True, check=True).stdout.strip()
        for more in ([], ["held"])
    )
    assert (left_alone, held) == ("0", "1")
