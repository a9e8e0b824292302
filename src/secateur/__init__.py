"""Secateur prunes neural language models, finds their winning tickets and makes them really small and fast.

Names are imported on first use, so that `import secateur` (and `secateur --help`) needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Dropout": "secateur.dropout",
    "Mask": "secateur.masks",
    "Study": "secateur.studies.results",
    "apply": "secateur.masks",
    "compress": "secateur.sparse",
    "cost": "secateur.accounting",
    "decompress": "secateur.sparse",
    "find_ticket": "secateur.studies.find_ticket",
    "fold": "secateur.pruning.folding",
    "from_arrays": "secateur.studies.find_ticket",
    "prune": "secateur.pruning.prune",
    "run": "secateur.studies.run",
    "score": "secateur.pruning.prune",
    "sparse": "secateur.sparse",
}

__all__ = [
    "Dropout",
    "Mask",
    "Study",
    "__version__",
    "apply",
    "compress",
    "cost",
    "decompress",
    "find_ticket",
    "fold",
    "from_arrays",
    "prune",
    "run",
    "score",
    "sparse",
]

if TYPE_CHECKING:
    from secateur import sparse
    from secateur.accounting import cost
    from secateur.dropout import Dropout
    from secateur.masks import Mask, apply
    from secateur.pruning.folding import fold
    from secateur.pruning.prune import prune, score
    from secateur.sparse import compress, decompress
    from secateur.studies.find_ticket import find_ticket, from_arrays
    from secateur.studies.results import Study
    from secateur.studies.run import run


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home = importlib.import_module(_HOMES[name])
        return home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
