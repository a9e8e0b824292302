"""Multi30k, task 1: captions in German and English (Elliott et al. 2016), raw text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.partition import TEST, TRAIN, VALID
from secateur.data.raw import Found, Known, RawFile
from secateur.data.translation import Cutter, Pairs, TranslationOptions, translation
from secateur.errors import DataError, InputError
from secateur.registry import datasets

_SOURCE = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
_PARTS = {"train": TRAIN, "val": VALID, "test_2016_flickr": TEST}
_DIGESTS = {
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
}
MULTI30K = {name: RawFile("multi30k", name, (Known(sha256),), sources=(f"{_SOURCE}/{name}.gz",)) for name, sha256 in _DIGESTS.items()}


def _parse(found: Sequence[tuple[Found, Found]]) -> Pairs:
    sources: list[str] = []
    targets: list[str] = []
    parts: list[int] = []
    for (source, target), part in zip(found, _PARTS.values(), strict=True):
        lines = _lines(source), _lines(target)
        if len(lines[0]) != len(lines[1]):
            raise DataError(f"{source.path} has {len(lines[0]):,} lines, {target.path} has {len(lines[1]):,}: line n must translate line n")
        sources += lines[0]
        targets += lines[1]
        parts += [part] * len(lines[0])
    return Pairs(sources, targets, np.array(parts, np.uint8))


def _lines(found: Found) -> list[str]:
    lines = [line.strip() for line in found.text().removesuffix("\n").split("\n")]
    for number, line in enumerate(lines, 1):
        if not line:
            raise DataError(f"{found.path}, line {number}: empty; every line has its translation")
    return lines


def spacy_cutter(language: str, lower: bool) -> Cutter:
    """The tokeniser of spaCy's rules for `language` (no model is needed); `InputError` when spaCy is not installed."""
    try:
        import spacy
    except ImportError as error:
        raise InputError("tokenizer = 'spacy' needs spaCy: pip install 'secateur[spacy]'") from error
    tokenizer = spacy.blank(language).tokenizer

    def cut(texts: Sequence[str]) -> Iterable[str]:
        for text in texts:
            for token in tokenizer(text.lower() if lower else text):
                if written := token.text.strip():
                    yield written
            yield "\n"

    return cut


@datasets.register("multi30k", forms=(tuple(MULTI30K.values()),))
def multi30k(
    files: Files,
    *,
    source_language: Literal["de", "en"] = "de",
    tokenizer: Literal["words-and-punctuation", "whitespace", "spacy"] = "words-and-punctuation",
    lower: bool = False,
    source_vocabulary: int | None = None,
    target_vocabulary: int | None = None,
    min_count: int = 1,
    max_tokens: int = 100,
    split_seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Captions from German to English, or back: 29,000 pairs for training, 1,014 for validation, 1,000 for test (2016, Flickr)."""
    source, target = (source_language, "en" if source_language == "de" else "de")
    found = [(files.find(MULTI30K[f"{part}.{source}"]), files.find(MULTI30K[f"{part}.{target}"])) for part in _PARTS]
    cutters = (spacy_cutter(source, lower), spacy_cutter(target, lower)) if tokenizer == "spacy" else (None, None)
    options = TranslationOptions(
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
        min_count=min_count,
        max_tokens=max_tokens,
        lower=lower,
        tokens="words-and-punctuation" if tokenizer == "spacy" else tokenizer,
        validation=0.0,
        test=0.0,
        split_seed=split_seed,
        limit=limit,
    )
    variant = {"source": source, "tokenizer": tokenizer, **({"spacy": _spacy_version()} if tokenizer == "spacy" else {})}
    label = f"Multi30k, {'German to English' if source == 'de' else 'English to German'}"
    pairs = [one for pair in found for one in pair]
    return translation(files, "multi30k", 1, label, pairs, variant, lambda: _parse(found), options, cutters)


def _spacy_version() -> str:
    from importlib.metadata import version

    return version("spacy")
