"""Fetch a file over HTTP: resumable, complete or refused, put in place by a rename."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from secateur.data.raw import Progress
from secateur.errors import DataError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system: processes that fetch the same file at once may disturb each other
    fcntl = None

CONNECT_SECONDS = 20
"""How long a source may stay silent before it is given up."""

CHUNK = 1 << 18


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds a lock on `path`.lock, so that of several processes one fetches and the others wait for what it brings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch_part(url: str, part: Path, progress: Progress | None = None) -> None:
    """Bring `part` to the whole content of `url`, going on from the bytes it already has.

    What was had stays in `part` when the connection breaks, so that the next call goes on from there. `DataError` when
    the source cannot be reached, refuses, or ends early.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "secateur", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as answer:
            resumed = answer.status == 206
            length = answer.headers.get("Content-Length")
            had = have if resumed else 0
            total = had + int(length) if length is not None else None
            with part.open("ab" if resumed else "wb") as file:
                while block := answer.read(CHUNK):
                    file.write(block)
                    had += len(block)
                    if progress is not None:
                        progress(part.name.removesuffix(".part"), had, total)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the part holds all there is: nothing is left to fetch
            return
        raise DataError(f"{url}: the source answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: cannot be fetched: {getattr(error, 'reason', error)}") from error
    if total is not None and had != total:
        raise DataError(f"{url}: ended after {had} of {total} bytes; the same command goes on from there")
