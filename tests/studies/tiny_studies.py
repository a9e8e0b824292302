"""Running the tiny study in this process, and what of a store has to be the same after any history."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from secateur.studies import run as studies
from secateur.studies.results import Study
from secateur.studies.store import Store

RECIPE = Path(__file__).with_name("tiny.toml")


def run_tiny(store: Path, settings: Iterable[str] = (), **more: object) -> Study:
    """The tiny study, computed in this process."""
    return studies.run(RECIPE, store=store, settings=settings, executor="inline", **more)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    """Everything of a store that is compared: facts and artefacts of every node, without timings."""
    store = Store(root)
    found: dict[str, bytes] = {}
    for key in list(store.keys()):
        stored = store.get(key)
        assert stored is not None
        found[f"{key}/facts"] = repr(sorted(stored.facts.items())).encode()
        for name in stored.artefacts:
            found[f"{key}/{name}"] = store.read(key, name)
    return found
