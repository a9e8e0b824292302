import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from secateur.errors import InputError
from secateur.metrics import (
    accuracy,
    best_threshold,
    bleu4,
    bleu4_batch,
    class_counts,
    confusion,
    corpus_bleu,
    f1_by_class,
    macro_f1,
    micro_f1,
    perplexity,
    subset_accuracy,
    topic_counts,
)

PREDICTED = torch.tensor([0, 0, 1, 2, 2, 2])
TRUE = torch.tensor([0, 1, 1, 2, 2, 0])


def test_accuracy_and_confusion_by_hand() -> None:
    assert accuracy(PREDICTED, TRUE) == pytest.approx(4 / 6)
    assert confusion(PREDICTED, TRUE, 3).tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 2]]


def test_f1_by_hand() -> None:
    counts = class_counts(PREDICTED, TRUE, 4)
    f1 = f1_by_class(counts)
    assert f1[:3].tolist() == pytest.approx([2 * 1 / (2 + 2), 2 * 1 / (1 + 2), 2 * 2 / (3 + 2)])
    assert math.isnan(f1[3])
    assert macro_f1(counts) == pytest.approx((0.5 + 2 / 3 + 0.8) / 3)
    assert micro_f1(counts) == pytest.approx(4 / 6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 10_000))
def test_single_label_metrics_equal_scikit_learns(examples: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    predicted, true = random.integers(0, classes, (2, examples))
    counts = class_counts(torch.from_numpy(predicted), torch.from_numpy(true), classes)
    assert macro_f1(counts) == pytest.approx(reference.f1_score(true, predicted, average="macro", zero_division=0.0))
    assert micro_f1(counts) == pytest.approx(reference.f1_score(true, predicted, average="micro"))
    assert confusion(torch.from_numpy(predicted), torch.from_numpy(true), classes).tolist() == (
        reference.confusion_matrix(true, predicted, labels=range(classes)).tolist()
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 10_000))
def test_multi_label_metrics_equal_scikit_learns(examples: int, topics: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    predicted, true = random.random((2, examples, topics)) < 0.4
    counts = topic_counts(torch.from_numpy(predicted), torch.from_numpy(true))
    assert micro_f1(counts) == pytest.approx(reference.f1_score(true, predicted, average="micro", zero_division=0.0))
    occurs = (predicted | true).any(0)
    if occurs.any():
        each = reference.f1_score(true, predicted, average=None, zero_division=0.0)
        assert macro_f1(counts) == pytest.approx(np.atleast_1d(each)[occurs].mean())
    else:
        assert math.isnan(macro_f1(counts))
    assert subset_accuracy(torch.from_numpy(predicted), torch.from_numpy(true)) == pytest.approx(reference.accuracy_score(true, predicted))


def test_best_threshold_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.8], [0.4, 0.1]])
    targets = torch.tensor([[True, False], [True, False]])
    # Cuts: 1 predicted 2*1/3, 2 predicted 2*1/4, 3 predicted 2*2/5, 4 predicted 2*2/6.
    threshold, f1 = best_threshold(scores, targets)
    assert threshold == pytest.approx(0.25)
    assert f1 == pytest.approx(0.8)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 10_000))
def test_no_other_threshold_is_better_and_its_f1_is_what_it_says(examples: int, topics: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(0, 6, (examples, topics)) / 5)  # many ties
    targets = torch.from_numpy(random.random((examples, topics)) < 0.4)
    threshold, f1 = best_threshold(scores, targets)
    tried = [micro_f1(topic_counts(scores > cut, targets)) for cut in np.arange(-0.1, 1.1, 0.1)]
    assert f1 == pytest.approx(max(tried))
    assert micro_f1(topic_counts(scores > threshold, targets)) == pytest.approx(f1)


def test_perplexity_is_of_totals() -> None:
    assert perplexity(3 * math.log(50), 3) == pytest.approx(50)
    assert perplexity(1e6, 1) == math.inf
    assert math.isnan(perplexity(math.nan, 1))
    with pytest.raises(InputError, match="at least one token"):
        perplexity(0.0, 0)


HYPOTHESES = ["the cat sat on the mat", "a dog runs over the green grass", "two men talk"]
REFERENCES = ["the cat sat on a mat", "a dog runs across the green grass field", "two men are talking"]


def test_corpus_bleu_is_sacrebleus_and_carries_its_signature() -> None:
    import sacrebleu

    bleu = corpus_bleu(HYPOTHESES, REFERENCES)
    assert bleu.score == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert "tok:13a" in bleu.signature
    assert "case:mixed" in bleu.signature
    assert "case:lc" in corpus_bleu(HYPOTHESES, REFERENCES, lowercase=True).signature


def test_bleu4_equals_sacrebleu_without_tokenisation_or_smoothing() -> None:
    import sacrebleu

    expected = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], tokenize="none", smooth_method="none", force=True)
    assert bleu4(HYPOTHESES, REFERENCES) == pytest.approx(expected.score)


def test_bleu4_by_hand() -> None:
    assert bleu4(["a b c d e"], ["a b c d e"]) == pytest.approx(100)
    assert bleu4(["a b c d"], ["a b c d e"]) == pytest.approx(100 * math.exp(1 - 5 / 4))
    assert bleu4(["a b c"], ["a b c"]) == 0.0  # no 4-gram
    assert bleu4([""], ["a"]) == 0.0


def test_bleu4_batch_is_the_mean_of_batches() -> None:
    hypotheses = ["a b c d e", "x", "a b c d"]
    references = ["a b c d e", "y", "a b c d"]
    assert bleu4_batch(hypotheses, references, batch=1) == pytest.approx(200 / 3)
    assert bleu4_batch(hypotheses, references, batch=2) == pytest.approx((bleu4(hypotheses[:2], references[:2]) + 100) / 2)
    with pytest.raises(InputError):
        bleu4_batch([], [])
