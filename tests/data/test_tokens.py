import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.data.tokens import corpus_ids, detokenise, tokenise


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The cat's mat, isn't it?", ["the", "cat", "'s", "mat", ",", "is", "n't", "it", "?"]),
        ("We'll pay $2.50 (U.S.)", ["we", "'ll", "pay", "$", "2", ".", "50", "(", "u", ".", "s", ".", ")"]),
        ("CAN'T", ["ca", "n't"]),
        ("Über naïve 東京", ["über", "naïve", "東京"]),
        ("two\nlines", ["two", "lines"]),
        ("", []),
    ],
)
def test_words_and_punctuation(text, tokens):
    assert tokenise(text) == tokens


def test_words_leave_the_signs_out():
    assert tokenise("Don't (ever) go!", "words") == ["do", "n't", "ever", "go"]


def test_white_space_alone():
    assert tokenise("N <unk> Mr. 's", "whitespace", lower=False) == ["N", "<unk>", "Mr.", "'s"]


def test_ids_number_the_words_in_alphabetical_order():
    ids, offsets, words = corpus_ids(["b a b", "", "c a"], "words", lower=True)
    assert words == ["a", "b", "c"]
    assert ids.tolist() == [1, 0, 1, 2, 0]
    assert offsets.tolist() == [0, 3, 3, 5]


@given(st.lists(st.text(max_size=40), max_size=30), st.sampled_from(["words-and-punctuation", "words", "whitespace"]), st.booleans())
def test_the_corpus_holds_the_tokens_of_each_text(texts, tokens, lower):
    ids, offsets, words = corpus_ids(texts, tokens, lower)
    assert len(offsets) == len(texts) + 1
    assert words == sorted(words)
    for row, text in enumerate(texts):
        assert [words[place] for place in ids[offsets[row] : offsets[row + 1]]] == tokenise(text, tokens, lower)


def test_texts_beyond_one_chunk_keep_their_places():
    texts = [f"w{row % 7} x{row}" for row in range(10_000)]
    ids, offsets, words = corpus_ids(texts, "words", lower=True)
    assert np.array_equal(offsets, np.arange(0, 20_001, 2))
    assert [words[place] for place in ids[-2:]] == [f"w{9_999 % 7}", "x9999"]


@pytest.mark.parametrize(
    "text",
    [
        "A man isn't here, (he's gone): 50% off!",
        'He said "go on" twice.',
        "A t-shirt and/or a well-known hat.",
    ],
)
def test_detokenised_lines_read_as_they_were_written(text):
    assert detokenise(tokenise(text, lower=False)) == text
