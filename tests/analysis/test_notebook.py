"""A study shows its answer and its verdicts in a notebook."""

import xml.etree.ElementTree as ElementTree

import polars as pl

from secateur.analysis.headline import headline
from secateur.analysis.notebook import study_html
from secateur.analysis.verdicts import Rule, judge

RULE = Rule("accuracy", 0.005)


def frame() -> pl.DataFrame:
    rows = [
        {
            "arm": arm,
            "level": level,
            "replicate": r,
            "density": 0.5**level,
            "test_accuracy": value + 0.001 * r * (1 + level),
            "best_step": 5,
            "status": "done",
        }
        for arm, level, value in (("dense", 0, 0.9), ("winning", 1, 0.9), ("winning", 2, 0.7))
        for r in range(3)
    ]
    return pl.DataFrame(rows)


def test_it_shows_the_headline_and_a_row_a_verdict() -> None:
    shown = study_html("A <study>", frame(), RULE, {})
    tree = ElementTree.fromstring(shown)
    text = "".join(tree.itertext())
    judgement = judge(frame(), RULE)
    assert headline(judgement).title in text
    assert "A <study>" in text
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert [row[-1] for row in rows[1:]] == [v.verdict for v in judgement.verdicts]


def test_it_says_when_nothing_has_finished() -> None:
    waiting = frame().with_columns(pl.lit("missing").alias("status"), pl.lit(None, dtype=pl.Float64).alias("test_accuracy"))
    assert "0 of 9 runs have finished" in study_html("t", waiting, RULE, {})
    assert "0 of 9 runs have finished" in study_html("t", waiting.drop("test_accuracy"), RULE, {})
