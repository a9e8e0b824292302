"""Loading the data sets that nodes name, each once a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.canonical import canonical_json
from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.registry import datasets
from secateur.studies.options import bind


class DatasetSource:
    """Data sets by their tables, from the raw files that can be had here."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._loaded: dict[str, Dataset] = {}

    def load(self, table: Mapping[str, Any]) -> Dataset:
        """The data set that a checked table (every default written out) describes."""
        key = canonical_json(table)
        if key not in self._loaded:
            entry = datasets.entry(str(table["name"]))
            options = {name: value for name, value in table.items() if name not in ("name", "source")}
            self._loaded[key] = entry.make(self.files, **bind(entry, options, f"data {table['name']}"))
        return self._loaded[key]
