"""What data sets there are and which of their raw files are here: rows of plain values for the command line."""

from __future__ import annotations

from typing import Any, Literal

from secateur.data.files import Files
from secateur.data.raw import RawFile
from secateur.errors import DataError, UnknownName
from secateur.registry import datasets

Form = tuple[RawFile, ...]
Row = dict[str, Any]
State = Literal["here", "reduced", "can be fetched", "missing", "yours"]

VECTORS = "glove"
"""The name under which word vectors are listed, fetched and verified beside the data sets."""


def names() -> list[str]:
    """Every name that can be listed, fetched and verified."""
    return sorted([*datasets.names(), VECTORS])


def listed(files: Files) -> list[Row]:
    """Every data set: `name`, `state` of its raw files, `what` it is, `paths`. Looks at names only: nothing is read or fetched.

    A state is `here`, `reduced` (a smaller stand-in is here, the whole can be fetched), `can be fetched`, `missing` (with
    no public source) or `yours` (a data set of the user's own files).
    """
    return [_listed(files, name) for name in names()]


def path(files: Files, name: str) -> list[Row]:
    """Where the raw files of `name` are: `file`, `path`. `DataError` when they are not here."""
    _, here = _state(files, name)
    if not here:
        raise DataError(f"the raw files of {name} are not here: secateur data fetch {name}")
    return [{"file": raw.place, "path": str(files.path(raw))} for raw in here]


def fetch(files: Files, name: str) -> list[Row]:
    """Fetch what is missing of `name`, and what is here in part only; verify it; say where it is: `file`, `path`, `label`."""
    forms, _ = _forms(name)
    rows = []
    for found in files.find_all(*forms) if forms else []:
        whole = found
        if found.raw.sources and found.path.name.removesuffix(".gz") in found.raw.also:
            whole = files.download(found.raw)
        rows.append({"file": whole.raw.place, "path": str(whole.path), "label": whole.label})
    return rows


def verify(files: Files, name: str) -> list[Row]:
    """Read every raw file of `name` that is here again, and compare it with what was published.

    `file`, `path`, `sha256`, `label`, and the `problem`, None where there is none. Of data published in several forms those
    that are here are checked; when none is, the files of the first are missing.
    """
    forms, reduced = _forms(name)
    published = [*forms, *([reduced] if reduced else [])]
    present = [form for form in published if any(files.path(raw) is not None for raw in form)] or published[:1]
    return [_verified(files, raw) for form in present for raw in form]


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
            return "here", form
    if reduced and _here(files, reduced):
        return "reduced", reduced
    return "can be fetched" if any(all(raw.sources for raw in form) for form in forms) else "missing", ()


def _here(files: Files, form: Form) -> bool:
    return all(files.path(raw) is not None for raw in form)


def _listed(files: Files, name: str) -> Row:
    state, here = _state(files, name)
    what = "GloVe word vectors, for vectors = 'glove'" if name == VECTORS else datasets.entry(name).summary
    return {"name": name, "state": state, "what": what, "paths": [str(files.path(raw)) for raw in here]}


def _verified(files: Files, raw: RawFile) -> Row:
    row: Row = {"file": raw.place, "path": None, "sha256": None, "label": "", "problem": "missing"}
    place = files.path(raw)
    if place is None:
        return row
    try:
        found = files.verified(raw, place, afresh=True)
    except DataError as error:
        return {**row, "path": str(place), "problem": str(error)}
    return {**row, "path": str(place), "sha256": found.sha256, "label": found.label, "problem": None}
