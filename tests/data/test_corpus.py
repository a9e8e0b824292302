import numpy as np

from secateur.data.corpus import Corpus, array_lines, chosen_words, lines_array, vocabulary_of
from secateur.data.tokens import corpus_ids


def corpus(*texts):
    ids, offsets, words = corpus_ids(texts, "words", lower=True)
    return Corpus(ids, offsets, words, np.zeros(len(texts), np.uint64))


def test_the_vocabulary_is_by_count_then_alphabet_and_of_the_training_texts_alone():
    data = corpus("b b a c", "d d d d")
    words, ids = vocabulary_of(data, np.array([True, False]), None, 1)
    assert words == ["b", "a", "c"]
    assert ids.tolist() == [3, 2, 4, 1]  # a, b, c, and d unknown


def test_a_vocabulary_can_be_cut_by_size_and_by_count():
    data = corpus("b b a c c")
    everything = np.array([True])
    assert vocabulary_of(data, everything, 2, 1)[0] == ["b", "c"]
    assert vocabulary_of(data, everything, None, 2)[0] == ["b", "c"]
    assert vocabulary_of(data, everything, None, 1)[0] == chosen_words({"a": 1, "b": 2, "c": 2}, None, 1)


def test_rows_are_cut_to_their_first_tokens():
    data = corpus("a b c", "b", "c a")
    tokens, offsets = data.rows(np.array([True, False, True]), np.array([10, 11, 12], np.int32), 2)
    assert tokens.tolist() == [10, 11, 12, 10]
    assert offsets.tolist() == [0, 2, 4]


def test_lines_survive_the_array():
    for lines in ([], ["a"], ["a", "", "ü"]):
        assert array_lines(lines_array(lines)) == lines
