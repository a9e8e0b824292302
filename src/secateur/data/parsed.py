"""Parse once: arrays under the cache, keyed by the raw files' digests, the settings and the parser's version."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.canonical import canonical_json, digest
from secateur.data.places import Places
from secateur.data.raw import Progress
from secateur.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Parsed:
    """What a parser found: arrays by name, and facts that are plain JSON (class names, counts of what was dropped)."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]


def parsed_once(
    places: Places,
    parser: str,
    version: int,
    made_of: Mapping[str, Any],
    parse: Callable[[], Parsed],
    progress: Progress | None = None,
) -> Parsed:
    """What `parse` returns, from the cache when the same parser has read the same files with the same settings before.

    `made_of` names all that decides the result: digests of the raw files and settings. Arrays come back memory-mapped,
    copy-on-write. A parse that fails leaves nothing behind; one that is killed leaves a folder that is never read.
    """
    key = digest({"parser": parser, "version": version, "made_of": made_of})
    folder = places.parsed / f"{parser}-{key[:32]}"
    cached = _read(folder)
    if cached is None:
        tell = progress or _silent
        tell(f"reading {parser}", 0, 1)
        _write(folder, parse())
        tell(f"reading {parser}", 1, 1)
        cached = _read(folder)
    if cached is None:
        raise DataError(f"{folder}: what was just written cannot be read back; is the disk full or failing?")
    return cached


def _silent(what: str, done: int, of: int | None) -> None:
    """No one is told."""


def _read(folder: Path) -> Parsed | None:
    try:
        listed = json.loads((folder / "parsed.json").read_bytes())
        arrays = {}
        for name, size in listed["sizes"].items():
            path = folder / f"{name}.npy"
            if path.stat().st_size != size:
                return None
            arrays[name] = np.load(path, mmap_mode="c" if size > 4096 else None, allow_pickle=False)
    except (OSError, ValueError, KeyError):
        return None
    return Parsed(arrays, listed["facts"])


def _write(folder: Path, parsed: Parsed) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder.parent))
    try:
        sizes = {}
        for name, array in parsed.arrays.items():
            with (aside / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                _flush(file.fileno(), file)
                sizes[name] = file.tell()
        with (aside / "parsed.json").open("w", encoding="utf-8") as text:
            text.write(canonical_json({"sizes": sizes, "facts": dict(parsed.facts)}))
            _flush(text.fileno(), text)
        try:
            aside.rename(folder)
        except OSError:
            if _read(folder) is None:  # not another process's equal result, but a damaged one
                shutil.rmtree(folder, ignore_errors=True)
                aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _flush(descriptor: int, file: Any) -> None:
    file.flush()
    os.fsync(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left aside long ago."""
    for aside in folder.glob(".aside-*"):
        try:
            if time.time() - aside.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(aside, ignore_errors=True)
        except OSError:
            continue
