"""Translation: cross-entropy of the next target word; sacreBLEU with its signature, and study C's BLEU of batches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import PADDING, Dataset, Inputs
from secateur.data.tokens import detokenise
from secateur.errors import InputError
from secateur.metrics import bleu4_batch, corpus_bleu
from secateur.registry import tasks
from secateur.tasks.decoding import beam_search, greedy
from secateur.tasks.task import Evaluation, Metric, call


class Translation:
    """Cross-entropy of logits (batch, n, vocabulary) against the target words (batch, n) int64; padding is no target.

    Inputs are (source, target shifted by one). `evaluate` translates with `beam` hypotheses (1 is greedy) and compares
    detokenised translations with the raw references; where the data are lower-cased, so are the references.
    """

    def __init__(
        self, *, label_smoothing: float = 0.0, beam: int = 1, length_penalty: float = 0.6, extra_tokens: int = 20,
        bleu_batch: int = 128, samples: int = 1000,
    ) -> None:  # fmt: skip
        self.metric = Metric("bleu", higher_is_better=True, margin=0.5)
        self.label_smoothing = label_smoothing
        self.beam = beam
        self.length_penalty = length_penalty
        self.extra_tokens = extra_tokens
        self.bleu_batch = bleu_batch
        self.samples = samples

    def outputs(self, model: nn.Module, inputs: Inputs, carried: Any = None) -> tuple[Tensor, None]:
        """(logits (batch, n, vocabulary), None)."""
        return call(model, inputs), None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of a target word, in nats, with label smoothing if there is any."""
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=PADDING, label_smoothing=self.label_smoothing)

    def translate(self, model: nn.Module, dataset: Dataset, source: Tensor) -> list[str]:
        """The translations, as text, of sentences of ids (batch, m)."""
        begin, end = dataset.source["begin"], dataset.source["end"]
        translator: Any = model
        if self.beam == 1:
            found = greedy(translator, source, begin, end, self.extra_tokens)
        else:
            found = beam_search(
                translator, source, begin, end, width=self.beam, length_penalty=self.length_penalty, extra=self.extra_tokens
            )
        return [detokenise(dataset.words[word] for word in words) for words in found]

    @torch.no_grad()
    def evaluate(self, model: nn.Module, dataset: Dataset, split: str, batch: int) -> Evaluation:
        """`bleu` (sacreBLEU of the whole split; its signature is in the notes), `bleu4_batch`, `loss` (nats a word, not smoothed).

        Samples are the split's first sentences, as many as `samples` says: source, reference, translation.
        """
        model.eval()
        pairs: Any = dataset.splits[split]
        lower = bool(dataset.source.get("lower", False))
        total, words = 0.0, 0
        translations: list[str] = []
        for inputs, targets in pairs.in_order(batch):
            logits = call(model, inputs)
            total += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum"))
            words += int((targets != PADDING).sum())
            translations += self.translate(model, dataset, inputs[0])
        if not translations:
            raise InputError(f"{dataset.name}: the split {split!r} is empty")
        bleu = corpus_bleu(translations, pairs.references, lowercase=lower)
        references = [line.lower() for line in pairs.references] if lower else pairs.references
        metrics = {"bleu": bleu.score, "bleu4_batch": bleu4_batch(translations, references, self.bleu_batch), "loss": total / words}
        shown = zip(pairs.sources, pairs.references, translations, strict=True)
        samples = tuple(
            {"source": source, "reference": reference, "translation": translation}
            for _, (source, reference, translation) in zip(range(self.samples), shown, strict=False)
        )
        return Evaluation(metrics, samples=samples, notes={"bleu": bleu.signature})


@tasks.register("translation")
def translation(
    dataset: Dataset, *, label_smoothing: float = 0.0, beam: int = 1, length_penalty: float = 0.6, extra_tokens: int = 20,
    bleu_batch: int = 128, samples: int = 1000,
) -> Translation:  # fmt: skip
    """Translation: sacreBLEU, greedy or with a `beam`; `bleu_batch` is the batch of study C's figure."""
    if beam < 1 or bleu_batch < 1:
        raise InputError("beam and bleu_batch are at least 1")
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing = {label_smoothing}: from 0 to below 1")
    if "begin" not in dataset.source:
        raise InputError(f"{dataset.name} is no translation data set: it has no pairs of sentences")
    return Translation(
        label_smoothing=label_smoothing, beam=beam, length_penalty=length_penalty, extra_tokens=extra_tokens, bleu_batch=bleu_batch,
        samples=samples,
    )  # fmt: skip
