"""How this process computes: set once, before the first parallel region, in every process that trains or measures."""

from __future__ import annotations

import ctypes

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def prepare(threads: int) -> None:
    """Use `threads` threads, flush denormal numbers to zero, ask for deterministic algorithms and keep memory that was freed.

    The vanishing gradients of long sequences become denormal numbers, which x86 computes in microcode, a hundred times
    slower; dense and sparse execution and every baseline flush them alike.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Deterministic mode would also fill every new tensor with NaN, a sixth of a small network's time; no result reads them.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """What glibc gives back to the system it takes anew, page by page, for the next gradients: a tenth of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 1 << 29)
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most it takes
