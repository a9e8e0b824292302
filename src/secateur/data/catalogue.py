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
State = Literal["here", "reduced", "can be fetched", "missing", "yours"]
"""`here`; `reduced`: a part or a smaller stand-in is here, the whole can be fetched; `can be fetched`; `missing`, with no public source;
`yours`: a data set of the user's own files."""

VECTORS = "glove"
"""The name under which word vectors are listed, fetched and verified beside the data sets."""


@dataclass(frozen=True)
class Listed:
    """One data set: what it is, the state of its raw files, and where those are that are here."""

    name: str
    summary: str
    state: State
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Checked:
    """One raw file after its bytes were read again: where it is, its sha256, which published form it has, what is wrong with it."""

    file: str
    path: Path | None
    sha256: str | None
    label: str
    problem: str | None


def names() -> list[str]:
    """Every name that can be listed, fetched and verified."""
    return sorted([*datasets.names(), VECTORS])


def listed(files: Files) -> list[Listed]:
    """Every data set, with the state of its raw files. Looks at names only: nothing is read or fetched."""
    return [_listed(files, name) for name in names()]


def paths(files: Files, name: str) -> tuple[Path, ...]:
    """Where the raw files of `name` are; `DataError` when they are not here."""
    here = _listed(files, name).paths
    if not here:
        raise DataError(f"the raw files of {name} are not here: secateur data fetch {name}")
    return here


def fetched(files: Files, name: str) -> tuple[Path, ...]:
    """Fetch what is missing of `name`, and what is here in part only; verify it, and say where it is."""
    forms, _ = _forms(name)
    here = []
    for found in files.find_all(*forms) if forms else []:
        whole = found.raw.sources and _is_partial(found.raw, found.path)
        here.append(files.download(found.raw).path if whole else found.path)
    return tuple(here)


def verified(files: Files, name: str) -> list[Checked]:
    """Read every raw file of `name` that is here again, and compare it with what was published.

    Of data published in several forms those that are here are checked; when none is, the files of the first are missing.
    """
    forms, reduced = _forms(name)
    published = [*forms, *([reduced] if reduced else [])]
    present = [form for form in published if any(files.path(raw) is not None for raw in form)] or published[:1]
    return [_checked(files, raw) for form in present for raw in form]


def _forms(name: str) -> tuple[tuple[Form, ...], Form]:
    """(the forms in which the raw files are published, a smaller stand-in), both empty for the user's own files."""
    if name == VECTORS:
        from secateur.data.glove import GLOVE_6B, GLOVE_SUBSET

        return ((GLOVE_6B,),), (GLOVE_SUBSET,)
    if name not in datasets:
        raise UnknownName("data set", name, names())
    traits = datasets.entry(name).traits
    return traits.get("forms", ()), traits.get("reduced", ())


def _state(files: Files, name: str) -> tuple[State, Form]:
    """The state of the raw files, and the files that are here."""
    forms, reduced = _forms(name)
    if not forms:
        return "yours", ()
    for form in forms:
        if _here(files, form):
            return "reduced" if any(_is_partial(raw, files.path(raw)) for raw in form) else "here", form
    if reduced and _here(files, reduced):
        return "reduced", reduced
    return "can be fetched" if any(all(raw.sources for raw in form) for form in forms) else "missing", ()


def _here(files: Files, form: Form) -> bool:
    return all(files.path(raw) is not None for raw in form)


def _is_partial(raw: RawFile, path: Path | None) -> bool:
    """Whether the file is known under another name than its publisher's: a published part of it."""
    return path is not None and path.name.removesuffix(".gz") in raw.also


def _listed(files: Files, name: str) -> Listed:
    state, here = _state(files, name)
    summary = "GloVe word vectors, for vectors = 'glove'" if name == VECTORS else datasets.entry(name).summary
    return Listed(name, summary, state, tuple(path for raw in here if (path := files.path(raw)) is not None))


def _checked(files: Files, raw: RawFile) -> Checked:
    path = files.path(raw)
    if path is None:
        return Checked(raw.place, None, None, "", "missing")
    try:
        found = files.verified(raw, path, afresh=True)
    except DataError as error:
        return Checked(raw.place, path, None, "", str(error))
    return Checked(raw.place, path, found.sha256, found.label, None)
