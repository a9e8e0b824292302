"""Secateur prunes neural language models, finds their winning tickets and makes them really small and fast.

Names are imported on first use, so that `import secateur` (and `secateur --help`) needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Mask": "secateur.masks",
    "apply": "secateur.masks",
    "run": "secateur.studies.run",
    "Study": "secateur.studies.results",
}

__all__ = ["Mask", "Study", "__version__", "apply", "run"]

if TYPE_CHECKING:
    from secateur.masks import Mask, apply
    from secateur.studies.results import Study
    from secateur.studies.run import run


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
