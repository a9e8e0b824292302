"""Reports hold what the frames hold: files, page, figures, terminal."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from generated_studies import GeneratedStudy
from rich.console import Console

from secateur.errors import InputError
from secateur.reports.drawing import draw
from secateur.reports.report import write_report
from secateur.reports.study import Reported
from secateur.reports.tables import write_tables
from secateur.reports.terminal import summary

LOST = (("late", 2, 1),)


def unpacked(value: dict[str, Any]) -> Any:
    """A column of the page's data, its texts decoded."""
    return [value["values"][code] for code in value["codes"]] if value.keys() == {"values", "codes"} else value


class Page(HTMLParser):
    """The page's parts that tests look at: its data, its tables, what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.data: dict[str, Any] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.charts: list[str] = []
        self._in: list[str] = []
        self._caption, self._rows, self._cell = "", [], None
        self._script = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loads += [value for key, value in attrs if key in ("src", "href") and value and not value.startswith(("#", "data:"))]
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if named.get("data-chart"):
            self.charts.append(str(named["data-chart"]))
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "caption":
            self._caption, self._cell = "", None
        if tag in ("caption", "script"):
            self._in.append(tag)
            self._script = str(named.get("type", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self._rows[-1].append(self._cell)
            self._cell = None
        elif tag == "table":
            self.tables[self._caption] = self._rows
        if self._in and self._in[-1] == tag:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if self._in == ["script"]:
            if self._script == "application/json":
                self.data = json.loads(data, object_hook=unpacked)
        elif self._in == ["caption"]:
            self._caption += data
        elif self._cell is not None:
            self._cell += data


@pytest.fixture(scope="module")
def study() -> GeneratedStudy:
    return GeneratedStudy(diverged=LOST)


@pytest.fixture(scope="module")
def written(study: GeneratedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(study, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_forbids_it(written: Path, page: Page) -> None:
    assert page.loads == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', written.read_text(encoding="utf-8"))
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe-eval" not in policy[1]
    assert len(page.ids) == len(set(page.ids))


def test_the_page_holds_the_frames(study: GeneratedStudy, page: Page) -> None:
    tables = page.data["studies"][0]["tables"]
    kept = pl.DataFrame(tables["results"], infer_schema_length=None)
    frame = Reported(study).results
    assert kept.columns == frame.columns
    assert kept["test_accuracy"].to_list() == frame["test_accuracy"].to_list()
    assert sorted(tables["curves"]["valid_accuracy"]) == sorted(study.curves()["valid_accuracy"])


def test_the_numbers_in_the_table_are_the_frames(study: GeneratedStudy, page: Page) -> None:
    rows = page.tables["Every arm and density against dense"]
    shown = {(row[0], row[1]): row[2] for row in rows[1:]}
    means = (
        study.frame()
        .filter(pl.col("status") == "done")
        .group_by("arm", "level")
        .agg(pl.col("test_accuracy").mean(), pl.col("density").first())
    )
    assert len(shown) == len(means)
    for row in means.iter_rows(named=True):
        density = f"{100 * row['density']:.1f}".removesuffix(".0") if row["density"] >= 0.1 else f"{100 * row['density']:.2g}"
        assert shown[row["arm"], f"{density}\u202f%"] == f"{100 * row['test_accuracy']:.2f}\u202f%"


def test_every_chart_has_its_spec_and_every_chart_a_description(written: Path, page: Page) -> None:
    specs = page.data["studies"][0]["charts"]
    assert {"quality", "speed", "layers", "resolution"} <= specs.keys()
    assert set(page.charts) <= specs.keys()
    figures = re.findall(r"<figure [^>]*>", written.read_text(encoding="utf-8"))
    assert all('aria-label="Chart:' in figure for figure in figures)


def test_diverged_runs_are_named(written: Path, page: Page) -> None:
    assert "late, level 2, replicate 1 diverged" in written.read_text(encoding="utf-8")
    row = next(row for row in page.tables["Every arm and density against dense"] if row[:2] == ["late", "25\u202f%"])
    assert row[5] == "2, 1 diverged"
    assert row[8] == "unclear"


def test_published_numbers_stand_beside_measured_ones(study: GeneratedStudy, page: Page) -> None:
    row = page.tables["Published numbers beside measured ones"][1]
    measured = study.frame().filter((pl.col("arm") == "winning") & (pl.col("level") == 2))["test_accuracy"].mean()
    expected = study.expectations[0]
    assert row[3:6] == [
        f"{100 * expected['value']:.2f}\u202f%",
        f"{100 * measured:.2f}\u202f%",
        f"\u2212{100 * (expected['value'] - measured):.2f} points",
    ]
    assert expected["comparable"] in row


def test_the_method_section_tells_data_seeds_versions_and_time(written: Path, study: GeneratedStudy) -> None:
    text = written.read_text(encoding="utf-8")
    method = study.method()
    assert f"{method['splits']['train'] if 'splits' in method else method['data']['splits']['train']:,} train" in text
    assert method["data"]["digest"][:16] in text
    for note in method["data"]["notes"]:
        assert f"{note['count']:,} {note['what']}" in text
    assert method["versions"]["torch"] in text
    assert "restarts from the weights it had after 150 steps" in text


def test_the_files_beside_the_page(study: GeneratedStudy, written: Path) -> None:
    folder = written.parent
    frame = Reported(study).results
    assert pl.read_parquet(folder / "results.parquet").equals(frame)
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    assert [row["node"] for row in rows] == frame["node"].to_list()
    verdict = json.loads((folder / "verdict.json").read_text())
    assert {(v["arm"], v["level"]) for v in verdict["verdicts"]} == {(arm, level) for arm in study.arms for level in range(1, 6)}
    assert verdict["headline"]["title"]
    for name in ("quality", "speed", "layers", "curves-valid-accuracy"):
        assert (folder / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "var(--" not in (folder / "figures" / "quality.svg").read_text()


def test_text_from_outside_is_never_markup(tmp_path: Path) -> None:
    study = GeneratedStudy(name="</script><b>")
    study.title = "<img src=x onerror=alert(1)>"
    html = write_report(study, tmp_path, figures=False).read_text(encoding="utf-8")
    assert "<img src=x" not in html
    assert "</script><b>" not in html
    assert Page(html).data["studies"][0]["name"] == "</script><b>"


@pytest.mark.parametrize(
    "options",
    [
        {"replicates": 1},
        {"arms": ("random", "snip", "grasp"), "levels": 3, "keep_each": 0.3},
        {"metric": "perplexity", "margin": 0.01, "relative": True},
        {"metric": "macro_f1"},
        {"factors": {"train.optimizer.lr": [0.001, 0.003]}},
        {"levels": 20, "keep_each": 0.8},
        {"missing": (("winning", 5, 0), ("winning", 5, 1), ("winning", 5, 2))},
        {"diverged": tuple(("winning", 1, r) for r in range(3))},
        {"arms": ()},
        {"arms": ("a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b1", "b2"), "levels": 2},
    ],
    ids=str,
)
def test_studies_of_every_shape_have_a_page(options: dict[str, Any], tmp_path: Path) -> None:
    study = GeneratedStudy(**options)
    html = write_report(study, tmp_path, figures=False).read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).lower().replace("finance", "")
    assert Page(html).data["studies"][0]["charts"]


def test_a_study_whose_frames_are_still_empty_has_a_page(tmp_path: Path) -> None:
    study = GeneratedStudy()
    study._curves, study._layers = study._curves.clear(), study._layers.clear()
    assert write_report(study, tmp_path, figures=True).is_file()


def test_a_study_of_the_dense_network_alone_has_a_page_and_figures(tmp_path: Path) -> None:
    assert write_report(GeneratedStudy(arms=()), tmp_path, figures=True).is_file()
    assert "test accuracy" in (tmp_path / "figures" / "quality.svg").read_text()


def test_runs_without_a_density_are_no_stumbling_block(tmp_path: Path) -> None:
    study = GeneratedStudy(diverged=(("late", 5, 0), ("late", 5, 1), ("late", 5, 2)))
    lost = pl.col("status") == "diverged"
    study._results = study._results.with_columns(pl.when(lost).then(None).otherwise(pl.col("density")).alias("density"))
    html = write_report(study, tmp_path, figures=True).read_text(encoding="utf-8")
    assert "late, level 5, replicate 2 diverged" in html


def test_several_studies_share_a_page(tmp_path: Path) -> None:
    studies = [GeneratedStudy(), GeneratedStudy("other", arms=("snip", "random"))]
    html = write_report(studies, tmp_path, figures=False).read_text(encoding="utf-8")
    page = Page(html)
    assert [study["name"] for study in page.data["studies"]] == ["quickstart", "other", "comparison"]
    assert {row[1] for row in page.tables["Every arm of every study"][1:]} == {"winning", "late", "reinit", "snip", "random"}
    assert (tmp_path / "quickstart" / "verdict.json").is_file()
    assert (tmp_path / "other" / "results.csv").is_file()
    assert len(page.ids) == len(set(page.ids))


def test_no_study_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_report([], tmp_path)


def test_tables_alone(tmp_path: Path, study: GeneratedStudy) -> None:
    assert {path.name for path in write_tables(Reported(study), tmp_path / "new")} == {path.name for path in (tmp_path / "new").iterdir()}


def test_the_terminal_names_every_arm_and_verdict(study: GeneratedStudy) -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(summary(study))
    printed = console.file.getvalue()
    assert "\u2026" not in printed
    for verdict in Reported(study).judgement.verdicts:
        assert verdict.arm in printed
        assert verdict.verdict in printed
    assert "Diverged, and counted as losses: late, level 2, replicate 1." in " ".join(printed.split())


class Outcomes(GeneratedStudy):
    """Densities come out of training: each replicate has its own."""

    def frame(self) -> pl.DataFrame:
        own = pl.col("density") * (1 + 0.1 * (pl.col("replicate") - 1))
        return super().frame().with_columns(pl.when(pl.col("level") > 0).then(own).otherwise("density"))


def test_a_level_has_one_density_where_its_replicates_differ() -> None:
    same, differing = draw(Reported(GeneratedStudy())), draw(Reported(Outcomes()))
    for name in ("quality", "curves", "layers"):
        lefts = [[row["left"] for row in drawn.datasets[name]] for drawn in (same, differing)]
        assert lefts[0] == lefts[1]
        assert len(set(lefts[0])) == 6
    assert differing.specs["curves:valid_accuracy"] == same.specs["curves:valid_accuracy"]
