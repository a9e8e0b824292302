"""Reuters-21578, Distribution 1.0: the topics of a newswire story, several a story, in the ModApté split."""

from __future__ import annotations

import html
import io
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

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

Topics = Literal["r10", "r90", "r115"]

_DIGESTS = (
    "9ff9bb40624ef992a03f62aace12e697dca1087abfd9b4d06aa787a6ad3e0687",
    "1528e7e82d110d88d0234eb9619eadb7f9fd805711971df05975b92277dfdf4d",
    "99f18068d0518952987dedd78c622e5c2a584e357d264d3754696c815f3e6628",
    "78a3a8d7e04bc9d42c4614d5d5c60a4293dbe3f708df6fb5a71d9ef31f4b3fa3",
    "726342c19a65873330b412378cd6a3f0d512035f5223146ddd60930c62eb6ff0",
    "d09de619b6dd2d047d5124681f6df90550abaf592020d1c1ce338ae9b91522e7",
    "b5535c0d66b01f4976f84621a4a795afbc00d2c4bd0a1b7ae426df6630fb361d",
    "aa706007ec84a03537a3921ca976d60e11b3f99e4b9e9b2d5c81dd384d2c2062",
    "a3994583694a00b7c744097c1d7eabfcf90f2e6650cc21663e46828035a336cb",
    "29995f606dd1a9bdf907eacc9d879846c716860d9d9141676979474aaea39c7d",
    "996df6008089bd09fa5b28a4d2eb0ee5f7b9d4601cde566fed3926ac82960fa3",
    "d3a2782015247d9c2bffb8926267827fdd449c70d619435ef01a25a1c56a53ca",
    "da31035d483851f2aebce5b66d779e5e2c0ac9dcfe098596c6d544e81c5604ab",
    "8f7700bc0455fac3fcc12377ced4807b7df8aba1f21ecad059b9cc2b1cf0b8be",
    "ef936bd3e0f36cf722afa9a6957563549775af32e9e28b4f539c8737ceda83ab",
    "6d3bcec73eff871b8a5403588af814c4e50a0de6bc25707480522ab836f74026",
    "be2f03a185fff70131f3b4fdbd6229b7ee2be077eba9691eaa597c8cfbda8812",
    "f370e610b4b1342e41a98e0c426a08541044bd1d7e539674f32372a6060b73b5",
    "a5f971bf25448e915781962309e669359a35fbcaf3017a806eca0590897f209a",
    "d3b07097fba2633d130b4914aceba671645985248943ce9e39c289315339dffb",
    "f6ad1b724125c202566c63b35ea0b5ee23881f8b7ed47a32829d5af05d8e860d",
    "3f5196d32869723c9042aa5756805b4e90360f1f45ea17f4594fa0e2b3630b18",
)
REUTERS_FILES = tuple(RawFile("reuters21578", f"reut2-{number:03}.sgm", (Known(sha256),)) for number, sha256 in enumerate(_DIGESTS))
REUTERS_ARCHIVE = RawFile(
    "reuters21578",
    "reuters21578.tar.gz",
    (Known("3bae43c9b14e387f76a61b6d82bf98a4fb5d3ef99ef7e7075ff2ccbcf59f9d30"),),
    sources=(
        "https://archive.ics.uci.edu/ml/machine-learning-databases/reuters21578-mld/reuters21578.tar.gz",
        "https://kdd.ics.uci.edu/databases/reuters21578/reuters21578.tar.gz",
    ),
)

_STORY = re.compile(r"<REUTERS (?P<attributes>[^>]*)>(?P<content>.*?)</REUTERS>", re.DOTALL)
_OPENED = re.compile(r"<REUTERS |</REUTERS>")
_ATTRIBUTE = re.compile(r'([A-Z]+)="([^"]*)"')
_TOPICS = re.compile(r"<TOPICS>((?:<D>[^<>]+</D>)*)</TOPICS>")
_TOPIC = re.compile(r"<D>([^<>]+)</D>")
_TEXT = re.compile(r"<TEXT([^>]*)>(.*)</TEXT>", re.DOTALL)
_TITLE = re.compile(r"<TITLE>(.*?)</TITLE>", re.DOTALL)
_BODY = re.compile(r"<BODY>(.*?)</BODY>", re.DOTALL)
_PARTS = {"TRAIN": TRAIN, "TEST": TEST, "NOT-USED": None}


@dataclass(frozen=True)
class Story:
    """One document of the ModApté split."""

    part: int
    topics: tuple[str, ...]
    title: str
    body: str


def stories(text: str, path: object) -> list[Story]:
    """The stories of one SGML file that are in the ModApté split (TOPICS="YES", LEWISSPLIT TRAIN or TEST), in its order.

    A story without a body has its title only; one of TYPE="UNPROC" has its whole text for a body. `DataError` with file
    and line for a story that is cut off, has no list of topics or stands in no known split.
    """
    found = []
    closed = True
    for mark in _OPENED.finditer(text):
        if (mark[0] == "</REUTERS>") == closed:
            raise DataError(f"{path}, line {_line(text, mark.start())}: a story that is not closed, or closed twice")
        closed = not closed
    if not closed:
        raise DataError(f"{path}, line {_line(text, len(text))}: the last story is cut off")
    for match in _STORY.finditer(text):
        attributes = dict(_ATTRIBUTE.findall(match["attributes"]))
        topics, written = _TOPICS.search(match["content"]), _TEXT.search(match["content"])
        split = attributes.get("LEWISSPLIT", "")
        if split not in _PARTS or topics is None or written is None:
            what = f"unknown LEWISSPLIT {split!r}" if split not in _PARTS else "a story without <TOPICS> or without <TEXT>"
            raise DataError(f"{path}, line {_line(text, match.start())}: {what}")
        part = _PARTS[split]
        if part is None or attributes.get("TOPICS") != "YES":
            continue
        title, body = _TITLE.search(written[2]), _BODY.search(written[2])
        unprocessed = 'TYPE="UNPROC"' in written[1]
        found.append(
            Story(
                part,
                tuple(_TOPIC.findall(topics[1])),
                _plain(title[1]) if title else "",
                _plain(body[1]) if body else _plain(written[2]) if unprocessed else "",
            )
        )
    return found


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _plain(sgml: str) -> str:
    """Text without entities and control characters, white space single."""
    unescaped = html.unescape(sgml)
    return " ".join("".join(sign if sign.isprintable() else " " for sign in unescaped).split())


def chosen_topics(read: Sequence[Story], which: Topics) -> list[str]:
    """The topics of a subset, most frequent in training first: the ten largest, those of both splits (90), or all of training (115)."""
    counts = {part: Counter(topic for story in read if story.part == part for topic in set(story.topics)) for part in (TRAIN, TEST)}
    topics = sorted(counts[TRAIN], key=lambda topic: (-counts[TRAIN][topic], topic))
    if which == "r10":
        return topics[:10]
    return [topic for topic in topics if which == "r115" or topic in counts[TEST]]


def _contents(found: Sequence[Found]) -> list[tuple[str, str]]:
    """(name, text) of the 22 files, from the files themselves or from the archive."""
    if len(found) > 1:
        return [(str(one.path), one.text("latin-1")) for one in found]
    name = re.compile(r"(?:.*/)?reut2-\d{3}\.sgm")
    with tarfile.open(fileobj=io.BytesIO(found[0].read()), mode="r:gz") as archive:
        read = [(match[0], content) for match, content in members(archive, found[0].path, name)]
    return [(f"{found[0].path}, {name}", decode(content, "latin-1", name)) for name, content in sorted(read)]


def _parse(found: Sequence[Found], which: Topics) -> LabelledTexts:
    read = [story for name, text in _contents(found) for story in stories(text, name)]
    topics = chosen_topics(read, which)
    place = {topic: number for number, topic in enumerate(topics)}
    kept = [story for story in read if any(topic in place for topic in story.topics) and (story.title or story.body)]
    labels = np.zeros((len(kept), len(topics)), np.uint8)
    for row, story in enumerate(kept):
        for topic in story.topics:
            if topic in place:
                labels[row, place[topic]] = 1
    notes = (
        Note("ModApté training stories without a topic, left out", sum(story.part == TRAIN and not story.topics for story in read)),
        Note("ModApté test stories without a topic, left out", sum(story.part == TEST and not story.topics for story in read)),
        Note(
            f"ModApté stories whose topics are none of the {len(topics)}, left out",
            sum(bool(story.topics) and not any(topic in place for topic in story.topics) for story in read),
        ),
        Note("stories without a body, whose title is their text", sum(not story.body for story in kept)),
    )
    texts = [f"{story.title} {story.body}".strip() for story in kept]
    return LabelledTexts(texts, labels, topics, np.array([story.part for story in kept], np.uint8), notes)


def _source(topics: Topics) -> TextSource:
    return TextSource(
        "reuters",
        1,
        lambda files: files.find_all(REUTERS_FILES, (REUTERS_ARCHIVE,)),
        partial(_parse, which=topics),
        f"Reuters-21578 R({topics[1:]})",
        {"topics": topics},
    )


@datasets.register("reuters", forms=(REUTERS_FILES, (REUTERS_ARCHIVE,)))
@with_text_options(max_tokens=250)
def reuters(
    files: Files,
    options: TextOptions,
    *,
    topics: Topics = "r90",
) -> Dataset:
    """The topics of a newswire story, of 10, 90 or 115; targets (batch, topics) float32 of 0 and 1. R(90) has 7,770 / 3,019 stories."""
    return text_classification(files, _source(topics), options)
