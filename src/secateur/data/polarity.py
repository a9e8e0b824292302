"""Sentence polarity: is a sentence of a film review positive or negative (Pang and Lee 2005)."""

from __future__ import annotations

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.raw import Known, RawFile
from secateur.data.sentences import sentence_source
from secateur.data.text_classification import Padding, TextOptions, TextSource, Vectors, text_classification
from secateur.data.tokens import Tokens
from secateur.registry import datasets

POLARITY = RawFile(
    "small_text",
    "sentence_polarity.zip",
    (Known("6e1ed4405b65c7eabf1d199a7f7c437091ac21da0ea7467b410a74062574566b"),),
    sources=("https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/sentence_polarity.zip",),
)


def _source() -> TextSource:
    return sentence_source(
        "polarity", "Sentence polarity", POLARITY, dict(zip(("rt-polarity.neg", "rt-polarity.pos"), ("negative", "positive"), strict=True))
    )


@datasets.register("polarity", forms=((POLARITY,),), texts=_source)
def polarity(
    files: Files,
    *,
    vocabulary: int | None = None,
    min_count: int = 1,
    max_tokens: int | None = None,
    lower: bool = True,
    tokens: Tokens = "words-and-punctuation",
    padding: Padding = "batch",
    vectors: Vectors = "none",
    dimension: int = 50,
    vocabulary_from: tuple[str, ...] = (),
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Whether a sentence of a film review is positive: 5,331 sentences of each kind, no published split."""
    options = TextOptions(
        vocabulary=vocabulary,
        min_count=min_count,
        max_tokens=max_tokens,
        lower=lower,
        tokens=tokens,
        padding=padding,
        vectors=vectors,
        dimension=dimension,
        vocabulary_from=vocabulary_from,
        validation=validation,
        test=test,
        split_seed=split_seed,
        limit=limit,
    )
    return text_classification(files, _source(), options)
