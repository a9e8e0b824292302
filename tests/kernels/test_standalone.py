"""The C++ test of the kernels: under sanitizers, for every instruction set, and for another processor under emulation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from secateur import _kernels

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cmake") is None or not (ROOT / "CMakeLists.txt").exists(), reason="needs cmake and the sources"),
]


def built(folder: Path, *options: str) -> Path:
    """The test program, configured with `options`."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DSECATEUR_PYTHON=OFF", "-DSECATEUR_KERNEL_TESTS=ON", *options]
    for command in (configure, ["cmake", "--build", str(folder)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "kernels_test"


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(tmp_path: Path, sanitizers: str) -> None:
    program = built(tmp_path, f"-DSECATEUR_SANITIZE={sanitizers}")
    for isa in _kernels.instruction_sets():
        assert run(str(program), SECATEUR_ISA=isa).startswith(f"{isa}, threads from pool: passed")


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("aarch64-linux-gnu-g++") or not shutil.which("qemu-aarch64"),
    reason="needs a compiler for arm64 and qemu-user",
)
def test_arm64_under_emulation(tmp_path: Path) -> None:
    program = built(tmp_path, "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++")
    assert run("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(program)).startswith("baseline, threads from pool: passed")
