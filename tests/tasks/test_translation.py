import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import Dataset, DataShape
from secateur.errors import InputError
from secateur.metrics import bleu4_batch, corpus_bleu
from secateur.registry import tasks

WORDS = ("<pad>", "<unk>", "<bos>", "<eos>", "a", "dog", "runs", "here", "today", ".", "cat", "sleeps")
REFERENCES = ["A dog runs here today.", "A cat sleeps here.", "A cat runs here today ."]
SOURCE = torch.tensor([[4, 5, 6, 7, 8, 9], [4, 10, 11, 7, 9, 0], [4, 10, 6, 7, 8, 9]])
TARGETS = torch.cat([SOURCE, torch.zeros(3, 1, dtype=torch.int64)], 1)
TARGETS[0, 6], TARGETS[1, 5], TARGETS[2, 6] = 3, 3, 3


class Pairs:
    sources = ("Ein Hund", "Eine Katze", "Eine andere")
    references = REFERENCES

    def in_order(self, batch: int):
        for start in range(0, 3, batch):
            rows = slice(start, start + batch)
            yield (SOURCE[rows], F.pad(SOURCE[rows], (1, 0), value=2)), TARGETS[rows]


class Copier(nn.Module):
    """Repeats its source: as logits for whole sentences, and word by word."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        following = F.pad(source, (0, 1))
        following = torch.where((following == 0).cumsum(1) == 1, 3, following)
        return 3.0 * F.one_hot(following, 12).float()

    def begin(self, source: Tensor) -> "Place":
        return Place(F.pad(source, (0, 1)), 0)

    def advance(self, words: Tensor, place: "Place") -> tuple[Tensor, "Place"]:
        following = place.source[:, min(place.length, place.source.shape[1] - 1)]
        return 3.0 * F.one_hot(torch.where(following == 0, 3, following), 12).float(), Place(place.source, place.length + 1)


class Place:
    def __init__(self, source: Tensor, length: int) -> None:
        self.source, self.length = source, length

    def rows(self, chosen: Tensor) -> "Place":
        return Place(self.source[chosen], self.length)

    def reordered(self, chosen: Tensor) -> "Place":
        return self


def dataset(lower: bool = True, **source: object) -> Dataset:
    about = {"begin": 2, "end": 3, "lower": lower} | source
    return Dataset("pairs", "pairs", {"test": Pairs()}, DataShape(12, vocabulary=12, source_vocabulary=12), "0", words=WORDS, source=about)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("beam", [1, 3])
def test_metrics_of_a_copier(batch: int, beam: int) -> None:
    task = tasks["translation"](dataset(), beam=beam, bleu_batch=2)
    result = task.evaluate(Copier().train(), dataset(), "test", batch)
    translated = ["a dog runs here today.", "a cat sleeps here.", "a cat runs here today."]
    assert [sample["translation"] for sample in result.samples] == translated
    assert result.samples[1]["source"] == "Eine Katze"
    assert result.metrics["bleu"] == pytest.approx(corpus_bleu(translated, REFERENCES, lowercase=True).score)
    assert result.metrics["bleu"] == pytest.approx(100)
    # White-space tokens: the third reference's "today ." is two of them, "today." one.
    lowered = [line.lower() for line in REFERENCES]
    assert result.metrics["bleu4_batch"] == pytest.approx(bleu4_batch(translated, lowered, 2))
    assert result.metrics["bleu4_batch"] < 100
    assert "case:lc" in result.notes["bleu"]
    likelihood = torch.log_softmax(torch.tensor([3.0] + [0.0] * 11), 0)[0]
    assert result.metrics["loss"] == pytest.approx(-float(likelihood))


def test_cased_data_are_compared_with_case() -> None:
    task = tasks["translation"](dataset(lower=False), samples=1)
    result = task.evaluate(Copier(), dataset(lower=False), "test", 2)
    assert result.metrics["bleu"] < 100
    assert "case:mixed" in result.notes["bleu"]
    assert len(result.samples) == 1


def test_the_loss_ignores_padding_and_smooths_labels() -> None:
    logits = torch.randn(3, 7, 12)
    flat = F.cross_entropy(logits.flatten(0, 1), TARGETS.flatten(), ignore_index=0, label_smoothing=0.1)
    assert torch.equal(tasks["translation"](dataset(), label_smoothing=0.1).loss(logits, TARGETS), flat)
    changed = logits.clone()
    changed[1, 6] += torch.arange(12)
    task = tasks["translation"](dataset())
    assert torch.equal(task.loss(changed, TARGETS), task.loss(logits, TARGETS))


def test_the_deciding_metric_and_errors() -> None:
    metric = tasks["translation"](dataset()).metric
    assert (metric.name, metric.higher_is_better, metric.margin, metric.relative) == ("bleu", True, 0.5, False)
    with pytest.raises(InputError, match="beam"):
        tasks["translation"](dataset(), beam=0)
    with pytest.raises(InputError, match="label_smoothing"):
        tasks["translation"](dataset(), label_smoothing=1.0)
    with pytest.raises(InputError, match="no translation"):
        tasks["translation"](Dataset("x", "x", {}, DataShape(2), "0"))
