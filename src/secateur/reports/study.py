"""What a report needs of a study, and the facts that every part of a report shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import polars as pl

from secateur.analysis.headline import Headline, headline
from secateur.analysis.verdicts import DENSE, Judgement, Rule, controls_of, judge


class ReportedStudy(Protocol):
    """A study that can be reported: its frames hold only what is in its store."""

    @property
    def name(self) -> str:
        """The study's name: its recipe's."""
        ...

    @property
    def title(self) -> str:
        """The recipe's title, in words."""
        ...

    @property
    def preset(self) -> str:
        """Which preset of the recipe was run."""
        ...

    @property
    def metric(self) -> str:
        """The metric that decides, as in `test_<metric>`."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        ...

    @property
    def margin(self) -> float:
        """How much worse than dense still counts as a match."""
        ...

    @property
    def margin_is_relative(self) -> bool:
        """Whether the margin is a fraction of dense's value."""
        ...

    @property
    def expectations(self) -> Sequence[Mapping[str, Any]]:
        """Published numbers: arm, at {sparsity | density | compression: x}, metric, value, source, comparable."""
        ...

    def frame(self) -> pl.DataFrame:
        """Results, one row a (arm, level, replicate, factors)."""
        ...

    def curves(self) -> pl.DataFrame:
        """Evaluations while training, one row a (arm, level, replicate, factors, step)."""
        ...

    def layers(self) -> pl.DataFrame:
        """Weights prunable and kept, one row a (arm, level, replicate, factors, parameter)."""
        ...

    def method(self) -> Mapping[str, Any]:
        """How it was done, as plain data."""
        ...


@dataclass(frozen=True)
class Reported:
    """A study read once, with its verdicts: what tables, figures and page are made from."""

    study: ReportedStudy

    @cached_property
    def results(self) -> pl.DataFrame:
        """The results frame, dense first, then arms in the recipe's order, levels downwards."""
        frame = self.study.frame()
        if self.rule.column not in frame.columns:  # nothing has finished yet
            frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(self.rule.column))
        order = {arm: index for index, arm in enumerate([DENSE, *self.arms_of(frame)])}
        place = pl.col("arm").replace_strict(order, return_dtype=pl.Int64)
        return frame.sort(place, "level", "replicate", maintain_order=True)

    @cached_property
    def curves(self) -> pl.DataFrame:
        """Evaluations while training."""
        return self.study.curves()

    @cached_property
    def layers(self) -> pl.DataFrame:
        """Weights prunable and kept of each parameter."""
        return self.study.layers()

    @cached_property
    def method(self) -> Mapping[str, Any]:
        """How it was done."""
        return self.study.method()

    @cached_property
    def rule(self) -> Rule:
        """The rule that decides."""
        return Rule(self.study.metric, self.study.margin, self.study.higher_is_better, self.study.margin_is_relative)

    @cached_property
    def judgement(self) -> Judgement:
        """The verdicts."""
        return judge(self.results, self.rule, controls_of(self.method.get("arms", {})))

    @cached_property
    def headline(self) -> Headline:
        """The answer in words."""
        return headline(self.judgement)

    @cached_property
    def majority(self) -> tuple[str, float] | None:
        """The largest training class and its part of the test split, where accuracy decides or is measured: what a network has to beat."""
        found = self.method.get("data", {}).get("majority")
        return (str(found["class"]), float(found["test"])) if found and "accuracy" in self.metrics else None

    @cached_property
    def arms(self) -> list[str]:
        """The arms but dense, in the recipe's order as far as it is known."""
        return self.arms_of(self.results)

    @property
    def factors(self) -> list[str]:
        """The swept factors, as columns of the results."""
        return [column for column in self.results.columns if column.startswith("factor.")]

    @property
    def metrics(self) -> list[str]:
        """The metrics measured on the test split, the deciding one first."""
        names = [column.removeprefix("test_") for column in self.results.columns if column.startswith("test_")]
        return sorted(names, key=lambda name: name != self.rule.metric)

    def arms_of(self, frame: pl.DataFrame) -> list[str]:
        """The arms of `frame` but dense: those of the recipe in its order, then any other."""
        present = [arm for arm in frame["arm"].unique(maintain_order=True) if arm != DENSE]
        declared = [arm for arm in self.method.get("arms", {}) if arm in present]
        return declared + [arm for arm in present if arm not in declared]
