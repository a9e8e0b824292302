import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.dataset import Dataset, DataShape
from secateur.errors import InputError
from secateur.registry import models, tasks

STREAM = torch.tensor([3, 4, 5, 3, 6, 7, 4, 3, 5, 6, 7])


class Windows:
    """Running text in `batch` rows, `window` tokens at a time; the first token is predicted from id 2."""

    def __init__(self, stream: Tensor, window: int, carried: bool = True) -> None:
        self.stream, self.window, self.carried = stream, window, carried

    def in_order(self, batch: int):
        longest = -(-len(self.stream) // batch)
        before = torch.cat([torch.tensor([2]), self.stream[:-1]])
        pad = longest * batch - len(self.stream)
        rows, targets = (F.pad(ids, (0, pad)).view(batch, longest) for ids in (before, self.stream))
        for start in range(0, longest, self.window):
            yield rows[:, start : start + self.window], targets[:, start : start + self.window]


def dataset(window: int = 3, carried: bool = True) -> Dataset:
    split = Windows(STREAM, window, carried)
    return Dataset("text", "text", {"train": split, "valid": split, "test": split}, DataShape(8, vocabulary=8), "0")


def language_model() -> nn.Module:
    return models["lstm-lm-small"](DataShape(8, vocabulary=8), torch.Generator().manual_seed(0), embedding=5, hidden=6, init_scale=1.0)


class Uniform(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, 8)


@pytest.mark.parametrize("window", [1, 3, 20])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_perplexity_of_a_uniform_guess_is_the_size_of_the_vocabulary(window: int, batch: int) -> None:
    task = tasks["language-modelling"](dataset(window), evaluate_batch=batch)
    result = task.evaluate(Uniform(), dataset(window), "valid", 256)
    assert result.metrics["perplexity"] == pytest.approx(8)
    assert result.metrics["loss"] == pytest.approx(math.log(8))
    assert result.notes["perplexity"] == f"over 11 tokens, {batch} rows"


def test_in_one_row_every_window_gives_the_perplexity_of_the_whole_text() -> None:
    model = language_model()
    inputs = torch.cat([torch.tensor([2]), STREAM[:-1]])
    expected = F.cross_entropy(model(inputs[None])[0], STREAM).item()
    for window in (1, 2, 3, 11):
        task = tasks["language-modelling"](dataset(window), evaluate_batch=1)
        result = task.evaluate(model.train(), dataset(window), "test", 256)
        assert result.metrics["loss"] == pytest.approx(expected, rel=1e-5)
        assert result.metrics["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)


def test_the_state_is_carried_detached_from_batch_to_batch() -> None:
    model = language_model()
    task = tasks["language-modelling"](dataset())
    tokens = torch.randint(3, 8, (2, 6))
    first, carried = task.outputs(model, tokens[:, :2])
    assert all(not tensor.requires_grad for tensor in carried)
    second, _ = task.outputs(model, tokens[:, 2:], carried)
    assert torch.allclose(torch.cat([first, second], 1), model(tokens), atol=1e-6)
    task.loss(second, tokens[:, 2:]).backward()
    assert model.layers[0].weight_hh_l0.grad.count_nonzero() > 0


def test_sentences_carry_nothing() -> None:
    task = tasks["language-modelling"](dataset(carried=False))
    model = language_model()
    outputs, carried = task.outputs(model, torch.tensor([[3, 4]]))
    assert carried is None
    assert torch.equal(outputs, model(torch.tensor([[3, 4]])))
    result = task.evaluate(Uniform(), dataset(carried=False), "valid", 2)
    assert result.notes["perplexity"] == "over 11 tokens, sentence by sentence"


def test_the_loss_of_a_batch_ignores_padding() -> None:
    logits, targets = torch.randn(2, 3, 8), torch.tensor([[3, 4, 5], [6, 0, 0]])
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")[torch.tensor([0, 1, 2, 3])]
    assert float(tasks["language-modelling"](dataset()).loss(logits, targets)) == pytest.approx(float(each.mean()))
    over_windows = tasks["language-modelling"](dataset(), loss_over="windows")
    assert float(over_windows.loss(logits, targets)) == pytest.approx(float(each.sum() / 2))


def test_the_deciding_metric_is_relative_and_lower_is_better() -> None:
    metric = tasks["language-modelling"](dataset()).metric
    assert (metric.name, metric.higher_is_better, metric.margin, metric.relative) == ("perplexity", False, 0.01, True)
    with pytest.raises(InputError, match="evaluate_batch"):
        tasks["language-modelling"](dataset(), evaluate_batch=0)
