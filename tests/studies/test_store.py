"""The store: what is in it is whole, checked, and never rewritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_studies import run_tiny

from secateur.errors import StoreError
from secateur.studies.results import Study
from secateur.studies.store import Store


def test_an_altered_artefact_is_refused_by_name(tmp_path: Path) -> None:
    run_tiny(tmp_path, ["replicates=1", "prune.schedule.levels=1"])
    store = Store(tmp_path)
    assert store.verify() == []
    victim = next(tmp_path.glob("nodes/*/*/state-*.safetensors"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(bytes(content))
    assert [victim.name in fault for fault in store.verify()] == [True]


def test_other_bytes_under_the_same_name_are_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_artefact("a" * 64, "metrics.jsonl", b"one")
    assert store.put_artefact("a" * 64, "metrics.jsonl", b"one").bytes == 3
    with pytest.raises(StoreError, match="exists with other contents"):
        store.put_artefact("a" * 64, "metrics.jsonl", b"two")


def test_a_node_exists_once_its_manifest_does(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artefact = store.put_artefact("a" * 64, "metrics.jsonl", b"one")
    assert store.get("a" * 64) is None
    store.put("a" * 64, {"status": "done"}, {"metrics": artefact}, {"train": 1.0})
    stored = store.get("a" * 64)
    assert stored is not None
    assert stored.facts == {"status": "done"}
    assert store.read("a" * 64, "metrics") == b"one"
    store.put("a" * 64, {"status": "other"}, {"metrics": artefact}, {})
    assert store.get("a" * 64).facts == {"status": "done"}  # type: ignore[union-attr]


def test_gc_removes_what_no_study_names(tmp_path: Path) -> None:
    study = run_tiny(tmp_path, ["replicates=1", "prune.schedule.levels=1"])
    store = Store(tmp_path)
    assert store.unneeded() == []
    artefact = store.put_artefact("a" * 64, "metrics.jsonl", b"one")
    store.put("a" * 64, {}, {"metrics": artefact}, {})
    assert store.unneeded() == ["a" * 64]
    assert store.delete("a" * 64) > 0
    assert store.get("a" * 64) is None
    assert len(Study.latest(store, "tiny").frame()) == len(study.frame())


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 99"):
        Store(tmp_path)
