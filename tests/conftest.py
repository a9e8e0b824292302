"""Shared settings of the tests: one thread, no network, helper modules beside the tests importable."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SECATEUR_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent / "studies"))

from hypothesis import settings

from secateur.training.numerics import prepare

prepare(1)
settings.register_profile("secateur", deadline=None, max_examples=60)
settings.load_profile("secateur")
