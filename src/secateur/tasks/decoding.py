"""Greedy and beam search over a model that translates word by word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from secateur.data.dataset import PADDING

D = TypeVar("D", bound="Decoding")


class Decoding(Protocol):
    """Where the decoding of some sentences stands."""

    def rows(self: D, chosen: Tensor) -> D:
        """The same for the rows `chosen` (m,), which may repeat."""
        ...

    def reordered(self: D, chosen: Tensor) -> D:
        """The same with the words so far of the rows `chosen` (batch,); each row keeps its source."""
        ...


class Translator(Protocol):
    """A model that gives the logits of one target word after the other."""

    def begin(self, source: Tensor) -> Any:
        """The sentences (batch, m) read, and no target word yet."""
        ...

    def advance(self, words: Tensor, decoding: Any) -> tuple[Tensor, Any]:
        """One more word (batch,) for each row -> (logits for the next word (batch, outputs), the new state)."""
        ...


@torch.no_grad()
def greedy(model: Translator, source: Tensor, begin: int, end: int, extra: int = 20) -> list[list[int]]:
    """The likeliest word after the likeliest word, to `end` (left out), for each sentence of `source` (batch, m).

    Padding and `begin` are never chosen; a translation has at most `extra` tokens more than its source.
    """
    limits = ((source != PADDING).sum(1) + extra).tolist()
    found: list[list[int]] = [[] for _ in limits]
    rows = list(range(len(limits)))
    decoding = model.begin(source)
    words = torch.full((len(rows),), begin, device=source.device)
    while rows:
        logits, decoding = model.advance(words, decoding)
        logits[:, [PADDING, begin]] = -torch.inf
        words = logits.argmax(1)
        going = []
        for place, (row, word) in enumerate(zip(rows, words.tolist(), strict=True)):
            if word != end:
                found[row].append(word)
                if len(found[row]) < limits[row]:
                    going.append(place)
        if len(going) < len(rows):
            rows, kept = [rows[place] for place in going], torch.tensor(going, dtype=torch.int64, device=source.device)
            decoding, words = decoding.rows(kept), words[kept]
    return found


@dataclass
class _Sentence:
    """One sentence's search: its living hypotheses and those that have ended, as (score, words)."""

    row: int
    limit: int
    living: list[list[int]]
    ended: list[tuple[float, list[int]]] = field(default_factory=list)


@torch.no_grad()
def beam_search(
    model: Translator, source: Tensor, begin: int, end: int, *, width: int = 4, length_penalty: float = 0.6, extra: int = 20
) -> list[list[int]]:
    """The best of `width` hypotheses for each sentence of `source` (batch, m), `end` left out.

    A hypothesis of n tokens, `end` included, scores log-probability / ((5 + n) / 6)^`length_penalty` (Wu et al. 2016). A
    sentence is done when `width` hypotheses have ended, or at `extra` tokens more than its source. With `width` 1 it is `greedy`.
    """
    limits = ((source != PADDING).sum(1) + extra).tolist()
    best: list[list[int]] = [[] for _ in limits]
    sentences = [_Sentence(row, limit, [[] for _ in range(width)]) for row, limit in enumerate(limits)]
    device = source.device
    decoding = model.begin(source).rows(torch.arange(len(limits), device=device).repeat_interleave(width))
    words = torch.full((len(limits) * width,), begin, device=device)
    # Only the first of equal hypotheses lives at the start.
    scores = torch.full((len(limits), width), -torch.inf, device=device)
    scores[:, 0] = 0
    while sentences:
        logits, decoding = model.advance(words, decoding)
        logits[:, [PADDING, begin]] = -torch.inf
        vocabulary = logits.shape[1]
        totals = scores.unsqueeze(2) + logits.log_softmax(1).view(len(sentences), width, vocabulary)
        top, places = totals.flatten(1).topk(min(2 * width, width * vocabulary))
        origins: list[int] = []
        chosen: list[int] = []
        kept_scores: list[list[float]] = []
        going: list[_Sentence] = []
        for number, (sentence, values, spots) in enumerate(zip(sentences, top.tolist(), places.tolist(), strict=True)):
            survivors = _extended(sentence, values, spots, vocabulary, end, width, length_penalty)
            if len(sentence.ended) >= width or not survivors or len(survivors[0][2]) >= sentence.limit:
                sentence.ended += [(value / _penalty(len(words_), length_penalty), words_) for value, _, words_ in survivors]
                best[sentence.row] = max(sentence.ended, key=lambda hypothesis: hypothesis[0])[1]
                continue
            survivors += [(-torch.inf, *survivors[0][1:])] * (width - len(survivors))
            sentence.living = [words_ for _, _, words_ in survivors]
            going.append(sentence)
            kept_scores.append([value for value, _, _ in survivors])
            origins += [number * width + origin for _, origin, _ in survivors]
            chosen += [words_[-1] for _, _, words_ in survivors]
        at = torch.tensor(origins, dtype=torch.int64, device=device)
        decoding = decoding.reordered(at) if len(going) == len(sentences) else decoding.rows(at)
        sentences, words = going, torch.tensor(chosen, dtype=torch.int64, device=device)
        scores = torch.tensor(kept_scores, device=device).view(len(going), width)
    return best


def _extended(
    sentence: _Sentence, values: list[float], spots: list[int], vocabulary: int, end: int, width: int, length_penalty: float
) -> list[tuple[float, int, list[int]]]:
    """The `width` best hypotheses that go on, as (score, the beam they came from, words); those of the best `width` that end, end."""
    survivors: list[tuple[float, int, list[int]]] = []
    for rank, (value, spot) in enumerate(zip(values, spots, strict=True)):
        if value == -torch.inf or len(survivors) == width:
            break
        origin, word = divmod(spot, vocabulary)
        words = sentence.living[origin]
        if word != end:
            survivors.append((value, origin, [*words, word]))
        elif rank < width:
            sentence.ended.append((value / _penalty(len(words) + 1, length_penalty), words))
    return survivors


def _penalty(length: int, power: float) -> float:
    return float(((5 + length) / 6) ** power)
