"""The store: nodes with checksummed artefacts, in a folder that several processes may share.

Five operations: get, put-if-absent, list, lease, delete. An artefact is written aside, fsynced (file and directory) and
renamed; a node exists once its manifest does, which is written last. What a child asks for later (a state at a step that
was not kept) is added with a small manifest of its own; nothing that exists is ever rewritten.

    nodes/ab/abcd…/manifest.json          what the node is, and name -> file, sha256, bytes of each artefact
                  /state-469.safetensors  artefacts
                  /added-….json           manifests of artefacts that came later
                  /timings.json           wall-clock seconds: beside, never inside, what is compared
    work/abcd…/                           checkpoints of nodes in flight
    leases/abcd….3                        who works on a node; the highest number holds
    failures/abcd….txt                    why the last attempt at a node failed; gone once it exists
    studies/NAME/….json                   which nodes make up a study
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from secateur.canonical import canonical_json
from secateur.canonical import digest as digest_of
from secateur.errors import StoreError
from secateur.studies.faults import reach

FORMAT = 1
_STALE_AFTER = 60.0
_HEARTBEAT = 10.0


@dataclass(frozen=True)
class Artefact:
    """One file of a node, as its manifest lists it."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Stored:
    """A node that exists: its manifest's facts, and its artefacts by name (`state/469`, `mask`, `metrics`)."""

    key: str
    facts: Mapping[str, Any]
    artefacts: Mapping[str, Artefact]


class Store:
    """A store in a folder, made on first use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        about = root / "store.json"
        if about.exists():
            found = json.loads(about.read_text()).get("format")
            if found != FORMAT:
                raise StoreError(f"{root} is a store of format {found!r}; this version reads format {FORMAT}")
        else:
            root.mkdir(parents=True, exist_ok=True)
            write_durably(about, canonical_json({"format": FORMAT}).encode(), "study")
        self._held: set[Path] = set()

    # get

    def get(self, key: str) -> Stored | None:
        """The node, or None when it does not exist (yet)."""
        folder = self._folder(key)
        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise StoreError(f"{folder / 'manifest.json'} is damaged; remove the node's folder to compute it again") from None
        artefacts = dict(manifest["artefacts"])
        for added in sorted(folder.glob("added-*.json")):
            artefacts.update(json.loads(added.read_bytes())["artefacts"])
        return Stored(key, manifest["facts"], {name: Artefact(**entry) for name, entry in artefacts.items()})

    def read(self, key: str, name: str) -> bytes:
        """An artefact's bytes, checked against its manifest; `StoreError` when missing or altered."""
        stored = self.get(key)
        if stored is None or name not in stored.artefacts:
            raise StoreError(f"the store has no artefact {name!r} of node {key[:12]}")
        artefact = stored.artefacts[name]
        path = self._folder(key) / artefact.file
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{path} is missing though its manifest lists it") from None
        if hashlib.sha256(content).hexdigest() != artefact.sha256:
            raise StoreError(f"{path} is damaged: its checksum is not the manifest's")
        return content

    def timings(self, key: str) -> dict[str, float]:
        """Wall-clock seconds of a node, by what they were spent on."""
        try:
            return dict(json.loads((self._folder(key) / "timings.json").read_bytes()))
        except FileNotFoundError:
            return {}

    def finished(self, key: str) -> str:
        """When the node came to exist: its manifest's time, in UTC, to the second."""
        seconds = (self._folder(key) / "manifest.json").stat().st_mtime
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

    def crossovers(self, digest: str) -> dict[str, Any]:
        """The table of crossovers with this digest, as `put_crossovers` got it; `StoreError` when missing or altered."""
        path = self._crossovers(digest)
        try:
            table: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise StoreError(f"{path} is missing: the table of crossovers that a node was planned with") from None
        except ValueError:
            table = {}
        if digest_of(table) != digest:
            raise StoreError(f"{path} is damaged: its digest is not its name")
        return table

    # put-if-absent

    def put_crossovers(self, table: Mapping[str, Any]) -> None:
        """Keep a table of crossovers, as plain JSON data, under its digest."""
        path = self._crossovers(digest_of(table))
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            write_durably(path, canonical_json(table).encode(), "study")

    def put_artefact(self, key: str, file: str, content: bytes) -> Artefact:
        """Write one artefact of a node that is being made. The same bytes may be put again; other bytes are an error."""
        artefact = Artefact(file, hashlib.sha256(content).hexdigest(), len(content))
        path = self._folder(key) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() != artefact.sha256:
                raise StoreError(f"{path} exists with other contents: the node's result depends on something its key does not hold")
            return artefact
        write_durably(path, content, "artefact")
        return artefact

    def existing(self, key: str, file: str) -> Artefact | None:
        """An artefact that an earlier, killed attempt at a node wrote, whole; None where there is none."""
        try:
            content = (self._folder(key) / file).read_bytes()
        except FileNotFoundError:
            return None
        return Artefact(file, hashlib.sha256(content).hexdigest(), len(content))

    def unfinished(self, key: str, file: str) -> bytes:
        """The bytes of an artefact of a node that is being made."""
        return (self._folder(key) / file).read_bytes()

    def steps_of(self, key: str, form: str) -> list[int]:
        """The steps of artefact files `form-STEP.safetensors` of a node that is being made, ascending."""
        return sorted(int(path.stem.removeprefix(f"{form}-")) for path in self._folder(key).glob(f"{form}-*.safetensors"))

    def put(self, key: str, facts: Mapping[str, Any], artefacts: Mapping[str, Artefact], timings: Mapping[str, float]) -> None:
        """Make the node exist, unless it does: its manifest is written last. New artefacts of an existing node are added."""
        folder = self._folder(key)
        stored = self.get(key)
        if stored is None:
            folder.mkdir(parents=True, exist_ok=True)
            write_durably(folder / "timings.json", canonical_json(dict(timings)).encode(), "artefact")
            manifest = {"facts": dict(facts), "artefacts": {name: vars(entry) for name, entry in artefacts.items()}}
            write_durably(folder / "manifest.json", canonical_json(manifest).encode(), "manifest")
        else:
            added = {name: vars(entry) for name, entry in artefacts.items() if name not in stored.artefacts}
            if added:
                content = canonical_json({"artefacts": added}).encode()
                write_durably(folder / f"added-{hashlib.sha256(content).hexdigest()[:16]}.json", content, "manifest")
        shutil.rmtree(self.work(key), ignore_errors=True)
        (self.root / "failures" / f"{key}.txt").unlink(missing_ok=True)

    def put_failure(self, key: str, error: str) -> None:
        """Keep why an attempt at a node failed, in the place of what an earlier one left."""
        path = self.root / "failures" / f"{key}.txt"
        path.parent.mkdir(exist_ok=True)
        write_durably(path, error.encode(), "failure")

    def failure(self, key: str) -> str | None:
        """Why the last attempt at a node failed; None when none did, or the node exists."""
        try:
            return (self.root / "failures" / f"{key}.txt").read_text()
        except FileNotFoundError:
            return None

    def work(self, key: str) -> Path:
        """Where a node in flight keeps its checkpoints."""
        return self.root / "work" / key

    # list

    def keys(self) -> Iterator[str]:
        """The keys of all nodes that exist."""
        for manifest in sorted((self.root / "nodes").glob("*/*/manifest.json")):
            yield manifest.parent.name

    def studies(self, name: str | None = None) -> list[Path]:
        """The records of the studies (of that name) in this store, oldest first."""
        return sorted((self.root / "studies").glob(f"{name or '*'}/*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))

    def put_study(self, name: str, record: Mapping[str, Any]) -> Path:
        """Write which nodes make up a study. The same study again gives the same file, and is then the latest."""
        content = canonical_json(record).encode()
        path = self.root / "studies" / name / f"{hashlib.sha256(content).hexdigest()[:16]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.utime(path)
        else:
            write_durably(path, content, "study")
        return path

    # lease

    @contextmanager
    def lease(self, key: str) -> Iterator[bool]:
        """Try to be the only one that works on a node: yields whether that succeeded. A lease whose holder is dead or silent
        is taken over by making the next number, which only one process can."""
        folder = self.root / "leases"
        folder.mkdir(parents=True, exist_ok=True)
        number = self._next_lease(folder, key)
        mine = folder / f"{key}.{number}"
        self._held.add(mine)
        if number < 0 or not self._link(mine):
            self._held.discard(mine)
            yield False
            return
        silent = threading.Event()
        heart = threading.Thread(target=_beat, args=(mine, silent), daemon=True)
        heart.start()
        try:
            yield True
        finally:
            silent.set()
            heart.join()
            reach("lease.before-release")
            for old in [path for path in _leases(folder, key) if _number(path) < number]:
                old.unlink(missing_ok=True)
            mine.unlink(missing_ok=True)
            self._held.discard(mine)
            reach("lease.after-release")

    def release(self) -> None:
        """Give up whatever leases this store still holds for this process: what a signal may have left on the way out."""
        for path in list(self._held):
            if path.exists() and path.read_text() == _owner():
                path.unlink(missing_ok=True)
        self._held.clear()

    def leased(self, key: str) -> bool:
        """Whether a living process works on the node."""
        held = _leases(self.root / "leases", key)
        return bool(held) and not _stale(held[-1])

    def _next_lease(self, folder: Path, key: str) -> int:
        """The number to try for, or -1 while a living process holds the lease."""
        held = _leases(folder, key)
        if not held:
            return 0
        return _number(held[-1]) + 1 if _stale(held[-1]) else -1

    def _link(self, path: Path) -> bool:
        """Make the lease file with its contents at once; False when another was first."""
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        aside.write_text(_owner())
        reach("lease.before-link")
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        reach("lease.after-link")
        return True

    # delete

    def delete(self, key: str) -> int:
        """Remove a node, its manifest first; returns the bytes freed."""
        folder = self._folder(key)
        freed = sum(path.stat().st_size for path in folder.glob("*"))
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return freed

    def verify(self) -> list[str]:
        """Check every artefact of every node against its manifest, and tables of crossovers: one sentence a fault."""
        faults = []
        for path in sorted(self.root.glob("crossovers/*.json")):
            try:
                self.crossovers(path.stem)
            except StoreError as error:
                faults.append(str(error))
        for key in self.keys():
            try:
                stored = self.get(key)
                for name in stored.artefacts if stored else ():
                    self.read(key, name)
            except StoreError as error:
                faults.append(str(error))
        return faults

    def unneeded(self) -> list[str]:
        """Keys of nodes that no study of this store names."""
        needed: set[str] = set()
        for path in self.studies():
            needed.update(json.loads(path.read_bytes())["nodes"])
        return [key for key in self.keys() if key not in needed]

    def _crossovers(self, digest: str) -> Path:
        return self.root / "crossovers" / f"{digest}.json"

    def _folder(self, key: str) -> Path:
        return self.root / "nodes" / key[:2] / key


def write_durably(path: Path, content: bytes, what: str) -> None:
    """Write a file so that after any crash it is there whole or not at all."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        reach(f"{what}.before-fsync")
        os.fsync(file.fileno())
        reach(f"{what}.after-fsync")
    reach(f"{what}.before-rename")
    os.replace(aside, path)
    reach(f"{what}.after-rename")
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    reach(f"{what}.after-directory-fsync")


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _leases(folder: Path, key: str) -> list[Path]:
    return sorted(folder.glob(f"{key}.*"), key=_number)


def _number(path: Path) -> int:
    return int(path.name.rpartition(".")[2])


def _stale(path: Path) -> bool:
    """The holder is a dead process of this machine, or has not been heard of for a minute."""
    try:
        host, pid = path.read_text().split(":")
        silent_for = time.time() - path.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return True
    if host == socket.gethostname() and not _alive(int(pid)):
        return True
    return silent_for > _STALE_AFTER


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _beat(path: Path, silent: threading.Event) -> None:
    """Touch the lease now and then, until told to be silent."""
    while not silent.wait(_HEARTBEAT):
        try:
            os.utime(path)
        except FileNotFoundError:
            return
