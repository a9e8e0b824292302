"""The page as a reader meets it: opened in a real Chromium. Skipped where there is none."""

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from chromium import PROGRAM, Chromium
from generated_studies import GeneratedStudy

from secateur.reports.report import write_report
from secateur.reports.study import Reported

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine")

MARKS = "document.querySelectorAll('#chart-0-quality .plot svg .mark-symbol path').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def study() -> GeneratedStudy:
    return GeneratedStudy(diverged=(("late", 2, 1),))


@pytest.fixture(scope="module")
def written(study: GeneratedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(study, tmp_path_factory.mktemp("page"), figures=False)


def test_it_opens_without_a_complaint_or_a_request_and_draws_every_chart(browser: Chromium, written: Path) -> None:
    browser.open(written)
    assert browser.problems == []
    assert browser.ask("secateur.errors") == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    figures = browser.ask("document.querySelectorAll('figure[data-chart]').length")
    assert figures >= 6
    assert browser.ask("document.querySelectorAll('figure[data-drawn] .plot svg').length") == figures
    sizes = browser.ask("[...document.querySelectorAll('figure .plot svg')].map(s => [s.clientWidth, s.clientHeight])")
    assert all(width > 300 and height > 50 for width, height in sizes)


def test_the_answer_stands_on_the_first_screen(browser: Chromium, written: Path, study: GeneratedStudy) -> None:
    browser.open(written)
    assert browser.ask("document.querySelector('h1').innerText") == Reported(study).headline.title
    assert browser.ask("document.querySelector('h1').getBoundingClientRect().bottom < innerHeight / 2")
    assert browser.ask("document.querySelector('#chart-0-quality svg').getBoundingClientRect().bottom < innerHeight")


def test_a_number_in_the_table_is_the_frames(browser: Chromium, written: Path, study: GeneratedStudy) -> None:
    browser.open(written)
    row = browser.ask(
        "[...document.querySelectorAll('section table tr[data-series=winning]')]"
        ".map(r => [...r.cells].map(c => c.innerText)).find(r => r[1].startsWith('50'))"
    )
    mean = study.frame().filter((pl.col("arm") == "winning") & (pl.col("level") == 1))["test_accuracy"].mean()
    assert row[2].replace("\u202f", " ") == f"{100 * mean:.2f} %"


def test_the_points_drawn_are_the_means_of_the_frame(browser: Chromium, written: Path, study: GeneratedStudy) -> None:
    browser.open(written)
    described = browser.ask(
        "[...document.querySelectorAll('#chart-0-quality svg [aria-roledescription=point]')].map(p => p.getAttribute('aria-label'))"
    )
    frame = study.frame().filter((pl.col("level") > 0) & (pl.col("status") == "done"))
    means = frame.group_by("arm", "level").agg(pl.col("test_accuracy").mean())
    for row in means.iter_rows(named=True):
        value = f"{100 * row['test_accuracy']:.2f}"
        assert any(f"arm: {row['arm']}" in label and value in label for label in described)


def test_an_arm_is_toggled_in_charts_tables_and_for_screen_readers(browser: Chromium, written: Path) -> None:
    browser.open(written)
    before = browser.ask(MARKS)
    rows = "[...document.querySelectorAll('tr[data-series=reinit]')].filter(r => r.offsetParent !== null).length"
    assert browser.ask(rows) > 0
    browser.ask("document.querySelector('button[data-series=reinit]').click()")
    assert browser.ask("document.querySelector('button[data-series=reinit]').getAttribute('aria-pressed')") == "false"
    hidden = browser.ask(MARKS)
    assert hidden < before
    assert browser.ask(rows) == 0
    assert browser.ask("document.getElementById('status').innerText") == "reinit hidden"
    browser.ask("document.querySelector('button[data-series=reinit]').click()")
    assert browser.ask(MARKS) == before
    assert browser.problems == []


def test_every_control_is_reached_by_keyboard(browser: Chromium, written: Path) -> None:
    browser.open(written)
    reached = set()
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(
            browser.ask("(e => e.dataset.series || e.dataset.pick || e.dataset.download || e.id || e.className)(document.activeElement)")
        )
    assert {"skip", "theme", "winning", "late", "reinit", "series", "chart", "results", "verdict"} <= reached
    # a toggle answers to the space bar
    browser.ask("document.querySelector('button[data-series=late]').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32, text=" " if kind == "keyDown" else ""
        )
    assert browser.ask("document.querySelector('button[data-series=late]').getAttribute('aria-pressed')") == "false"


def test_curves_of_another_arm_and_measure_are_drawn(browser: Chromium, written: Path) -> None:
    browser.open(written)
    title = "[...document.querySelectorAll('#chart-0-curves svg .role-axis-title text')].map(t => t.textContent).join()"
    assert "validation accuracy" in browser.ask(title)
    browser.ask(
        "(s => { s.value = 'curves:train_loss'; s.dispatchEvent(new Event('change', {bubbles: true})) })"
        "(document.querySelector('select[data-pick=chart]'))"
    )
    deadline = time.monotonic() + 10
    while "training loss" not in browser.ask(title) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "training loss" in browser.ask(title)
    assert browser.problems == []


def test_the_axis_turns_linear(browser: Chromium, written: Path) -> None:
    browser.open(written)
    title = "[...document.querySelectorAll('#chart-0-quality svg .role-axis-title text')].map(t => t.textContent).join()"
    assert "log scale" in browser.ask(title)
    browser.ask("document.querySelector('[data-scale]').click()")
    deadline = time.monotonic() + 10
    while "log scale" in browser.ask(title) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "log scale" not in browser.ask(title)
    assert browser.problems == []


def test_the_embedded_data_come_out_as_csv(browser: Chromium, written: Path, study: GeneratedStudy) -> None:
    browser.open(written)
    text = browser.ask("secateur.csv(secateur.page.studies[0].tables.results)")
    frame = Reported(study).results
    read = pl.read_csv(text.encode(), infer_schema_length=None)
    assert read.columns == frame.columns
    assert read["test_accuracy"].to_list() == frame["test_accuracy"].to_list()


def test_a_table_opens_under_a_chart(browser: Chromium, written: Path, study: GeneratedStudy) -> None:
    browser.open(written)
    browser.ask("document.querySelector('[data-table=curves]').closest('details').open = true")
    deadline = time.monotonic() + 10
    rows = "document.querySelectorAll('[data-table=curves] tbody tr').length"
    while not browser.ask(rows) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert browser.ask(rows) == study.curves().height


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_runs_over_the_side(browser: Chromium, written: Path, width: int) -> None:
    browser.size(width, 900)
    try:
        browser.open(written)
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.size(1400, 900)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_paper(browser: Chromium, written: Path, scheme: str) -> None:
    browser.prefer(scheme)
    try:
        browser.open(written)
        contrasts = browser.ask(
            """(() => {
              const rgb = (name) => { const e = document.createElement('i'); e.style.color = `var(--${name})`; document.body.append(e);
                const c = getComputedStyle(e).color.match(/[\\d.]+/g).slice(0, 3).map(Number); e.remove(); return c; };
              const light = (c) => { const [r, g, b] = c.map(v => { v /= 255;
                return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
              const paper = light(rgb('paper'));
              return Object.fromEntries(['ink', 'muted', 'accent', 'wins', 'matches', 'unclear', 'loses'].map(name => {
                const l = light(rgb(name)); return [name, (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05)]; }));
            })()"""
        )
        assert all(contrast >= 4.5 for contrast in contrasts.values()), contrasts
        dark = browser.ask("getComputedStyle(document.documentElement).colorScheme")
        assert dark == scheme
    finally:
        browser.prefer("light")


def test_it_prints(browser: Chromium, written: Path, tmp_path: Path) -> None:
    browser.open(written)
    browser.pdf(tmp_path / "report.pdf")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000


def test_a_hundred_runs_of_fifty_epochs_are_small_and_quick(browser: Chromium, tmp_path: Path) -> None:
    study = GeneratedStudy(replicates=5, levels=10, epochs=50, keep_each=0.7, arms=("winning", "reinit"))
    assert study.frame().height >= 100
    assert study.curves().height >= 5000
    write_report(GeneratedStudy(), tmp_path / "warm", figures=False)
    begin = time.perf_counter()
    path = write_report(study, tmp_path / "big", figures=False)
    assert time.perf_counter() - begin < 5
    assert path.stat().st_size < 5_000_000
    assert browser.open(path) < 2
    assert browser.problems == []


def test_two_studies_toggle_apart(browser: Chromium, tmp_path: Path) -> None:
    browser.open(write_report([GeneratedStudy(), GeneratedStudy("other", seed=1)], tmp_path, figures=False))
    assert browser.problems == []
    assert browser.ask("document.querySelectorAll('article[data-study=\"2\"] figure[data-drawn] svg').length") == 1
    browser.ask("document.querySelectorAll('button[data-series=reinit]')[1].click()")
    pressed = browser.ask("[...document.querySelectorAll('button[data-series=reinit]')].map(b => b.getAttribute('aria-pressed'))")
    assert pressed == ["true", "false"]
