"""20 Newsgroups, split by date: which group a posting was sent to (Lang 1995; Rennie's 20news-bydate)."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Sequence
from functools import partial

import numpy as np

from secateur.data.archives import members
from secateur.data.dataset import Dataset, Note
from secateur.data.files import Files
from secateur.data.partition import TEST, TRAIN
from secateur.data.raw import Found, Known, RawFile, decode
from secateur.data.text_classification import LabelledTexts, TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import DataError
from secateur.registry import datasets

CLASSES = (
    "alt.atheism",
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "misc.forsale",
    "rec.autos",
    "rec.motorcycles",
    "rec.sport.baseball",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "soc.religion.christian",
    "talk.politics.guns",
    "talk.politics.mideast",
    "talk.politics.misc",
    "talk.religion.misc",
)

NEWSGROUPS = RawFile(
    "newsgroups",
    "20news-bydate.tar.gz",
    (Known("8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610"),),
    sources=(
        "http://qwone.com/~jason/20Newsgroups/20news-bydate.tar.gz",
        "https://people.csail.mit.edu/jrennie/20Newsgroups/20news-bydate.tar.gz",
        "https://ndownloader.figshare.com/files/5975967",
    ),
)

_POSTING = re.compile(r"20news-bydate-(train|test)/([^/]+)/([^/]+)")


def _parse(found: Sequence[Found], headers: bool) -> LabelledTexts:
    """Postings by split, group and number. Without `headers` a posting begins after its first empty line."""
    place = {name: number for number, name in enumerate(CLASSES)}
    postings: list[tuple[int, int, str, str]] = []
    empty = 0
    with tarfile.open(found[0].path, "r:gz") as archive:
        for match, content in members(archive, found[0].path, _POSTING):
            if match[2] not in place:
                raise DataError(f"{found[0].path}, {match[0]}: unknown group {match[2]!r}")
            text = decode(content, "latin-1", f"{found[0].path}, {match[0]}")
            if not headers:
                text = text.replace("\r\n", "\n").partition("\n\n")[2]
            if text.strip():
                postings.append((TRAIN if match[1] == "train" else TEST, place[match[2]], match[3], text))
            else:
                empty += 1
    postings.sort(key=lambda posting: posting[:3])
    notes = (Note("postings without a body, left out", empty),)
    parts, labels, _, texts = zip(*postings, strict=True) if postings else ((), (), (), ())
    return LabelledTexts(texts, np.array(labels, np.int64), CLASSES, np.array(parts, np.uint8), notes)


def _source(headers: bool = False) -> TextSource:
    return TextSource(
        "newsgroups",
        1,
        lambda files: [files.find(NEWSGROUPS)],
        partial(_parse, headers=headers),
        "20 Newsgroups by date",
        {"headers": headers},
    )


@datasets.register("newsgroups", forms=((NEWSGROUPS,),), texts=_source)
@with_text_options(max_tokens=400)
def newsgroups(
    files: Files,
    options: TextOptions,
    *,
    headers: bool = False,
) -> Dataset:
    """Which of twenty newsgroups a posting was sent to: 11,314 for training, 7,532 for test, split by date."""
    return text_classification(files, _source(headers), options)
