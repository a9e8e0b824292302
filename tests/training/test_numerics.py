"""How a process computes once it is prepared."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from secateur.training.numerics import prepare

if sys.argv[1] == "prepared":
    prepare(1)
c = ctypes.CDLL(None)
c.malloc.restype, c.memset.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
places = [0] * 8
for number in range(12):
    if number == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for place in range(8):
        places[place] = c.malloc(8 << 20)
        c.memset(places[place], 1, 8 << 20)
    for place in range(8):
        c.free(places[place])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is asked to keep what was freed")
def test_memory_that_was_freed_is_not_taken_anew_page_by_page() -> None:
    pages = 10 * 8 * (8 << 20) // 4096
    assert faults("prepared") < pages // 100
    assert faults("as it comes") > pages // 2
