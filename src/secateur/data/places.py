"""Where raw files are looked for, and where parsed arrays and fetched files are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from secateur.errors import InputError


@dataclass(frozen=True)
class Places:
    """`folders` are searched for raw files, in order, then `cache`/raw; everything that is written goes under `cache`."""

    folders: tuple[Path, ...]
    cache: Path

    @property
    def fetched(self) -> Path:
        """Where fetched raw files go."""
        return self.cache / "raw"

    @property
    def parsed(self) -> Path:
        """Where parsed arrays go."""
        return self.cache / "parsed"

    @property
    def digests(self) -> Path:
        """Where digests of files seen before are noted."""
        return self.cache / "digests"


def default_places(data_dir: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Places:
    """`data_dir`, then $SECATEUR_DATA; the cache is $SECATEUR_CACHE or the user's cache folder.

    `InputError` when a folder that was named does not exist.
    """
    folders = []
    for origin, folder in (("--data-dir", data_dir), ("SECATEUR_DATA", environ.get("SECATEUR_DATA"))):
        if folder:
            path = Path(folder).expanduser()
            if not path.is_dir():
                raise InputError(f"{origin}: {str(path)!r} is no folder: name the folder that holds the raw data")
            folders.append(path)
    cache = environ.get("SECATEUR_CACHE")
    return Places(tuple(folders), Path(cache).expanduser() if cache else platformdirs.user_cache_path("secateur"))
