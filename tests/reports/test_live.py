"""The live page: only for this machine, and new when the study is."""

import time
import urllib.error
import urllib.request
from pathlib import Path

import polars as pl
import pytest
from chromium import PROGRAM, Chromium
from generated_studies import GeneratedStudy

from secateur.errors import StoreError
from secateur.reports.live import LivePage


class Running(GeneratedStudy):
    """A study of which the first `done` rows are finished."""

    done = 0

    def frame(self) -> pl.DataFrame:
        whole = super().frame().with_row_index("place")
        unknown = [name for name in whole.columns if name.startswith(("test_", "valid_")) or name in ("best_step", "steps", "seconds")]
        finished = pl.col("place") < self.done
        return whole.with_columns(
            *(pl.when(finished).then(pl.col(name)).otherwise(None).alias(name) for name in unknown),
            pl.when(finished).then(pl.col("status")).otherwise(pl.lit("missing")).alias("status"),
        ).drop("place")

    def curves(self) -> pl.DataFrame:
        return super().curves().head(self.done * self.epochs)


def get(url: str, host: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_the_page_to_this_machine_only() -> None:
    with LivePage(GeneratedStudy, poll=0.0) as live:
        assert live.url.startswith("http://127.0.0.1:")
        status, html = get(live.url)
        assert status == 200
        assert "All runs have ended." in html
        assert "connect-src 'self'" in html
        assert get(live.url, host="evil.example")[0] == 403
        assert get(live.url + "etc/passwd")[0] == 404
    with pytest.raises(urllib.error.URLError):
        get(live.url)


def test_a_study_that_has_hardly_begun_has_a_page_too() -> None:
    study = Running()
    with LivePage(lambda: study, poll=0.0) as live:
        for done in (0, 1, 7):
            study.done = done
            status, html = get(live.url)
            assert status == 200
            assert f"Running: {done} of {study.frame().height} runs have ended." in html


def test_the_version_changes_with_the_study_and_only_then() -> None:
    study = Running()
    with LivePage(lambda: study, poll=0.0) as live:
        study.done = 5
        before = get(live.url + "version")[1]
        assert get(live.url + "version")[1] == before
        study.done = 6
        assert get(live.url + "version")[1] != before


def test_the_page_knows_its_own_version() -> None:
    with LivePage(GeneratedStudy, poll=0.0) as live:
        assert f'data-version="{get(live.url + "version")[1]}"' in get(live.url)[1]


def test_a_store_in_trouble_is_told() -> None:
    def read() -> GeneratedStudy:
        raise StoreError("the store is gone")

    with LivePage(read) as live:
        assert get(live.url) == (503, "the store is gone\n")


@pytest.mark.skipif(PROGRAM is None, reason="no chromium on this machine")
def test_the_open_page_renews_itself_and_keeps_the_choices(tmp_path: Path) -> None:
    study = Running()
    study.done = 10
    with LivePage(lambda: study, poll=0.2) as live, Chromium(tmp_path) as browser:
        browser.open(live.url)
        assert "Running: 10 of" in browser.ask("document.querySelector('.live').innerText")
        browser.ask("secateur.ready.then(() => document.querySelector('button[data-series=winning]').click())")
        study.done = study.frame().height
        deadline = time.monotonic() + 20
        text = ""
        while "All runs have ended" not in text and time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                text = browser.ask("document.documentElement.dataset.drawn ? document.querySelector('.live').innerText : ''") or ""
            except RuntimeError:  # the page is between two documents
                continue
        assert "All runs have ended" in text
        assert (
            browser.ask("secateur.ready.then(() => document.querySelector('button[data-series=winning]').getAttribute('aria-pressed'))")
            == "false"
        )
        assert browser.problems == []
