import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.data.bible_lm import bible_lm
from secateur.data.language import END, SentenceSplit, WindowSplit
from secateur.data.ptb import PTB, _parse, ptb
from secateur.data.raw import Found
from secateur.errors import DataError


def stream(count):
    return torch.arange(3, 3 + count)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 200), batch=st.integers(1, 12), window=st.integers(1, 15))
def test_every_token_is_a_target_once_and_follows_its_input(count, batch, window):
    split = WindowSplit(stream(count), window)
    batches = list(split.epoch(batch, 0, 0))
    assert len(batches) == split.steps(batch)
    targets = torch.cat([targets for _, targets in batches], dim=1)
    tokens = torch.cat([tokens for tokens, _ in batches], dim=1)
    assert targets[targets != 0].tolist() == stream(count).tolist()
    assert ((tokens == 0) == (targets == 0)).all()
    kept = targets != 0
    before = torch.where(targets == 3, END, targets - 1)
    assert torch.equal(tokens[kept], before[kept])
    assert int((~kept).sum()) < batch


def test_rows_are_contiguous_and_windows_follow_each_other():
    batches = list(WindowSplit(stream(11), 2).epoch(3, seed=4, epoch=7))
    assert [tokens.tolist() for tokens, _ in batches] == [[[2, 3], [6, 7], [10, 11]], [[4, 5], [8, 9], [12, 0]]]
    assert [targets.tolist() for _, targets in batches] == [[[3, 4], [7, 8], [11, 12]], [[5, 6], [9, 10], [13, 0]]]
    later = next(WindowSplit(stream(11), 2).epoch(3, 4, 7, start=1))
    assert torch.equal(later[0], batches[1][0])


def test_batch_one_is_the_text_itself():
    targets = torch.cat([targets for _, targets in WindowSplit(stream(10), 4).in_order(1)], dim=1)
    assert targets.tolist() == [stream(10).tolist()]


def test_a_sentence_is_read_from_its_end_mark_and_predicted_to_it():
    split = SentenceSplit(np.array([5, 6, END, 7, END], np.int32), np.array([0, 3, 5]))
    tokens, targets = next(split.in_order(2))
    assert tokens.tolist() == [[END, 5, 6], [END, 7, 0]]
    assert targets.tolist() == [[5, 6, END], [7, END, 0]]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 100), batch=st.integers(1, 12))
def test_an_epoch_of_sentences_holds_each_once(count, batch):
    lengths = [1 + row % 5 for row in range(count)]
    tokens = np.concatenate([np.array([10 + row] * (length - 1) + [END]) for row, length in enumerate(lengths)])
    split = SentenceSplit(tokens.astype(np.int32), np.r_[0, np.cumsum(lengths)])
    whole = list(split.epoch(batch, 1, 2))
    assert sum(int((targets == END).sum()) for _, targets in whole) == count
    assert sum(int((targets != 0).sum()) for _, targets in whole) == len(tokens)
    assert [targets.tolist() for _, targets in split.epoch(batch, 1, 2, start=2)] == [targets.tolist() for _, targets in whole[2:]]


def test_penn_treebank_counts(real_files):
    data = ptb(real_files)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 929_589, "valid": 73_760, "test": 82_430}
    assert data.shape.vocabulary == data.shape.outputs == 10_001  # 10,000 words with the end mark and <unk>, and padding
    assert data.words[:4] == ("<pad>", "<unk>", "<eos>", "the")
    first = next(data.splits["train"].in_order(1))[1][0, :4]
    assert [data.words[place] for place in first] == ["aer", "banknote", "berlitz", "calloway"]
    assert data.splits["train"].steps(20) == math.ceil(math.ceil(929_589 / 20) / 20)
    assert not any("<unk>" in word for word in data.words[2:])


def test_penn_treebank_by_sentences_has_the_same_tokens(real_files):
    data = ptb(real_files, cut="sentences")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 42_068, "valid": 3_370, "test": 3_761}
    assert len(data.splits["train"].tokens) == 929_589


def test_a_limit_keeps_running_text(real_files):
    small = ptb(real_files, limit=100)
    assert "100 training sentences" in small.label
    assert [small.words[place] for place in small.splits["train"].stream[:3]] == ["aer", "banknote", "berlitz"]
    assert len(small.splits["train"]) == 2_126  # words of the file's first hundred lines, and their ends


def test_bible_chapters_are_whole_in_one_split(package_files):
    data = bible_lm(package_files)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sum(sizes.values()) == 941_921
    assert sizes["valid"] / 941_921 == pytest.approx(0.05, abs=0.01)
    assert sum((split.stream == END).sum().item() for split in data.splits.values()) == 31_102
    assert bible_lm(package_files, split_seed=1).digest != data.digest


def test_an_unknown_word_of_the_test_split_is_unknown(package_files):
    data = bible_lm(package_files, vocabulary=50)
    assert data.shape.vocabulary == 53
    assert any("unknown words" in note.what and note.count > 1000 for note in data.notes)


def test_a_file_without_a_sentence_is_an_error(tmp_path):
    found = []
    for raw, content in zip(PTB, ("some words\n", "\n", "some words\n"), strict=True):
        path = tmp_path / raw.name
        path.write_text(content)
        found.append(Found(raw, path, ""))
    with pytest.raises(DataError, match="valid.*: no sentence in it"):
        _parse(found)
