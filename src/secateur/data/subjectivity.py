"""Subjectivity: does a sentence tell a plot or an opinion (Pang and Lee 2004)."""

from __future__ import annotations

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.raw import Known, RawFile
from secateur.data.sentences import sentence_source
from secateur.data.text_classification import Padding, TextOptions, TextSource, Vectors, text_classification
from secateur.data.tokens import Tokens
from secateur.registry import datasets

SUBJECTIVITY = RawFile(
    "small_text",
    "subjectivity.zip",
    (Known("741f3371e1a4375051b874fd82fd55857b90975473c91c19a3101cbe17fc4d8c"),),
    sources=("https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/subjectivity.zip",),
)


def _source() -> TextSource:
    return sentence_source(
        "subjectivity",
        "Subjectivity",
        SUBJECTIVITY,
        dict(zip(("plot.tok.gt9.5000", "quote.tok.gt9.5000"), ("objective", "subjective"), strict=True)),
    )


@datasets.register("subjectivity", forms=((SUBJECTIVITY,),), texts=_source)
def subjectivity(
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
    """Whether a sentence is objective (from a plot) or subjective (from a review): 5,000 of each, no published split."""
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
