"""Further questions as figures: averaged over replicates, drawn in the page."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from chromium import PROGRAM, Chromium
from generated_studies import GeneratedStudy

from secateur.analysis.statistics import estimate
from secateur.errors import InputError
from secateur.reports.analyses import Analysis, rows
from secateur.reports.report import write_report

BARRIERS = pl.DataFrame(
    {
        "rewind": [0, 0, 0, 100, 100, 100] * 2,
        "arm": ["winning"] * 6 + ["reinit"] * 6,
        "replicate": [0, 1, 2] * 4,
        "barrier": [0.30, 0.34, 0.29, 0.02, 0.01, 0.03, 0.5, 0.52, 0.55, 0.5, 0.49, None],
    }
)
STABILITY = Analysis(
    "stability",
    "Stability",
    "Two copies, one ticket.",
    "Error barrier.",
    BARRIERS,
    "lines",
    "rewind",
    "barrier",
    series="arm",
    percent=True,
    log_x=True,
)
TRANSFER = Analysis(
    "transfer",
    "Transfer",
    "A ticket elsewhere.",
    "Accuracy.",
    pl.DataFrame({"found on": ["a", "a", "b", "b"], "trained on": ["a", "b", "a", "b"], "accuracy": [0.9, 0.8, 0.7, 0.95]}),
    "matrix",
    "trained on",
    "accuracy",
    y="found on",
)
SIGNS = Analysis(
    "signs",
    "Signs",
    "What of the initial weights matters?",
    "Accuracy.",
    pl.DataFrame({"kept": ["all", "signs", "none"] * 2, "accuracy": [0.9, 0.88, 0.8, 0.91, 0.88, 0.79]}),
    "bars",
    "kept",
    "accuracy",
)


class Questioned(GeneratedStudy):
    def analyses(self) -> Iterator[Analysis]:
        yield from (STABILITY, TRANSFER, SIGNS)


def test_replicates_are_averaged_with_their_interval() -> None:
    drawn = {(row["series"], row["x"]): row for row in rows(STABILITY)}
    of = estimate([0.30, 0.34, 0.29])
    assert drawn["winning", 0]["mean"] == pytest.approx(of.mean)
    assert (drawn["winning", 0]["low"], drawn["winning", 0]["high"]) == of.interval
    assert drawn["winning", 0]["shown"] == "31.0"
    assert drawn["reinit", 100]["n"] == 2


def test_a_matrix_keeps_its_cells_apart() -> None:
    assert {(row["y"], row["x"]): row["mean"] for row in rows(TRANSFER)} == {
        ("a", "a"): 0.9,
        ("a", "b"): 0.8,
        ("b", "a"): 0.7,
        ("b", "b"): 0.95,
    }


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="'rewinds'"):
        rows(Analysis("s", "", "", "", BARRIERS, "lines", "rewinds", "barrier"))


def test_figures_are_written(tmp_path: Path) -> None:
    folder = write_report(Questioned(), tmp_path).parent / "figures"
    for name in ("analysis-stability", "analysis-transfer", "analysis-signs"):
        assert (folder / f"{name}.svg").stat().st_size > 2000


@pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine")
def test_the_page_draws_them(tmp_path: Path) -> None:
    path = write_report(Questioned(), tmp_path / "page", figures=False)
    with Chromium(tmp_path / "profile") as browser:
        browser.open(path)
        assert browser.problems == []
        assert browser.ask("secateur.errors") == []
        assert browser.ask("document.querySelectorAll('figure[data-chart^=analysis-][data-drawn] svg').length") == 3
        assert browser.ask("[...document.querySelectorAll('h2')].map(h => h.innerText)").count("Stability") == 1
