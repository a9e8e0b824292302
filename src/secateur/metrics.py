"""Metrics as pure functions of tensors and counts: accuracy, F1, perplexity, BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.errors import InputError


def accuracy(predictions: Tensor, targets: Tensor) -> float:
    """Fraction of `predictions` (n,) that equal `targets` (n,); NaN for no examples."""
    return float((predictions == targets).double().mean())


def confusion(predictions: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes) int64: row = true class, column = predicted class."""
    return torch.bincount(targets.long() * classes + predictions.long(), minlength=classes * classes).view(classes, classes)


@dataclass(frozen=True)
class Counts:
    """For each class: how often it was predicted rightly, predicted, and true. Three int64 tensors (classes,)."""

    hits: Tensor
    predicted: Tensor
    actual: Tensor


def class_counts(predictions: Tensor, targets: Tensor, classes: int) -> Counts:
    """Counts from class numbers, `predictions` and `targets` (n,) int64."""
    table = confusion(predictions, targets, classes)
    return Counts(table.diagonal(), table.sum(0), table.sum(1))


def topic_counts(predictions: Tensor, targets: Tensor) -> Counts:
    """Counts from multi-label bool tensors (n, topics)."""
    return Counts((predictions & targets).sum(0), predictions.sum(0), targets.sum(0))


def f1_by_class(counts: Counts) -> Tensor:
    """F1 = 2 hits / (predicted + actual) for each class, float64 (classes,); NaN for a class that is neither true nor predicted."""
    return 2 * counts.hits.double() / (counts.predicted + counts.actual)


def macro_f1(counts: Counts) -> float:
    """The mean F1 of the classes that are true or predicted at least once; NaN if none is."""
    return float(f1_by_class(counts).nanmean())


def micro_f1(counts: Counts) -> float:
    """F1 of all decisions together; 0 when nothing is true or predicted. On single-label data it is the accuracy."""
    total = int(counts.predicted.sum() + counts.actual.sum())
    return 2 * int(counts.hits.sum()) / total if total else 0.0


def subset_accuracy(predictions: Tensor, targets: Tensor) -> float:
    """Fraction of examples whose whole set of topics is right: bool tensors (n, topics)."""
    return float((predictions == targets).all(1).double().mean())


def best_threshold(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """(threshold, micro-F1) such that `scores` (n, topics) > threshold has the best micro-F1 against bool `targets`.

    Every cut between two distinct scores is tried; the threshold lies midway between them, and of equally good cuts the
    one that predicts fewest wins. Choose it on validation data.
    """
    ordered, order = scores.flatten().double().sort(descending=True, stable=True)
    positive = targets.flatten()[order]
    total = int(positive.sum())
    if ordered.numel() == 0 or total == 0:
        return (float(ordered[0]) if ordered.numel() else 0.0), 0.0
    ends = torch.cat([ordered[1:] < ordered[:-1], ordered.new_ones(1, dtype=torch.bool)])
    predicted = torch.arange(1, ordered.numel() + 1)
    f1 = torch.where(ends, 2 * positive.cumsum(0) / (predicted + total), -1.0)
    best = int(f1.argmax())
    below = float(ordered[best + 1]) if best + 1 < ordered.numel() else float(ordered[best]) - 1.0
    above = float(ordered[best])
    middle = below + (above - below) / 2
    return (middle if middle < above else below), float(f1[best])


def perplexity(nll: float, tokens: int) -> float:
    """exp(total negative log-likelihood in nats / total tokens); infinite where that overflows."""
    if tokens <= 0:
        raise InputError("perplexity needs at least one token")
    mean = nll / tokens
    return math.exp(mean) if mean < 700 else math.inf if mean == mean else math.nan


@dataclass(frozen=True)
class Bleu:
    """A corpus BLEU in [0, 100] and the sacreBLEU signature that says how it was computed."""

    score: float
    signature: str


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, tokenizer: str = "13a") -> Bleu:
    """sacreBLEU (Post 2018) of detokenised `hypotheses` against one raw reference each. Needs the extra `translation`."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as missing:
        raise InputError("BLEU needs sacrebleu: pip install 'secateur[translation]'") from missing
    metric = BLEU(lowercase=lowercase, tokenize=tokenizer, force=True)  # `force`: no warning on a tokenised-looking text
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(float(score.score), str(metric.get_signature()))


def bleu4(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 in [0, 100] (Papineni et al. 2002) over white-space tokens: uniform weights, brevity penalty, no smoothing."""
    matches = [0] * 4
    possible = [0] * 4
    length = reference_length = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        found, wanted = hypothesis.split(), reference.split()
        length += len(found)
        reference_length += len(wanted)
        for n in range(1, 5):
            grams = _ngrams(found, n)
            matches[n - 1] += (grams & _ngrams(wanted, n)).total()
            possible[n - 1] += grams.total()
    if min(matches) == 0:
        return 0.0
    precision = math.exp(sum(math.log(m / p) for m, p in zip(matches, possible, strict=True)) / 4)
    brevity = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return 100 * brevity * precision


def bleu4_batch(hypotheses: Sequence[str], references: Sequence[str], batch: int = 128) -> float:
    """Study C's figure in [0, 100]: the mean over consecutive batches of `bleu4`. It is no corpus BLEU: use it for that comparison only."""
    starts = range(0, len(hypotheses), batch)
    if not starts:
        raise InputError("bleu4_batch needs at least one translation")
    return sum(bleu4(hypotheses[i : i + batch], references[i : i + batch]) for i in starts) / len(starts)


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
