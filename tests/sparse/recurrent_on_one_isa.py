"""Run by test_recurrent.py in a process of its own: every kind of layer against torch's on the instruction set that SECATEUR_ISA names."""

from __future__ import annotations

import itertools
import sys

import torch
from test_recurrent import KINDS, compare, first_states, pair

from secateur import _kernels
from secateur.seeds import generator


def main() -> None:
    assert _kernels.instruction_set() == sys.argv[1]
    for kind, batch, dtype in itertools.product(sorted(KINDS), (1, 3, 8, 13, 20, 31, 75, 140), (torch.float32, torch.float64)):
        dense, sparse, masks = pair(kind, 19, 37, 0.2, dtype=dtype, bidirectional=True)
        x = torch.randn(5, batch, 19, generator=generator(batch), dtype=dtype).requires_grad_()
        states = first_states(kind, 2, batch, 37, dtype, batch)
        compare(dense, sparse, masks, x, states, 2e-4 if dtype is torch.float32 else 1e-10)


if __name__ == "__main__":
    main()
