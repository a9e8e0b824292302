"""How long the recipes that come with Secateur take: a table that comes with them, since to estimate needs the data.

`python benchmarks/recipe_times.py` writes it anew; each entry says which form of the recipe it is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from secateur.canonical import canonical_json, digest

FORMAT = 1
FILE = "recipe_times.json"
_WORDS = ("title", "study", "about", "expect", "margin")


@dataclass(frozen=True)
class RecipeTimes:
    """Seconds of each recipe's presets, the forms of the recipes they were estimated for, and the machine."""

    seconds: Mapping[str, Mapping[str, float]]
    forms: Mapping[str, Mapping[str, str]]
    machine: str

    def to_json(self) -> str:
        """The table as JSON, a line a recipe."""
        lines = ",\n".join(
            f"  {json.dumps(name)}: {canonical_json({preset: [seconds, self.forms[name][preset]] for preset, seconds in row.items()})}"
            for name, row in sorted(self.seconds.items())
        )
        return f'{{"format": {FORMAT}, "machine": {json.dumps(self.machine)}, "recipes": {{\n{lines}\n}}}}\n'


def form_of(content: Mapping[str, Any]) -> str:
    """What a merged recipe's time depends on, as a short digest: everything but its words."""
    kept = {key: value for key, value in content.items() if key not in _WORDS}
    arms = {arm: {key: value for key, value in table.items() if key != "about"} for arm, table in kept.pop("arms", {}).items()}
    return digest({**kept, "arms": arms})[:12]


@cache
def recipe_times() -> RecipeTimes:
    """The table that comes with the package."""
    table = json.loads(files("secateur.reports").joinpath(FILE).read_text())
    entries: Mapping[str, Mapping[str, tuple[float, str]]] = table["recipes"]
    return RecipeTimes(
        {name: {preset: seconds for preset, (seconds, _) in row.items()} for name, row in entries.items()},
        {name: {preset: form for preset, (_, form) in row.items()} for name, row in entries.items()},
        table["machine"],
    )
