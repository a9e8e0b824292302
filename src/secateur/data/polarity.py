"""Sentence polarity: is a sentence of a film review positive or negative (Pang and Lee 2005)."""

from __future__ import annotations

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.raw import Known, RawFile
from secateur.data.sentences import sentence_source
from secateur.data.text_classification import TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
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
@with_text_options(vocabulary=None, test=0.1)
def polarity(
    files: Files,
    options: TextOptions,
) -> Dataset:
    """Whether a sentence of a film review is positive: 5,331 sentences of each kind, no published split."""
    return text_classification(files, _source(), options)
