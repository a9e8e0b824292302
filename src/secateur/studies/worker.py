"""A worker process: reads jobs as JSON lines, computes nodes, tells what happens as JSON lines.

Thread counts are set in its environment before torch is imported: see `executors`. The process ends when its parent does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO


def perform(job: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], None], sources: dict[str, Any]) -> None:
    """Compute one node, unless it exists or another process works on it; tell `done`, `busy` or `failed`."""
    from secateur.data.files import Files
    from secateur.registry import node_kinds
    from secateur.studies.datasets import DatasetSource
    from secateur.studies.nodes import ParentLink, Workplace
    from secateur.studies.store import Store

    key = job["key"]
    store: Store = sources.setdefault(job["store"], Store(Path(job["store"])))
    if "source" not in sources:
        sources["source"] = DatasetSource(Files.default(job["data_dir"]))
    asked = frozenset(job["asked"])
    try:
        with store.lease(key) as mine:
            if not mine:
                tell({"event": "busy", "key": key})
                return
            stored = store.get(key)
            if stored is None or not asked <= set(stored.artefacts):
                workplace = Workplace(key, store, sources["source"], asked, lambda event: tell({**event, "key": key}))
                parents = {role: ParentLink(*link) for role, link in job["parents"].items()}
                result = node_kinds[job["kind"]](workplace, job["spec"], parents)
                missing = asked - set(result.artefacts) - set(stored.artefacts if stored else ())
                store.put(key, {**result.facts, "kind": job["kind"], "fingerprint": fingerprint()}, result.artefacts, result.seconds)
                if missing and result.facts.get("status", "done") == "done" and stored is None:
                    workplace = Workplace(key, store, sources["source"], frozenset(missing), lambda event: None)
                    extended = node_kinds[job["kind"]](workplace, job["spec"], parents)
                    store.put(key, result.facts, extended.artefacts, {})
        tell({"event": "done", "key": key})
    except Exception as error:
        tell({"event": "failed", "key": key, "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})


def fingerprint() -> dict[str, str]:
    """What results may depend on beyond a node's key: versions and instruction set. Recorded, and compared across a study."""
    import platform

    import torch

    import secateur

    return {
        "secateur": secateur.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
    }


def main() -> None:
    """Perform the jobs that standard input brings, one at a time."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin, jobs), daemon=True).start()
    from secateur.studies.store import Store
    from secateur.training.numerics import prepare

    prepare(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sources: dict[str, Any] = {}
    imported: set[str] = set()

    def tell(event: Mapping[str, Any]) -> None:
        answers.write(json.dumps(event) + "\n")

    try:
        while True:
            job = jobs.get()
            if job["recipe"] not in imported and job["plugins"]:
                from secateur.studies.recipe import import_plugins

                import_plugins(job["plugins"], Path(job["recipe"]))
                imported.add(job["recipe"])
            perform(job, tell, sources)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for place in sources.values():
            if isinstance(place, Store):
                place.release()


def _listen(stream: TextIO, jobs: queue.Queue[dict[str, Any]]) -> None:
    """Hand jobs on; when the parent is gone, so is this process."""
    for line in stream:
        jobs.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
