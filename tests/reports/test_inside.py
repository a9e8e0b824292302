"""Looking inside: what the pages say of predictions and weights is what the networks predict and hold."""

from pathlib import Path

import numpy as np
import pytest
from chromium import PROGRAM, Chromium
from generated_studies import GeneratedStudy, OpenStudy

from secateur.analysis.forgetting import forgotten_examples
from secateur.reports.drawing import draw
from secateur.reports.inside import prediction_rows, weight_rows
from secateur.reports.report import write_report
from secateur.reports.study import Reported


@pytest.fixture(scope="module")
def study() -> OpenStudy:
    return OpenStudy()


def test_a_study_that_cannot_tell_has_no_such_section(tmp_path: Path) -> None:
    assert prediction_rows(Reported(GeneratedStudy())) == {}
    assert weight_rows(Reported(GeneratedStudy())) == {}
    assert "What pruning forgets" not in write_report(GeneratedStudy(), tmp_path, figures=False).read_text(encoding="utf-8")


def test_confusion_is_the_mean_over_replicates_by_true_class(study: OpenStudy) -> None:
    rows = prediction_rows(Reported(study))["confusion"]
    runs = [(t, p) for identity, t, p in study.predictions() if (identity["arm"], identity["level"]) == ("winning", 2)]
    names = study.method()["data"]["classes"]
    both = np.mean([np.mean((p[t == 3]) == 3) for t, p in runs])
    cell = next(row for row in rows if row["pick"].startswith("winning 25") and row["true"] == names[3] and row["predicted"] == names[3])
    assert cell["share"] == pytest.approx(both)
    of_class = [row["share"] for row in rows if row["pick"] == "dense" and row["true"] == names[0]]
    assert sum(of_class) == pytest.approx(1.0)


def test_the_class_that_pruning_forgets_stands_out(study: OpenStudy) -> None:
    rows = [row for row in prediction_rows(Reported(study))["forgetting"] if row["series"] == "winning" and row["level"] == 2]
    worst = min(rows, key=lambda row: row["difference"])
    assert worst["class"] == study.method()["data"]["classes"][3]
    assert worst["low"] < worst["difference"] < worst["high"] < 0


def test_examples_forgotten_by_every_replicate(study: OpenStudy) -> None:
    found = {(row["series"], row["level"]): row["always"] for row in prediction_rows(Reported(study))["forgotten"]}
    runs = list(study.predictions())
    dense = [p for identity, _, p in runs if identity["arm"] == "dense"]
    late = [p for identity, _, p in runs if (identity["arm"], identity["level"]) == ("late", 4)]
    assert found["late", 4] == len(forgotten_examples(runs[0][1], dense, late))


def test_histograms_and_heat_maps_of_what_is_kept(study: OpenStudy) -> None:
    rows = weight_rows(Reported(study))
    labels = {row["label"] for row in rows["histograms"]}
    assert {"dense, start", "dense, end"} < labels
    for label in labels:
        shares = [row["share"] for row in rows["histograms"] if row["label"] == label and row["parameter"] == "output.weight"]
        assert sum(shares) == pytest.approx(1.0)
    pruned = [row["value"] for row in rows["heat"] if row["pick"].startswith("output.weight: winning")]
    dense = [row["value"] for row in rows["heat"] if row["pick"] == "output.weight: dense, end"]
    assert np.mean(np.array(pruned) == 0) > 0.3 > np.mean(np.array(dense) == 0)


def test_words_have_their_neighbours(study: OpenStudy) -> None:
    rows = weight_rows(Reported(study))
    start = next(values for _, when, values, _ in study.weights() if when == "start")["embedding.weight"]
    cosines = start @ start[2] / np.linalg.norm(start, axis=1) / np.linalg.norm(start[2])
    cosines[[0, 1, 2]] = -2
    nearest = study.words()[0][int(np.argmax(cosines))]
    row = next(row for row in rows["neighbours"] if row["label"] == "dense, start" and row["word"] == "king")
    assert row["near"].startswith(f"{nearest} {cosines.max():.2f}")
    assert {row["word"] for row in rows["radar"]} == {"king", "temple"}


def test_figures_of_the_inside_can_be_written(study: OpenStudy, tmp_path: Path) -> None:
    path = write_report(study, tmp_path)
    for name in ("forgetting", "confusion", "histograms", "heat", "radar"):
        assert (path.parent / "figures" / f"{name}.svg").stat().st_size > 2000
    assert {"forgetting", "confusion", "confusion-pruned", "histograms", "heat", "radar"} <= draw(Reported(study)).specs.keys()


@pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine")
def test_the_page_draws_them_and_answers_choices(study: OpenStudy, tmp_path: Path) -> None:
    path = write_report(study, tmp_path / "page", figures=False)
    with Chromium(tmp_path / "profile") as browser:
        browser.open(path)
        assert browser.problems == []
        figures = browser.ask("document.querySelectorAll('figure[data-chart]').length")
        assert browser.ask("document.querySelectorAll('figure[data-drawn] .plot svg').length") == figures
        browser.ask("document.querySelector('button[data-series=late]').click()")
        assert browser.ask("secateur.errors") == []
        cells = "[...document.querySelectorAll('#chart-0-confusion-pruned svg .mark-text text')].map(t => t.textContent).join()"
        before = browser.ask(cells)
        browser.ask(
            "(async s => { s.selectedIndex = s.options.length - 1; s.dispatchEvent(new Event('change', {bubbles: true}));"
            " await new Promise(r => setTimeout(r, 500)) })(document.querySelector('select[aria-controls=chart-0-confusion-pruned]'))"
        )
        assert browser.ask(cells) != before
