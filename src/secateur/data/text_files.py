"""A data set of the user's own texts: a CSV, TSV or JSON Lines file, or a folder of text files with one folder a class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from secateur.data.dataset import Dataset, Note
from secateur.data.files import Files
from secateur.data.partition import TEST, TRAIN, VALID
from secateur.data.raw import Found, RawFile, decode
from secateur.data.tables import named_columns, rows
from secateur.data.text_classification import LabelledTexts, TextSource, text_classification
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import DataError, InputError
from secateur.registry import datasets

Format = Literal["auto", "csv", "tsv", "jsonl", "folder"]

BYTE_ORDER_MARK = "\ufeff"

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True)
class Record:
    """One labelled text, and where it stands: a file and a line."""

    text: str
    label: str
    where: str


def format_of(path: Path, written: Format = "auto") -> Format:
    """The format of a file, from its name unless `written` says it; `InputError` when neither does."""
    if written != "auto":
        return written
    if path.is_dir():
        return "folder"
    name = path.name.removesuffix(".gz")
    if (suffix := Path(name).suffix.lower()) in _SUFFIXES:
        return _SUFFIXES[suffix]
    raise InputError(f"{path}: cannot tell its format from its name; say format = 'csv', 'tsv', 'jsonl' or 'folder'")


def records(found: Found, written: Format, text: str, label: str, encoding: str) -> Iterator[Record]:
    """The labelled texts of one file or folder. `DataError` with file and line for whatever is not as it should be."""
    form = format_of(found.path, written)
    if form == "folder":
        yield from _folder_records(found.path, encoding)
    elif form == "jsonl":
        yield from _json_records(found.text(encoding).removeprefix(BYTE_ORDER_MARK), found.path, text, label)
    else:
        table = rows(found.text(encoding).removeprefix(BYTE_ORDER_MARK), found.path, "\t" if form == "tsv" else ",")
        _, header = next(table, (1, []))
        columns = named_columns(header, (text, label), found.path)
        for line, fields in table:
            yield Record(fields[columns[0]], fields[columns[1]], f"{found.path}, line {line}")


def _json_records(content: str, path: Path, text: str, label: str) -> Iterator[Record]:
    for line, written in enumerate(content.split("\n"), 1):
        if not written.strip():
            continue
        try:
            record = json.loads(written)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: not JSON: {error}") from error
        if not isinstance(record, dict) or text not in record or label not in record:
            keys = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise DataError(f"{path}, line {line}: expected an object with {text!r} and {label!r}, found {keys}")
        if not isinstance(record[text], str) or isinstance(record[label], (dict, list, float)) or record[label] is None:
            raise DataError(f"{path}, line {line}: {text!r} must be a string, and {label!r} a string, a whole number or true or false")
        yield Record(record[text], str(record[label]), f"{path}, line {line}")


def _folder_records(folder: Path, encoding: str) -> Iterator[Record]:
    for kind in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for file in sorted(kind.glob("*.txt")):
            yield Record(decode(file.read_bytes(), encoding, file), kind.name, str(file))


def _found(path: str, role: str) -> Found:
    """The user's file or folder with the digest of all it holds, wherever it lies; a relative path is from the working folder."""
    place = Path(path).expanduser().resolve()
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    digest = hashlib.sha256()
    if place.is_dir():
        texts = sorted(place.glob("*/*.txt"))
        if not texts:
            raise DataError(f"{place}: expected one folder a class with .txt files in it")
        for text in texts:
            content = text.read_bytes()
            digest.update(f"{text.parent.name}/{text.name}\n{len(content)}\n".encode())
            digest.update(content)
    else:
        digest.update(Found(RawFile("yours", role), place, "").read())
    return Found(RawFile("yours", role), place, digest.hexdigest())


def _parse(found: Sequence[Found], parts: Sequence[int], written: Format, text: str, label: str, encoding: str) -> LabelledTexts:
    read = [(record, part) for one, part in zip(found, parts, strict=True) for record in records(one, written, text, label, encoding)]
    kept = [(record, part) for record, part in read if record.text.strip()]
    classes = sorted({record.label for record, part in kept if part == TRAIN})
    place = {name: number for number, name in enumerate(classes)}
    for record, _ in kept:
        if not record.label.strip():
            raise DataError(f"{record.where}: no label")
        if record.label not in place:
            raise DataError(f"{record.where}: unknown label {record.label!r}; the training data have {', '.join(classes)}")
    if len(classes) < 2:
        raise DataError(f"{found[0].path}: {len(classes)} classes, expected two or more")
    labels = np.array([place[record.label] for record, _ in kept], np.int64)
    notes = (Note("records without text, left out", len(read) - len(kept)),)
    return LabelledTexts([record.text for record, _ in kept], labels, classes, np.array([part for _, part in kept], np.uint8), notes)


@datasets.register("text-files", forms=())
@with_text_options(max_tokens=200, test=0.1)
def text_files(
    files: Files,
    options: TextOptions,
    *,
    path: str,
    valid_path: str | None = None,
    test_path: str | None = None,
    format: Format = "auto",
    text: str = "text",
    label: str = "label",
    encoding: str = "utf-8",
) -> Dataset:
    """Your own labelled texts: a CSV, TSV or JSON Lines file with the columns `text` and `label`, or a folder with one folder a class."""
    given = [(path, "train", TRAIN), (valid_path, "valid", VALID), (test_path, "test", TEST)]
    found = [(_found(where, role), part) for where, role, part in given if where is not None]
    parts = [part for _, part in found]

    def parse(ones: Sequence[Found]) -> LabelledTexts:
        return _parse(ones, parts, format, text, label, encoding)

    variant = {"parts": parts, "format": format, "text": text, "label": label, "encoding": encoding}
    source = TextSource("text-files", 1, lambda _: [one for one, _ in found], parse, found[0][0].path.stem, variant)
    return text_classification(files, source, options)
