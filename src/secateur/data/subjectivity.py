"""Subjectivity: does a sentence tell a plot or an opinion (Pang and Lee 2004)."""

from __future__ import annotations

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.raw import Known, RawFile
from secateur.data.sentences import sentence_source
from secateur.data.text_classification import TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
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
@with_text_options(vocabulary=None, test=0.1)
def subjectivity(
    files: Files,
    options: TextOptions,
) -> Dataset:
    """Whether a sentence is objective (from a plot) or subjective (from a review): 5,000 of each, no published split."""
    return text_classification(files, _source(), options)
