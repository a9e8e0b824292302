from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.data.dataset import DataShape
from secateur.registry import models
from secateur.tasks.decoding import beam_search, greedy

BEGIN, END = 2, 3


@dataclass(frozen=True)
class Place:
    source: Tensor
    length: int = 0

    def rows(self, chosen: Tensor) -> Place:
        return Place(self.source[chosen], self.length)

    def reordered(self, chosen: Tensor) -> Place:
        return self


class Copier:
    """Rigged to repeat its source, word by word, and then to end."""

    def begin(self, source: Tensor) -> Place:
        return Place(torch.cat([source, torch.zeros(len(source), 1, dtype=torch.int64)], 1))

    def advance(self, words: Tensor, place: Place) -> tuple[Tensor, Place]:
        following = place.source[:, min(place.length, place.source.shape[1] - 1)]
        following = torch.where(following == 0, END, following)
        return 5.0 * torch.nn.functional.one_hot(following, 12).float(), Place(place.source, place.length + 1)


SOURCE = torch.tensor([[5, 6, 7, 8], [9, 0, 0, 0], [4, 4, 0, 0]])


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_copier_copies(width: int) -> None:
    expected = [[5, 6, 7, 8], [9], [4, 4]]
    assert greedy(Copier(), SOURCE, BEGIN, END) == expected
    assert beam_search(Copier(), SOURCE, BEGIN, END, width=width) == expected


class Garden:
    """The likelier first word (4: 0.6) leads to unlikely ends; the other (5: 0.4) surely ends: beam finds it, greed does not."""

    def begin(self, source: Tensor) -> Place:
        return Place(source)

    def advance(self, words: Tensor, place: Place) -> tuple[Tensor, Place]:
        probabilities = torch.full((len(words), 8), 1e-9)
        for row, word in enumerate(words.tolist()):
            follow = {BEGIN: {4: 0.6, 5: 0.4}, 4: {6: 0.34, 7: 0.33, 4: 0.33}, 5: {END: 1.0}}.get(word, {END: 1.0})
            for next_word, probability in follow.items():
                probabilities[row, next_word] = probability
        return probabilities.log(), Place(place.source, place.length + 1)


def test_the_beam_finds_what_greed_misses() -> None:
    source = torch.tensor([[4, 4]])
    assert greedy(Garden(), source, BEGIN, END) == [[4, 6]]  # 0.6 * 0.34 = 0.204
    assert beam_search(Garden(), source, BEGIN, END, width=2, length_penalty=0.0) == [[5]]  # 0.4


class TwoWays:
    """`4 END` with probability 0.55, `5 6 7 END` with 0.45."""

    def begin(self, source: Tensor) -> Place:
        return Place(source)

    def advance(self, words: Tensor, place: Place) -> tuple[Tensor, Place]:
        probabilities = torch.full((len(words), 8), 1e-9)
        for row, word in enumerate(words.tolist()):
            for next_word, probability in {BEGIN: {4: 0.55, 5: 0.45}, 5: {6: 1.0}, 6: {7: 1.0}}.get(word, {END: 1.0}).items():
                probabilities[row, next_word] = probability
        return probabilities.log(), Place(place.source, place.length + 1)


def test_the_length_penalty_prefers_longer_translations() -> None:
    source = torch.tensor([[4, 4]])
    # log 0.55 = -0.598 against log 0.45 = -0.799; divided by (7/6)^2 and (9/6)^2: -0.439 against -0.355.
    assert beam_search(TwoWays(), source, BEGIN, END, width=2, length_penalty=0.0) == [[4]]
    assert beam_search(TwoWays(), source, BEGIN, END, width=2, length_penalty=2.0) == [[5, 6, 7]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6))
def test_greedy_is_a_beam_of_one(seed: int, sentences: int, length: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = models["transformer"](
        DataShape(9, vocabulary=9, source_vocabulary=9), generator, layers=(1, 1), width=8, inner=8, heads=2, dropout=0.0
    ).eval()
    source = torch.randint(4, 9, (sentences, length), generator=generator)
    source[0, 1:] = 0
    found = greedy(model, source, BEGIN, END, extra=4)
    assert found == beam_search(model, source, BEGIN, END, width=1, extra=4)
    assert all(not {0, BEGIN, END} & set(words) for words in found)
    assert all(len(words) <= int((row != 0).sum()) + 4 for words, row in zip(found, source, strict=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_a_sentence_is_translated_alike_alone_and_in_a_batch(seed: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = models["transformer"](
        DataShape(9, vocabulary=9, source_vocabulary=9), generator, layers=(1, 1), width=8, inner=8, heads=2, dropout=0.0
    ).eval()
    source = torch.randint(4, 9, (3, 5), generator=generator)
    source[1, 3:] = 0
    together = beam_search(model, source, BEGIN, END, width=width, extra=3)
    assert together[1] == beam_search(model, source[1:2], BEGIN, END, width=width, extra=3)[0]
    assert greedy(model, source, BEGIN, END)[1] == greedy(model, source[1:2], BEGIN, END)[0]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_an_exhaustive_beam_finds_the_best_of_all_translations(seed: int) -> None:
    """Over 3 words and 2 places, a beam wide enough for every hypothesis gives the likeliest of all sequences."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(7, 7, generator=generator)

    class Chain:
        def begin(self, source: Tensor) -> Place:
            return Place(source)

        def advance(self, words: Tensor, place: Place) -> tuple[Tensor, Place]:
            return table[words].clone(), Place(place.source, place.length + 1)

    def score(words: list[int], ended: bool) -> float:
        path = [BEGIN, *words, *([END] if ended else [])]
        allowed = table.clone()
        allowed[:, [0, BEGIN]] = -torch.inf
        steps = allowed.log_softmax(1)
        return sum(float(steps[a, b]) for a, b in pairwise(path))

    vocabulary = [1, 4, 5, 6]
    every = [([], True)] + [([a], True) for a in vocabulary] + [([a, b], False) for a in vocabulary for b in vocabulary]
    best = max(every, key=lambda hypothesis: score(*hypothesis))[0]
    found = beam_search(Chain(), torch.tensor([[4]]), BEGIN, END, width=30, length_penalty=0.0, extra=1)[0]
    assert found == best
