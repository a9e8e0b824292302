"""A stored study opened further: what its networks predicted, and the weights of a few of them, read from the store's artefacts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.verdicts import DENSE
from secateur.reports.inside import Identity, Predictions
from secateur.studies.results import Study

LARGEST = 20_000_000


class OpenedStudy(Study):
    """A study with `predictions()`, `weights()` and `words()`: its report gets the sections that look inside.

    `words` is the vocabulary in the order of the embedding's rows, `looked_at` the words whose neighbours and radar are shown.
    """

    def __init__(self, study: Study, words: Sequence[str] = (), looked_at: Sequence[str] = ()) -> None:
        super().__init__(study.store, study.record)
        self._words, self._looked_at = tuple(words), tuple(looked_at)

    def predictions(self) -> Iterator[Predictions]:
        """Classes of the test split, true and predicted, of every run that is evaluated; none for tasks that predict no classes."""
        from safetensors.numpy import load

        for cell, identity in self._cells():
            stored = self._node(cell["evaluate"])
            if stored is None or "predictions" not in stored.artefacts:
                continue
            arrays = load(self.store.read(cell["evaluate"], "predictions"))
            if "targets" in arrays and arrays["targets"].ndim == 1 and np.issubdtype(arrays["targets"].dtype, np.integer):
                yield identity, arrays["targets"].astype(np.int64), arrays["predictions"].astype(np.int64)

    def weights(self) -> Iterator[tuple[Identity, str, dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]]:
        """Weights of the first replicate: dense at its start and its best, then each arm's middle and last level at their best."""
        from secateur.training.states import State

        for cell, identity, name, when in self._shown():
            stored = self._node(cell["train"])
            if stored is None or name not in stored.artefacts:
                continue
            state = State.from_bytes(self.store.read(cell["train"], name))
            values = {key: tensor.float().numpy() for key, tensor in state.model.items() if tensor.ndim >= 2 and tensor.numel() <= LARGEST}
            patterns = state.mask.patterns if state.mask is not None else {}
            yield identity, when, values, {key: patterns[key].flags() for key in values if key in patterns}

    def words(self) -> tuple[Sequence[str], Sequence[str]]:
        """The vocabulary and the words to look at, as given."""
        return self._words, self._looked_at

    def _shown(self) -> Iterator[tuple[Any, dict[str, Any], str, str]]:
        cells = [(cell, identity) for cell, identity in self._cells() if self._node(cell["train"]) is not None]
        if not cells:
            return
        first = min(identity["replicate"] for _, identity in cells)
        factors = next({key: value for key, value in identity.items() if key.startswith("factor.")} for _, identity in cells)
        mine = [(cell, identity) for cell, identity in cells if identity["replicate"] == first and factors.items() <= identity.items()]
        for arm in self.arms:
            levels = sorted(
                ((identity["level"], cell, identity) for cell, identity in mine if identity["arm"] == arm), key=lambda entry: entry[0]
            )
            if arm == DENSE and levels:
                _, cell, identity = levels[0]
                yield cell, identity, "state/0", "start"
            for level in sorted({levels[len(levels) // 2][0], levels[-1][0]}) if levels else ():
                cell, identity = next((cell, identity) for own, cell, identity in levels if own == level)
                yield cell, identity, "state/best", "end"
