"""Results as files: results.csv, results.parquet, curves.parquet, layers.parquet and verdict.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secateur.reports.study import Reported


def verdict_document(reported: Reported) -> dict[str, Any]:
    """The content of verdict.json: the headline, and a verdict for every arm and density."""
    study = reported.study
    return {
        "study": study.name,
        "preset": study.preset,
        "title": study.title,
        "headline": reported.headline.to_json(),
        **reported.judgement.to_json(),
    }


def write_tables(reported: Reported, out: Path) -> list[Path]:
    """Write the study's data into the folder `out` (made if need be) and return the files."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / name for name in ("results.csv", "results.parquet", "curves.parquet", "layers.parquet", "verdict.json")]
    reported.results.write_csv(files[0])
    reported.results.write_parquet(files[1])
    reported.curves.write_parquet(files[2])
    reported.layers.write_parquet(files[3])
    document = json.dumps(verdict_document(reported), indent=2, ensure_ascii=False, allow_nan=False)
    files[4].write_text(document + "\n", encoding="utf-8")
    return files
