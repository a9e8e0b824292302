"""Files inside tar and zip archives, read without unpacking them to disk."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from secateur.errors import DataError


def members(archive: tarfile.TarFile, path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """(match of the name, content) of each file whose whole name matches `wanted`; `DataError` when the archive is damaged."""
    try:
        for member in archive:
            match = wanted.fullmatch(member.name.removeprefix("./"))
            if match is None or not member.isfile():
                continue
            file = archive.extractfile(member)
            yield match, file.read() if file is not None else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged archive ({error})") from error


def zip_member(path: Path, name: str) -> bytes:
    """The content of the file that is called `name`, in whatever folder of the zip archive it lies."""
    try:
        with zipfile.ZipFile(path) as archive:
            matches = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
            if len(matches) != 1:
                raise DataError(f"{path}: {len(matches)} files called {name} in it, expected one")
            return archive.read(matches[0])
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged archive ({error})") from error
