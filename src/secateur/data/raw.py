"""Raw files as their publishers distribute them: what they are called, where they come from, which bytes they hold."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import DataError


@dataclass(frozen=True)
class Known:
    """One published form of a file: the sha256 of its content (unzipped, where it is a single gzipped file)."""

    sha256: str
    label: str = ""


@dataclass(frozen=True)
class RawFile:
    """A raw file: `folder`/`name` under a data folder, plain or gzipped (`name`.gz), or a file of an installed package.

    `known` lists every published content that is accepted; when it is empty any content is. `also` are other names that
    are looked for after `name`. `sources` are addresses to fetch it from, `extra` is what to install for a package's file.
    """

    folder: str
    name: str
    known: tuple[Known, ...] = ()
    also: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    package: str | None = None
    extra: str = ""

    @property
    def place(self) -> str:
        """`folder/name`: what the file is called in messages."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Found:
    """A raw file that was found and verified: its path, the sha256 of its content, the label of the form it has."""

    raw: RawFile
    path: Path
    sha256: str
    label: str = ""

    def read(self) -> bytes:
        """The content, unzipped where the file is a gzipped one; `DataError` when it is truncated."""
        return read_content(self.path, gzipped=is_gzipped(self.raw, self.path))

    def text(self, encoding: str = "utf-8") -> str:
        """The content decoded; `DataError` with the line of the first byte that is not of the encoding."""
        return decode(self.read(), encoding, self.path)


def is_gzipped(raw: RawFile, path: Path) -> bool:
    """Whether `path` is `raw` with one gzip layer around it (an archive whose own name ends in .gz has none)."""
    return path.suffix == ".gz" and path.name not in (raw.name, *raw.also)


def read_content(path: Path, gzipped: bool) -> bytes:
    """The bytes of `path`, unzipped when `gzipped`; `DataError` when they cannot be had whole."""
    try:
        if gzipped:
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def decode(content: bytes, encoding: str, path: Path | str) -> str:
    """`content` as text; `DataError` with file and line when a byte is not of the encoding."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: byte 0x{content[error.start]:02x} is not {encoding}") from error


Progress = Callable[[str, int, int | None], None]
"""Called with what is being fetched or read, how much of it is done, and how much there is in all, where that is known.

Fetching counts bytes; reading says 0 of 1 when it begins and 1 of 1 when it is done."""
