"""Writes the figures, tables and sentences of docs/stability.md from a store: `python benchmarks/stability.py STORE`.

    secateur run stability-mnist --preset quick --replicates 3 --store STORE
    secateur run stability-agnews --preset quick --store STORE

What lies between `<!-- NAME -->` and `<!-- end NAME -->` in the document is replaced for each of the two studies that the store
holds; nothing is typed in.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from secateur.analysis import phrasing as say
from secateur.analysis import statistics as st
from secateur.analysis.verdicts import Verdict
from secateur.reports.drawing import Drawn, draw
from secateur.reports.figures import write_figures
from secateur.reports.opened import OpenedStudy
from secateur.reports.questions import arms
from secateur.reports.study import Reported
from secateur.studies.results import Study
from secateur.studies.store import Store

STUDIES = ("stability-mnist", "stability-agnews")
FIGURES = ("analysis-stability", "analysis-stability-rewind", "analysis-rewinding")


@dataclass(frozen=True)
class Barriers:
    """The barriers of one measure at one setting of the swept factors: arm -> level -> replicate -> barrier, and each level's density."""

    measure: str
    setting: str
    values: dict[str, dict[int, dict[int, float]]]
    density: dict[int, float]

    @property
    def levels(self) -> list[int]:
        """The levels of pruning, dense first."""
        return sorted(self.density)

    def differences(self, arm: str, control: str, level: int) -> list[float]:
        """The arm's barriers minus the control's, replicate by replicate."""
        mine, theirs = self.values[arm].get(level, {}), self.values[control].get(level, {})
        return [mine[replicate] - theirs[replicate] for replicate in sorted(mine.keys() & theirs.keys())]


def barriers(reported: Reported, frame: pl.DataFrame) -> Iterator[Barriers]:
    """The barriers of error (in points) and of loss, at each setting."""
    settled = arms.with_setting(frame.with_columns(pl.col("density").fill_null(1.0)))
    scale = 100 if say.is_fraction(reported.rule.metric) else 1
    for (setting,), group in settled.group_by(["setting"], maintain_order=True):
        density = {level: float(mean) for level, mean in group.group_by("level").agg(pl.col("density").mean()).iter_rows()}
        for measure, column, factor in (("error, in points", "barrier", scale), ("loss", "loss_barrier", 1)):
            values: dict[str, dict[int, dict[int, float]]] = {}
            for row in group.iter_rows(named=True):
                values.setdefault(row["arm"], {}).setdefault(row["level"], {})[row["replicate"]] = factor * row[column]
            yield Barriers(measure, str(setting), values, density)


def written(reported: Reported, study: OpenedStudy, folder: str) -> str:
    """Sentences, tables and figures of one study, as Markdown."""
    found = list(barriers(reported, study.measures("stability")))
    controls = [arm for arm in arms.controls(reported) if arm in found[0].values]
    tickets = [arm for arm in reported.arms if arm not in controls]
    parts = [_runs(reported)]
    for of in found:
        digits = 2 if of.measure.startswith("error") else 4
        parts.append(f"### Barrier of the {of.measure}{f'; {of.setting}' if of.setting else ''}")
        parts += [_sentence(of, tickets[0], control, digits) for control in controls]
        parts.append(_table(of, ["dense", *tickets, *controls], digits))
        parts.append(_paired(of, tickets[0], controls, digits))
    parts.append("### Do they match?")
    parts.append(_verdicts(reported))
    figures = sorted(path.name for path in Path("docs", folder).glob(f"{study.name}-*.svg"))
    parts += [f"![{name.removesuffix('.svg').replace('-', ' ')}]({folder}/{name})" for name in figures]
    return "\n\n".join(parts)


def _runs(reported: Reported) -> str:
    results = reported.results
    done = results.filter(pl.col("status") == "done").height
    replicates = results["replicate"].n_unique()
    return (
        f"`{reported.study.name}`, preset `{reported.study.preset}`: {say.count(replicates, 'replicate')}, {done} networks and their twins."
    )


def _sentence(of: Barriers, arm: str, control: str, digits: int) -> str:
    """How the tickets' barriers compare with a control's, density by density."""
    replicates = {replicate for level in of.values[arm].values() for replicate in level}
    shown, highest = [], {}
    levels = [level for level in of.levels if level in of.values[arm] and level in of.values[control]]
    for name in (arm, control):
        highest[name] = max(st.estimate(list(of.values[name][level].values())).mean for level in levels)
    for level in levels:
        differences = of.differences(arm, control, level)
        if differences and st.estimate(differences).lies_below(0.0):
            shown.append(say.density(of.density[level]))
    if len(replicates) == 1:
        return (
            f"The highest barrier of `{arm}` is {highest[arm]:.{digits}f}, of `{control}` {highest[control]:.{digits}f}; "
            "one replicate has no interval."
        )
    told = f"at {say.listed(shown)} of the weights" if shown else "at no density"
    return (
        f"The highest mean barrier of `{arm}` is {highest[arm]:.{digits}f}, of `{control}` {highest[control]:.{digits}f}. "
        f"Paired by replicate, that of `{arm}` is shown to be lower (the 95 % interval lies below zero) {told}, of {len(levels)} tried."
    )


def _estimated(values: Sequence[float], digits: int, signed: bool = False) -> str:
    if not values:
        return ""
    of = st.estimate(values)
    told = [say.signed(n, digits) if signed else f"{n:.{digits}f}" for n in (of.mean, of.low, of.high) if n is not None]
    return f"{told[0]} ({told[1]} to {told[2]})" if len(told) == 3 else told[0]


def _table(of: Barriers, names: Sequence[str], digits: int) -> str:
    rows = [
        [f"`{name}`", *(_estimated(list(of.values[name].get(level, {}).values()), digits) for level in of.levels)]
        for name in names
        if name in of.values
    ]
    return _markdown(["barrier (95 % interval)", *(say.density(of.density[level]) for level in of.levels)], rows)


def _paired(of: Barriers, arm: str, controls: Sequence[str], digits: int) -> str:
    rows = [
        [f"`{arm}` minus `{control}`", *(_estimated(of.differences(arm, control, level), digits, True) for level in of.levels)]
        for control in controls
    ]
    return _markdown(["paired difference", *(say.density(of.density[level]) for level in of.levels)], rows)


def _verdicts(reported: Reported) -> str:
    """Each arm's difference to dense, with its verdict."""
    verdicts = reported.judgement.verdicts
    levels = {verdict.level: say.density(verdict.density) for verdict in sorted(verdicts, key=lambda one: -one.density)}
    by_row: dict[str, dict[int, Verdict]] = {}
    for verdict in verdicts:
        factors = "".join(f", {name} = {value}" for name, value in verdict.factors.items())
        by_row.setdefault(f"`{verdict.arm}`{factors}", {})[verdict.level] = verdict
    rows = [[name, *(_verdict(reported, row.get(level)) for level in levels)] for name, row in by_row.items()]
    return _markdown([f"to dense, {'points' if say.is_fraction(reported.rule.metric) else reported.rule.metric}", *levels.values()], rows)


def _verdict(reported: Reported, verdict: Verdict | None) -> str:
    if verdict is None or verdict.to_dense is None:
        return ""
    return f"{say.difference(reported.rule, verdict.to_dense.difference, unit=False)} {verdict.verdict}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--document", type=Path, default=Path("docs/stability.md"))
    options = parser.parse_args()
    text = options.document.read_text()
    for name in STUDIES:
        if not options.store.joinpath("studies", name).is_dir():
            continue
        study = OpenedStudy(Study.latest(Store(options.store), name))
        reported = Reported(study)
        drawn = draw(reported)
        chosen = Drawn(drawn.names, drawn.datasets, {key: drawn.specs[key] for key in FIGURES if key in drawn.specs}, drawn.questions)
        folder = options.document.parent / "stability"
        for path in write_figures(chosen, folder, formats=("svg",)):
            path.rename(folder / path.name.replace("analysis", name, 1))
        new = f"<!-- {name} -->\n{written(reported, study, folder.name)}\n<!-- end {name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- end {name} -->", lambda _, new=new: new, text, flags=re.DOTALL)
    options.document.write_text(text)


if __name__ == "__main__":
    main()
