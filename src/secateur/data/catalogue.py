"""What data sets there are and which of their raw files are here: plain values for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.data.files import Files
from secateur.data.raw import RawFile
from secateur.errors import DataError, UnknownName
from secateur.registry import datasets

Form = tuple[RawFile, ...]

VECTORS = "glove"
"""The name under which word vectors are listed, fetched and verified beside the data sets."""


@dataclass(frozen=True)
class Listed:
    """One data set: what it is, and whether its raw files are `here`, can be fetched, or are `missing` with no source."""

    name: str
    summary: str
    state: Literal["here", "can be fetched", "missing", "yours"]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Checked:
    """One raw file after its bytes were read again: where it is, its sha256, which published form it has, what is wrong with it."""

    file: str
    path: Path | None
    sha256: str | None
    label: str
    problem: str | None


def forms(name: str) -> tuple[Form, ...]:
    """The forms in which the raw files of data set `name` are published; none for a data set of the user's own files."""
    if name == VECTORS:
        from secateur.data.glove import GLOVE_6B, GLOVE_SUBSET

        return ((GLOVE_6B,), (GLOVE_SUBSET,))
    if name not in datasets:
        raise UnknownName("data set", name, [*datasets.names(), VECTORS])
    found: tuple[Form, ...] = datasets.entry(name).traits.get("forms", ())
    return found


def names() -> list[str]:
    """Every name that can be listed, fetched and verified."""
    return sorted([*datasets.names(), VECTORS])


def listed(files: Files) -> list[Listed]:
    """Every data set, with the state of its raw files. Looks at names only: nothing is read or fetched."""
    return [_listed(files, name) for name in names()]


def _listed(files: Files, name: str) -> Listed:
    summary = "GloVe word vectors (vectors = 'glove')" if name == VECTORS else datasets.entry(name).summary
    published = forms(name)
    if not published:
        return Listed(name, summary, "yours", ())
    paths = _here(files, published)
    if paths:
        return Listed(name, summary, "here", paths)
    fetchable = any(all(raw.sources for raw in form) for form in published)
    return Listed(name, summary, "can be fetched" if fetchable else "missing", ())


def paths(files: Files, name: str) -> tuple[Path, ...]:
    """Where the raw files of `name` are; `DataError` when they are not here."""
    here = _here(files, forms(name))
    if not here:
        raise DataError(f"the raw files of {name} are not here: secateur data fetch {name}")
    return here


def fetched(files: Files, name: str) -> tuple[Path, ...]:
    """Fetch what is missing of `name`, verify it, and say where it is. What is here already is not fetched again."""
    published = forms(name)
    return tuple(found.path for found in files.find_all(*published)) if published else ()


def verified(files: Files, name: str) -> list[Checked]:
    """Read every raw file of `name` that is here again and compare it with what was published.

    Of a data set published in several forms the ones that are here are checked; when none is, the first form's files are
    listed as missing.
    """
    published = forms(name)
    present = [form for form in published if any(files.path(raw) is not None for raw in form)] or list(published[:1])
    return [_checked(files, raw) for form in present for raw in form]


def _checked(files: Files, raw: RawFile) -> Checked:
    path = files.path(raw)
    if path is None:
        return Checked(raw.place, None, None, "", "missing")
    try:
        found = files.verified(raw, path, afresh=True)
    except DataError as error:
        return Checked(raw.place, path, None, "", str(error))
    return Checked(raw.place, path, found.sha256, found.label, None)


def _here(files: Files, published: tuple[Form, ...]) -> tuple[Path, ...]:
    for form in published:
        here = [files.path(raw) for raw in form]
        if all(path is not None for path in here):
            return tuple(path for path in here if path is not None)
    return ()
