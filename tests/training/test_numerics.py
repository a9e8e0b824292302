"""How a process computes once it is prepared."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from secateur.training.numerics import prepare

if sys.argv[1] == "prepared":
    prepare(1)
for number in range(30):
    if number == 20:  # small things between large ones have found their places
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 18)  # 16 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is asked to keep what was freed")
def test_memory_that_was_freed_is_not_taken_anew_page_by_page() -> None:
    pages = 10 * (16 << 20) // 4096
    assert faults("prepared") < pages // 100
    assert faults("as it comes") > pages // 2
