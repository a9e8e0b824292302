"""Does a ticket win? From a study's results to a verdict for every arm and density, by the rule in docs/statistics.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import polars as pl

from secateur.analysis import statistics as st
from secateur.errors import InputError

DENSE = "dense"
VerdictName = Literal["wins", "matches", "loses", "unclear"]
Factors = tuple[tuple[str, Any], ...]
_BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Rule:
    """What counts as "as good as dense": the metric, its direction and the margin, absolute or a fraction of dense's value."""

    metric: str
    margin: float
    higher_is_better: bool = True
    margin_is_relative: bool = False

    @property
    def sign(self) -> int:
        """+1 when higher is better, else -1: turns a raw difference into an oriented one."""
        return 1 if self.higher_is_better else -1

    @property
    def column(self) -> str:
        """The results column that decides: the test split's, which nothing was chosen on."""
        return f"test_{self.metric}"


@dataclass(frozen=True)
class Comparison:
    """One arm minus another at one density (or pooled over densities), paired by replicate, in the metric's own direction.

    `relative` differences are fractions of the other arm's value. `better` says that the interval shows an advantage. From ten
    replicates on, `bootstrap` is the studentised bootstrap's interval, for comparison: the t interval decides.
    """

    against: str
    replicates: int
    difference: float
    interval: tuple[float, float] | None
    sd: float | None
    p: float | None
    effect: float | None
    better: bool
    worse: bool
    relative: bool = False
    bootstrap: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """What the replicates say about one arm at one density.

    `replicates` were asked for, `pairs` have a finished partner in dense. `difference` and `interval` are ticket minus dense in the
    metric's own direction; `steps` is the same for the step of best validation. `in_sequence` says that this density and
    every denser one match, so that the claim holds for the sequence as a whole.
    """

    arm: str
    level: int
    factors: dict[str, Any]
    density: float
    sparsity: float
    verdict: VerdictName
    replicates: int
    pairs: int
    mean: float | None
    to_dense: Comparison | None
    to_reinit: Comparison | None
    steps: Comparison | None
    p_match: float | None
    detectable: float | None
    needed: int | None
    needed_cautious: int | None
    in_sequence: bool
    diverged: tuple[int, ...]
    unfinished: tuple[int, ...]
    reasons: tuple[str, ...]
    test: str


@dataclass(frozen=True)
class ArmVerdict:
    """An arm over all its densities: how far down it matches and wins in fixed sequence, and the tests pooled over densities."""

    arm: str
    factors: dict[str, Any]
    matches_down_to: float | None
    wins_down_to: float | None
    wins_at: tuple[float, ...]
    loses_from: float | None
    to_dense: Comparison | None
    to_reinit: Comparison | None
    control: str | None


@dataclass(frozen=True)
class Judgement:
    """Every verdict of a study, by arm and density, and one summary an arm."""

    rule: Rule
    verdicts: tuple[Verdict, ...]
    arms: tuple[ArmVerdict, ...]
    diverged: tuple[str, ...]
    unfinished: tuple[str, ...]

    def of(self, arm: str, factors: Mapping[str, Any] | None = None) -> list[Verdict]:
        """The verdicts of one arm, from the densest down."""
        return [v for v in self.verdicts if v.arm == arm and (factors is None or v.factors == dict(factors))]

    def to_json(self) -> dict[str, Any]:
        """The judgement as plain data: the content of `verdict.json`."""
        return {
            "metric": self.rule.column,
            "higher_is_better": self.rule.higher_is_better,
            "margin": self.rule.margin,
            "margin_is_relative": self.rule.margin_is_relative,
            "confidence": st.CONFIDENCE,
            "power": st.POWER,
            "arms": [asdict(arm) for arm in self.arms],
            "verdicts": [_flat(verdict) for verdict in self.verdicts],
            "diverged": list(self.diverged),
            "unfinished": list(self.unfinished),
        }


def controls_of(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Arm -> the arm that re-initialises its masks (`mask_from` that arm, `rewind = "reinit"`).

    Of several, the first that otherwise trains as the arm itself does; if none does, the first.
    """
    controls: dict[str, str] = {}
    for name, settings in arms.items():
        source, rewind = str(settings.get("mask_from", "")), settings.get("rewind")
        if source not in arms or (rewind.get("to") if isinstance(rewind, Mapping) else rewind) != "reinit":
            continue
        if source not in controls or _train_alike(settings, arms[source]) > _train_alike(arms[controls[source]], arms[source]):
            controls[source] = name
    return controls


def _train_alike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(first.get(key) == second.get(key) for key in ("data", "model", "task", "train"))


def judge(frame: pl.DataFrame, rule: Rule, controls: Mapping[str, str] | None = None) -> Judgement:
    """The verdicts on a results frame (one row a arm, level, replicate, factors).

    `controls` names, for an arm, the arm that re-initialises its masks; without one an arm can match but not win. What is not
    pruned (level 0) gets no verdict. `InputError` when the frame lacks the deciding column or has two rows for one replicate.
    """
    if rule.column not in frame.columns:
        raise InputError(f"the results have no column {rule.column!r}; they have {', '.join(frame.columns)}")
    cells = cells_of(frame, rule)
    names = list(dict.fromkeys(arm for arm, _, _ in cells if arm != DENSE))
    controls = dict(controls or {})
    verdicts: list[Verdict] = []
    arms: list[ArmVerdict] = []
    for arm in names:
        for factors in dict.fromkeys(f for a, f, _ in cells if a == arm):
            mine = [cell for (a, f, _), cell in cells.items() if a == arm and f == factors and not math.isnan(cell.density)]
            dense = dense_for(cells, arm, factors)
            levels = sorted((cell for cell in mine if cell.level > 0), key=lambda cell: -cell.density)
            if not levels:
                continue
            of_control = {cell.level: cell for (a, f, _), cell in cells.items() if a == controls.get(arm) and f == factors}
            judged = [_verdict(cell, dense, of_control.get(cell.level), rule) for cell in levels]
            matching = st.fixed_sequence([v.verdict in ("wins", "matches") for v in judged])
            winning = st.fixed_sequence([v.verdict == "wins" for v in judged])
            judged = [replace(v, in_sequence=index < matching) for index, v in enumerate(judged)]
            verdicts += judged
            arms.append(
                ArmVerdict(
                    arm=arm,
                    factors=dict(factors),
                    matches_down_to=judged[matching - 1].density if matching else None,
                    wins_down_to=judged[winning - 1].density if winning else None,
                    wins_at=tuple(v.density for v in judged if v.verdict == "wins"),
                    loses_from=next((v.density for v in judged if v.verdict == "loses"), None),
                    to_dense=_pooled(levels, {cell.level: dense for cell in levels} if dense else {}, rule),
                    to_reinit=_pooled(levels, of_control, rule),
                    control=controls.get(arm) if of_control else None,
                )
            )
    return Judgement(
        rule,
        tuple(verdicts),
        tuple(arms),
        tuple(_name(cell, r) for cell in cells.values() for r in cell.diverged),
        tuple(_name(cell, r) for cell in cells.values() for r in cell.unfinished),
    )


@dataclass
class Cell:
    """The replicates of one arm at one level and one setting of the factors."""

    arm: str
    level: int
    factors: Factors
    density: float
    data: str | None
    values: dict[int, float]
    steps: dict[int, float]
    diverged: tuple[int, ...]
    unfinished: tuple[int, ...]

    @property
    def replicates(self) -> int:
        return len(self.values) + len(self.diverged) + len(self.unfinished)


def cells_of(frame: pl.DataFrame, rule: Rule) -> dict[tuple[str, Factors, int], Cell]:
    """The results grouped into cells, by (arm, factors, level); `InputError` for two rows of one replicate."""
    factor_columns = [column for column in frame.columns if column.startswith("factor.")]
    grouped: dict[tuple[str, Factors, int], list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        factors = tuple((column.removeprefix("factor."), row[column]) for column in factor_columns)
        grouped.setdefault((row["arm"], factors, row["level"]), []).append(row)
    cells = {}
    for key, rows in grouped.items():
        arm, factors, level = key
        replicates = [row["replicate"] for row in rows]
        if len(set(replicates)) != len(replicates):
            raise InputError(f"arm {arm!r}, level {level} has two rows for one replicate: {sorted(replicates)}")
        done = [row for row in rows if row["status"] == "done" and _is_finite(row[rule.column])]
        # a finished run whose metric is no number has diverged, whatever it was called
        diverged = [r["replicate"] for r in rows if r["status"] == "diverged" or (r["status"] == "done" and not _is_finite(r[rule.column]))]
        densities = [row["density"] for row in rows if _is_finite(row["density"])]
        cells[key] = Cell(
            arm,
            level,
            factors,
            math.fsum(densities) / len(densities) if densities else math.nan,
            rows[0].get("data"),
            {row["replicate"]: float(row[rule.column]) for row in done},
            {row["replicate"]: float(row["best_step"]) for row in done if _is_finite(row.get("best_step"))},
            tuple(sorted(diverged)),
            tuple(sorted(row["replicate"] for row in rows if row["status"] not in ("done", "diverged"))),
        )
    return cells


def dense_for(cells: Mapping[tuple[str, Factors, int], Cell], arm: str, factors: Factors) -> Cell | None:
    """Dense at the same setting of the factors, or at all of its own that are set (a factor of pruning does not touch it).

    An arm on other data than the study's dense network is compared with the dense network that it has there (its level 0).
    """
    dense = None
    for (name, own, _), cell in cells.items():
        if name == DENSE and all(mine is None or mine == theirs for (_, mine), (_, theirs) in zip(own, factors, strict=True)):
            dense = cell
            break
    there = cells.get((arm, factors, 0))
    return there if there is not None and dense is not None and there.data != dense.data else dense


def _verdict(cell: Cell, dense: Cell | None, control: Cell | None, rule: Rule) -> Verdict:
    reasons: list[str] = []
    to_dense = _compare(cell.values, dense.values, DENSE, rule) if dense else None
    to_reinit = _compare(cell.values, control.values, control.arm, rule) if control else None
    steps = _compare_steps(cell, dense)
    oriented = _oriented(cell.values, dense.values, rule) if dense else []
    verdict: VerdictName = st.decide(oriented, rule.margin) if oriented else "unclear"
    if not oriented:
        reasons.append("no replicate can be paired with a finished dense run")
    elif len(oriented) == 1:
        reasons.append("one replicate: no interval, so nothing can be shown")
    if dense and dense.diverged:
        reasons.append(f"dense itself diverged in replicate {_listed(dense.diverged)}, which therefore pairs with nothing")
    if cell.unfinished:
        reasons.append(f"replicate {_listed(cell.unfinished)} is not finished")
    if cell.diverged:
        reasons.append(f"replicate {_listed(cell.diverged)} diverged, and counts as a loss")
        verdict = "loses" if verdict == "loses" or 2 * len(cell.diverged) >= len(cell.diverged) + len(cell.values) else "unclear"
    if verdict == "matches":
        lacking = _lacking_to_win(cell, steps, to_reinit)
        verdict = "matches" if lacking else "wins"
        reasons += lacking
    sd = st.estimate(oriented).sd if oriented else None
    needed = cautious = None
    if verdict == "unclear" and sd is not None and not cell.diverged:
        mean = st.estimate(oriented).mean
        needed = st.replicates_to_settle(mean, sd, rule.margin)
        cautious = st.replicates_to_settle(mean, st.sd_upper_limit(sd, len(oriented)), rule.margin)
    return Verdict(
        arm=cell.arm,
        level=cell.level,
        factors=dict(cell.factors),
        density=cell.density,
        sparsity=1 - cell.density,
        verdict=verdict,
        replicates=cell.replicates,
        pairs=len(oriented),
        mean=st.estimate(list(cell.values.values())).mean if cell.values else None,
        to_dense=to_dense,
        to_reinit=to_reinit,
        steps=steps,
        p_match=st.p_value(oriented, -rule.margin, "greater") if oriented else None,
        detectable=st.detectable_difference(sd, len(oriented)) if sd is not None else None,
        needed=needed,
        needed_cautious=cautious,
        in_sequence=False,
        diverged=cell.diverged,
        unfinished=cell.unfinished,
        reasons=tuple(reasons),
        test=f"paired t, {st.CONFIDENCE:.0%} interval against a margin of {rule.margin:g}{' of dense' if rule.margin_is_relative else ''}",
    )


def _lacking_to_win(cell: Cell, steps: Comparison | None, to_reinit: Comparison | None) -> list[str]:
    lacking = []
    if steps is None:
        lacking.append("its step of best validation is not known")
    elif steps.difference > 0:
        lacking.append(f"its best validation comes {steps.difference:.0f} steps later than dense's")
    if to_reinit is None:
        lacking.append(f'no arm re-initialises its mask (mask_from = "{cell.arm}", rewind = "reinit")')
    elif not to_reinit.better:
        lacking.append(f"it is not shown to beat {to_reinit.against} at the same mask")
    return lacking


def _oriented(values: Mapping[int, float], against: Mapping[int, float], rule: Rule) -> list[float]:
    shared = sorted(values.keys() & against.keys())
    raw = st.paired_differences([values[r] for r in shared], [against[r] for r in shared], rule.margin_is_relative)
    return [rule.sign * difference for difference in raw]


def _compare(values: Mapping[int, float], against: Mapping[int, float], name: str, rule: Rule) -> Comparison | None:
    return _comparison(name, _oriented(values, against, rule), rule.sign, rule.margin_is_relative)


def _compare_steps(cell: Cell, dense: Cell | None) -> Comparison | None:
    shared = sorted(cell.steps.keys() & dense.steps.keys()) if dense else []
    if dense is None:
        return None
    return _comparison(DENSE, [dense.steps[r] - cell.steps[r] for r in shared], -1, relative=False)


def _comparison(against: str, oriented: Sequence[float], sign: int, relative: bool) -> Comparison | None:
    if not oriented:
        return None
    of = st.estimate(oriented)
    again = st.bootstrap_interval(oriented, _BOOTSTRAP_SEED) if of.n >= st.FEWEST_FOR_BOOTSTRAP else None
    return Comparison(
        against=against,
        replicates=of.n,
        difference=sign * of.mean,
        interval=_in_raw_direction(of, sign),
        sd=of.sd,
        p=st.p_value(oriented),
        effect=None if (g := st.hedges_g(oriented)) is None else sign * g,
        better=of.lies_above(0.0),
        worse=of.lies_below(0.0),
        relative=relative,
        bootstrap=_in_raw_direction(again, sign) if again is not None else None,
    )


def _in_raw_direction(of: st.Estimate, sign: int) -> tuple[float, float] | None:
    if of.low is None or of.high is None:
        return None
    return (of.low, of.high) if sign > 0 else (-of.high, -of.low)


def _pooled(levels: Sequence[Cell], others: Mapping[int, Cell], rule: Rule) -> Comparison | None:
    """The mean difference over all densities, one number a replicate: levels of a replicate are not independent, replicates are."""
    cells = [cell for cell in levels if cell.level in others]
    if not cells:
        return None
    complete = set.intersection(*(cell.values.keys() & others[cell.level].values.keys() for cell in cells))
    means = []
    for replicate in sorted(complete):
        one = [_oriented({0: cell.values[replicate]}, {0: others[cell.level].values[replicate]}, rule)[0] for cell in cells]
        means.append(math.fsum(one) / len(one))
    return _comparison(others[cells[0].level].arm, means, rule.sign, rule.margin_is_relative)


def _flat(verdict: Verdict) -> dict[str, Any]:
    """The verdict with the deciding difference and interval at hand, as verdict.json promises."""
    to_dense = verdict.to_dense
    return {
        **asdict(verdict),
        "difference": to_dense.difference if to_dense else None,
        "interval": to_dense.interval if to_dense else None,
    }


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _name(cell: Cell, replicate: int) -> str:
    factors = "".join(f", {name} = {value}" for name, value in cell.factors)
    return f"{cell.arm}, level {cell.level}, replicate {replicate}{factors}"


def _listed(replicates: Sequence[int]) -> str:
    return ", ".join(str(r) for r in replicates)
