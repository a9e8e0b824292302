"""Shared settings of the tests: one thread, no network, helper modules beside the tests importable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SECATEUR_OFFLINE", "1")
sys.path[:0] = [str(folder) for folder in sorted(Path(__file__).parent.iterdir()) if folder.is_dir()]

from hypothesis import settings  # noqa: E402

from secateur.training.numerics import prepare  # noqa: E402

prepare(1)
settings.register_profile("secateur", deadline=None, max_examples=60)
settings.load_profile("secateur")
