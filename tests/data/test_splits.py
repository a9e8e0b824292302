import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.data.splits import NARROWEST, ArraySplit, TextSplit, bucketed


def text_split(lengths, width=None):
    offsets = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    tokens = np.concatenate([np.full(length, row + 2, np.int32) for row, length in enumerate(lengths)])
    return TextSplit(tokens, offsets, torch.arange(len(lengths)), width)


def array_split(count):
    return ArraySplit(torch.arange(count * 3).view(count, 3).float(), torch.arange(count))


def splits(count):
    return {"array": array_split(count), "text": text_split([1 + row * 7 % 23 for row in range(count)])}


def flat(lists):
    return [value for one in lists for value in one]


def targets(batches):
    return [target.tolist() for _, target in batches]


@pytest.mark.parametrize("kind", ["array", "text"])
@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 300), batch=st.integers(1, 40), seed=st.integers(0, 2**62), epoch=st.integers(0, 50))
def test_an_epoch_holds_every_example_once(kind, count, batch, seed, epoch):
    split = splits(count)[kind]
    seen = targets(split.epoch(batch, seed, epoch))
    assert sorted(flat(seen)) == list(range(count))
    assert len(seen) == split.steps(batch) == -(-count // batch)
    assert sum(len(one) != batch for one in seen) <= 1


@pytest.mark.parametrize("kind", ["array", "text"])
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 300), batch=st.integers(1, 40), start=st.integers(0, 20))
def test_starting_later_gives_the_tail_of_the_same_epoch(kind, count, batch, start):
    split = splits(count)[kind]
    whole = list(split.epoch(batch, 3, 1))[start:]
    tail = list(split.epoch(batch, 3, 1, start))
    assert len(whole) == len(tail)
    for (inputs, target), (later_inputs, later_target) in zip(whole, tail, strict=True):
        assert torch.equal(inputs, later_inputs)
        assert torch.equal(target, later_target)


@pytest.mark.parametrize("kind", ["array", "text"])
def test_seed_and_epoch_alone_decide_the_order(kind):
    split = splits(200)[kind]
    order = targets(split.epoch(16, 5, 2))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(99)
    assert targets(split.epoch(16, 5, 2)) == order
    torch.set_num_threads(threads)
    assert targets(split.epoch(16, 5, 3)) != order
    assert targets(split.epoch(16, 6, 2)) != order


@pytest.mark.parametrize("kind", ["array", "text"])
def test_in_order_is_the_splits_own_order(kind):
    assert flat(targets(splits(37)[kind].in_order(10))) == list(range(37))


def test_a_batch_of_texts_is_padded_with_zeros_to_its_longest():
    inputs, _ = next(text_split([2, 11, 3]).in_order(3))
    assert inputs.dtype == torch.int64
    assert inputs.tolist() == [[2, 2] + [0] * 9, [3] * 11, [4] * 3 + [0] * 8]


def test_a_batch_of_short_texts_is_wide_enough_for_filters():
    assert next(text_split([1, 2]).in_order(2))[0].shape == (2, NARROWEST)


def test_a_fixed_width_holds_for_every_batch():
    assert {tuple(inputs.shape) for inputs, _ in text_split([3, 1, 5, 2], width=9).epoch(2, 0, 0)} == {(2, 9)}


def test_an_empty_text_is_all_padding():
    split = TextSplit(np.array([5], np.int32), np.array([0, 0, 1]), torch.tensor([0, 1]))
    assert next(split.in_order(2))[0][0].tolist() == [0] * NARROWEST


def test_buckets_hold_texts_of_about_one_length():
    lengths = np.random.default_rng(0).integers(1, 200, 5000)
    spread = [int(np.ptp(lengths[rows])) for rows in bucketed(lengths, 20, seed=0, epoch=0)]
    assert np.mean(spread) < 8  # of 200 when batches are drawn at random


def test_scaling_is_applied_to_batches_and_leaves_the_bytes_alone():
    images = torch.tensor([[0, 10], [20, 255]], dtype=torch.uint8)
    split = ArraySplit(images, torch.tensor([0, 1]), (torch.tensor([0.5, 0.5]), torch.tensor([-1.0, -1.0])))
    assert next(split.in_order(2))[0].tolist() == [[-1.0, 4.0], [9.0, 126.5]]
    assert sorted(value for inputs, _ in split.epoch(1, 0, 0) for value in inputs.flatten().tolist()) == [-1.0, 4.0, 9.0, 126.5]
    assert images.tolist() == [[0, 10], [20, 255]]


def test_batches_held_on_to_do_not_change():
    batches = list(array_split(100).epoch(7, 0, 0))
    assert [inputs[0, 0].item() / 3 for inputs, _ in batches] == [target[0].item() for _, target in batches]
