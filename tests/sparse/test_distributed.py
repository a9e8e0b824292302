"""Sparse layers under `DistributedDataParallel`: each process takes half of the batch, and all hold the gradient of the whole."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from secateur.seeds import generator
from secateur.sparse import SparseLinear, SparseLSTM

WORLD = 2


class Network(nn.Module):
    """(steps, batch, 20) -> (batch, 5), with columns of 16 and of 32 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = SparseLSTM.random(20, 12, density=0.3, seed=1)
        self.wide = SparseLinear.random(12, 70_000, density=1e-3, seed=2)
        self.out = SparseLinear.random(70_000, 5, density=1e-2, seed=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.wide(self.lstm(x)[0][-1]))


def examples() -> Tensor:
    return torch.randn(6, 8, 20, generator=generator(4))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    network = Network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(rank)  # what another process begins with does not count: the first one's is sent to all
    parallel = DistributedDataParallel(network)
    for _ in range(2):
        parallel.zero_grad()
        parallel(examples().chunk(WORLD, 1)[rank]).square().mean().backward()
    torch.save({name: parameter.grad for name, parameter in network.named_parameters()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), WORLD)
    network = Network()
    network(examples()).square().mean().backward()
    wanted = {name: parameter.grad for name, parameter in network.named_parameters()}
    for rank in range(WORLD):
        assert_close(torch.load(tmp_path / f"{rank}.pt", weights_only=True), wanted)
