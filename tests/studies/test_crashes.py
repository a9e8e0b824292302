"""A study that is killed anywhere ends, once restarted, with the same bytes as one that was not."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_studies import contents, run_tiny

from secateur.studies import faults
from secateur.studies.store import Store

SMALL = ("replicates=1", "prune.schedule.levels=1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed")
    run_tiny(store, SMALL)
    return contents(store)


@contextmanager
def another_process(store: Path, fault: str = "") -> Iterator[int]:
    """A copy of this process that runs the study, and dies at `fault`. Yields its process id."""
    child = os.fork()
    if child == 0:
        try:
            faults.arm(fault)
            run_tiny(store, SMALL)
        finally:
            os._exit(0)
    yield child


@pytest.mark.parametrize("point", faults.POINTS)
@pytest.mark.parametrize("count", [1, 4])
def test_death_at_a_named_point_changes_nothing(point: str, count: int, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with another_process(tmp_path, f"{point}:{count}") as child:
        _, status = os.waitpid(child, 0)
    if count == 1:
        assert os.WIFSIGNALED(status), f"the study never came to {point}"
    run_tiny(tmp_path, SMALL)
    assert contents(tmp_path) == undisturbed


@pytest.mark.parametrize("moment", range(20))
def test_death_at_a_random_moment_changes_nothing(moment: int, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    draw = random.Random(moment)
    with another_process(tmp_path) as child:
        time.sleep(draw.uniform(0.0, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    run_tiny(tmp_path, SMALL)
    assert contents(tmp_path) == undisturbed


def test_two_processes_share_a_store_without_doing_a_node_twice(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with another_process(tmp_path) as child:
        run_tiny(tmp_path, SMALL)
        _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status)
    assert contents(tmp_path) == undisturbed


def test_a_dead_holder_loses_its_lease_and_a_living_one_keeps_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lease("a" * 64) as mine, store.lease("a" * 64) as second:
        assert (mine, second) == (True, False)
        assert store.leased("a" * 64)
    assert not store.leased("a" * 64)
    child = os.fork()
    if child == 0:
        with store.lease("b" * 64):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with store.lease("b" * 64) as mine:
        assert mine
