"""A stored study opened further: what its networks predicted, and the weights of a few of them, read from the store's artefacts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.verdicts import DENSE
from secateur.errors import StoreError
from secateur.masks import Mask
from secateur.reports.analyses import Analysis
from secateur.reports.inside import Identity, Predictions
from secateur.reports.questions import early, expense, growth, likeness, restarts, stability, survivors, transfer, translations
from secateur.reports.questions.arms import MOST_LEVELS
from secateur.reports.study import Reported
from secateur.studies.nodes import read_lines
from secateur.studies.results import Study
from secateur.training.states import State

LARGEST = 20_000_000
MOST_MASKS = 40
_PARTICLES = 100
_LETTERS = 5
_LOOKED_AT = 2


class OpenedStudy(Study):
    """A study with `predictions()`, `weights()`, `words()` and `analyses()`: its report gets the sections that look inside.

    `words` is the vocabulary in the order of the embedding's rows (by default the data set's, as the study recorded it), `looked_at` the
    words whose neighbours and radar are shown (by default two frequent ones that are no mere particles).
    """

    def __init__(self, study: Study, words: Sequence[str] = (), looked_at: Sequence[str] = ()) -> None:
        super().__init__(study.store, study.record)
        self._words = tuple(words or study.record["method"].get("words", ()))
        frequent = (word for word in self._words[_PARTICLES:] if len(word) >= _LETTERS and word.isalpha())
        self._looked_at = tuple(looked_at or itertools.islice(frequent, _LOOKED_AT))
        self._masks: dict[tuple[str, str], Mask] = {}

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
        """Weights of the first replicate: dense at its start and its best, then each arm's middle and last level at their best; of each
        also at the moments that `[analyses.weights]` asked for."""
        for identity, key, name, when in self._shown():
            stored = self._node(key)
            if stored is None or name not in stored.artefacts:
                continue
            state = State.from_bytes(self.store.read(key, name))
            values = {
                key: tensor.float().numpy() for key, tensor in state.whole().items() if tensor.ndim >= 2 and tensor.numel() <= LARGEST
            }
            patterns = state.mask.patterns if state.mask is not None else {}
            yield identity, when, values, {key: patterns[key].flags() for key in values if key in patterns}

    def masks(self) -> Iterator[tuple[Identity, Mask]]:
        """The mask of every pruned network that is trained: drawn before training, or the last that training drew. Of many levels some,
        evenly chosen, so that a page of twenty is no slower."""
        levels = _spread(sorted({cell["level"] for cell in self.record["cells"] if cell["level"]}), MOST_LEVELS)
        for cell, identity in self._cells():
            trained = self._node(cell["train"])
            if cell["level"] not in levels or trained is None:
                continue
            for key in (cell["mask"], cell["train"]):
                stored = self._node(key) if key else None
                if stored is not None and "mask" in stored.artefacts:
                    yield identity, self._mask(key, "mask")
                    break

    def mask_histories(self) -> Iterator[tuple[Identity, list[tuple[int, Mask]]]]:
        """(step, mask) in order, of every network whose mask changed in training, or came of a search that drew several."""
        for cell, identity in self._cells():
            key = cell["mask"] or cell["train"]
            stored = self._node(key)
            steps = stored.facts.get("mask_steps", []) if stored is not None and cell["level"] else []
            if len(steps) > 1:
                yield identity, [(step, self._mask(key, f"mask/{step}")) for step in _spread(steps, MOST_MASKS)]

    def samples(self) -> Iterator[tuple[Identity, list[dict[str, Any]], str]]:
        """(arm, level, replicate and factors; source, reference and translation of test sentences; how BLEU was computed), by run."""
        for cell, identity in self._cells():
            stored = self._node(cell["evaluate"])
            if stored is not None and "samples" in stored.artefacts:
                yield identity, read_lines(self.store.read(cell["evaluate"], "samples")), str(stored.facts.get("notes", {}).get("bleu", ""))

    def sizes(self) -> Iterator[tuple[Identity, int, dict[str, float]]]:
        """(arm, level, replicate and factors; step; root mean square of each parameter's kept weights) of every state that
        `[analyses.weights]` asked for."""
        for measure, identity in self._identified(self.record.get("measures", [])):
            stored = self._node(measure["node"]) if measure["analysis"] == "weights" else None
            if stored is not None:
                yield identity, int(stored.facts["step"]), dict(stored.facts["sizes"])

    def analyses(self) -> Iterator[Analysis]:
        """The further questions of a study that it has the arms and the artefacts for, as figures."""
        reported = Reported(self)
        masks = list(self.masks())
        yield from stability.analyses(reported, self.measures("stability"))
        yield from restarts.analyses(reported)
        yield from early.analyses(reported, masks)
        yield from transfer.analyses(reported)
        yield from likeness.analyses(reported, masks, self.mask_histories())
        yield from survivors.analyses(reported, masks)
        yield from growth.analyses(reported, self.sizes())
        yield from expense.analyses(reported, self.measures("latency"))
        yield from translations.analyses(reported, self.samples())

    def _mask(self, key: str, name: str) -> Mask:
        """A mask of the store; masks that several arms share are read once."""
        if (key, name) not in self._masks:
            mask = State.from_bytes(self.store.read(key, name)).mask
            if mask is None:
                raise StoreError(f"artefact {name!r} of node {key[:12]} holds no mask")
            self._masks[key, name] = mask
        return self._masks[key, name]

    def words(self) -> tuple[Sequence[str], Sequence[str]]:
        """The vocabulary and the words to look at."""
        return self._words, self._looked_at

    def _shown(self) -> Iterator[tuple[Identity, str, str, str]]:
        """(identity, node, artefact, moment) of the states whose weights are shown."""
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
                start = self._start([cell["train"], *(other["train"] for other, _ in mine)])
                if start is not None:
                    yield identity, start, "state/0", "start"
            for level in sorted({levels[len(levels) // 2][0], levels[-1][0]}) if levels else ():
                cell, identity = next((cell, identity) for own, cell, identity in levels if own == level)
                for key, artefact in self._moments(identity):
                    if artefact not in ("state/0", "state/end"):
                        yield identity, key, artefact, f"step {artefact.rpartition('/')[2]}"
                yield identity, cell["train"], "state/best", "end"

    def _moments(self, identity: Identity) -> Iterator[tuple[str, str]]:
        """(node, artefact) of the states of one run that `[analyses.weights]` asked for."""
        for measure, its in self._identified(self.record.get("measures", [])):
            if measure["analysis"] == "weights" and its == identity:
                key, artefact = self.record["nodes"][measure["node"]][0]
                yield key, artefact

    def _start(self, trained: Sequence[str]) -> str | None:
        """The node that keeps the initial weights: the first of `trained` itself, or one that another of them restarts from."""
        wanted = [trained[0], *(parent for key in trained for parent, artefact in self.record["nodes"][key] if artefact == "state/0")]
        return next((key for key in wanted if (stored := self._node(key)) is not None and "state/0" in stored.artefacts), None)


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly chosen, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(index * (len(steps) - 1) / (most - 1))] for index in range(most)]
