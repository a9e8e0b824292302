import subprocess
import sys

import torch

from secateur.seeds import generator, seed_for


def test_seeds_are_the_same_on_every_machine() -> None:
    assert (seed_for(0, "init"), seed_for(3, "prune")) == (4979779023951513052, 5231257876494783464)
    fresh = subprocess.run(
        [sys.executable, "-c", "from secateur.seeds import seed_for; print(seed_for(3, 'prune'))"],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "1", "PATH": ""},
    )  # fmt: skip
    assert int(fresh.stdout) == seed_for(3, "prune")


def test_purposes_and_replicates_get_seeds_of_their_own() -> None:
    seeds = {seed_for(replicate, purpose) for replicate in range(50) for purpose in ("init", "data-order", "dropout", "prune", "reinit")}
    assert len(seeds) == 250
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_repeats_and_its_places_differ() -> None:
    def draw(*path: int | str) -> list[float]:
        drawn: list[float] = torch.rand(4, generator=generator(7, *path)).tolist()
        return drawn

    assert draw("fc1") == draw("fc1")
    assert draw("fc1") != draw("fc2")
    assert draw(1, 2) != draw(12)
    assert draw() != draw("fc1")


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    torch.rand(3, generator=generator(1))
    assert torch.equal(before, torch.random.get_rng_state())
