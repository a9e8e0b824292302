import pytest
import torch

from secateur.data.dataset import DataShape
from secateur.errors import InputError
from secateur.models.embeddings import fixed_length, text_length, true_lengths, word_table


def test_the_dimension_is_the_option_the_vectors_or_the_default() -> None:
    assert word_table(DataShape(2, vocabulary=9), None, default=7) == (9, 7)
    assert word_table(DataShape(2, vocabulary=9), 3) == (9, 3)
    assert word_table(DataShape(2, vocabulary=9, vectors=torch.zeros(9, 5)), None) == (9, 5)
    with pytest.raises(InputError, match="5 dimensions"):
        word_table(DataShape(2, vocabulary=9, vectors=torch.zeros(9, 5)), 3)
    with pytest.raises(InputError, match="reads words"):
        word_table(DataShape(2, image=(1, 2, 2)), None)


def test_texts_are_cut_or_padded_at_their_end() -> None:
    tokens = torch.tensor([[4, 5, 6]])
    assert fixed_length(tokens, 2).tolist() == [[4, 5]]
    assert fixed_length(tokens, 5).tolist() == [[4, 5, 6, 0, 0]]
    assert fixed_length(tokens, 3).tolist() == [[4, 5, 6]]


def test_a_length_is_that_of_the_last_word_and_at_least_one() -> None:
    assert true_lengths(torch.tensor([[3, 4, 0], [3, 0, 4], [0, 0, 0]])).tolist() == [2, 3, 1]


def test_a_network_of_fixed_size_asks_for_the_length() -> None:
    assert text_length(DataShape(2, length=40)) == 40
    with pytest.raises(InputError, match="fixed length"):
        text_length(DataShape(2, vocabulary=9))
