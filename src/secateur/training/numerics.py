"""How this process computes: set once, before the first parallel region, in every process that trains or measures."""

from __future__ import annotations

import torch


def prepare(threads: int) -> None:
    """Use `threads` threads, flush denormal numbers to zero and ask for deterministic algorithms.

    The vanishing gradients of long sequences become denormal numbers, which x86 computes in microcode, a hundred times
    slower; dense and sparse execution and every baseline flush them alike.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Deterministic mode would also fill every new tensor with NaN, a sixth of a small network's time; no result reads them.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
