"""The answer of a study in plain words: what a newcomer should take away, and what the replicates cannot show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from secateur.analysis import phrasing as say
from secateur.analysis.statistics import POWER
from secateur.analysis.verdicts import ArmVerdict, Judgement, Verdict

Answer = Literal["yes", "partly", "no", "unclear"]


@dataclass(frozen=True)
class Headline:
    """One answer, a title that says it, what was found of each arm, and the limits of what these replicates can show.

    A finding is the arm's name and the words that follow it.
    """

    answer: Answer
    arm: str
    title: str
    findings: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The headline as plain data."""
        return asdict(self)


def headline(judgement: Judgement) -> Headline:
    """The study's answer. The arm that it speaks of is the first with a re-initialised control, else the one that matches furthest,
    or, where none does, the first whose densest ticket is not shown to lose."""
    main = _main_arm(judgement)
    if main is None:
        return Headline("unclear", "", "No arm but dense: nothing to compare yet.", (), _limits(judgement))
    answer, title = _answer(main, judgement)
    findings = [(_label(arm), _finding(arm, judgement)) for arm in judgement.arms]
    return Headline(answer, _label(main), title, tuple(findings), _limits(judgement))


def _main_arm(judgement: Judgement) -> ArmVerdict | None:
    controls = {arm.control for arm in judgement.arms}
    with_control = [arm for arm in judgement.arms if arm.control]
    if with_control:
        return with_control[0]
    candidates = [arm for arm in judgement.arms if arm.arm not in controls]

    def rank(arm: ArmVerdict) -> tuple[float, bool]:
        verdicts = judgement.of(arm.arm, arm.factors)
        return (2.0 if arm.matches_down_to is None else arm.matches_down_to, verdicts[0].verdict == "loses")

    return min(candidates, key=rank, default=None)


def _answer(arm: ArmVerdict, judgement: Judgement) -> tuple[Answer, str]:
    rule, verdicts = judgement.rule, judgement.of(arm.arm, arm.factors)
    name, good = f"the ticket \u201c{_label(arm)}\u201d", _as_good(judgement)
    won = [v for v in verdicts if v.in_sequence and v.verdict == "wins"]
    if won:
        return (
            "yes",
            (
                f"Yes. With {say.density(won[-1].density)} of the weights, {name} is {good} as the dense network, learns no slower, "
                f"and beats the same mask with new random weights."
            ),
        )
    if arm.matches_down_to is not None:
        kept = say.density(arm.matches_down_to)
        if arm.control is None:
            among = f" Of {say.count(len(judgement.arms), 'arm')}, none is shown to go further." if len(judgement.arms) > 1 else ""
            return "yes", f"Yes. Down to {kept} of the weights, {name} is {good} as the dense network.{among}"
        if arm.to_reinit is not None and arm.to_reinit.better:
            return (
                "partly",
                (
                    f"In part. Down to {kept} of the weights, {name} is {good} as the dense network, and over all densities "
                    f"it beats new random weights in the same masks."
                ),
            )
        return (
            "partly",
            f"In part. Down to {kept} of the weights, {name} is {good} as the dense network; that its initial weights matter is not shown.",
        )
    if not any(v.pairs or v.diverged for v in judgement.verdicts):
        return "unclear", "Not yet. No pruned run has finished beside its dense network."
    first = verdicts[0]
    others = [judgement.of(other.arm, other.factors)[0] for other in judgement.arms if other is not arm]
    if arm.control is None and others and all(v.verdict == "loses" for v in (first, *others)):
        densest = say.density(max(v.density for v in (first, *others)))
        return (
            "no",
            f"No. Already with {densest} of the weights, each of {say.count(len(judgement.arms), 'arm')} is worse than the dense network.",
        )
    if first.verdict == "loses":
        return "no", f"No. Already with {say.density(first.density)} of the weights, {name} is worse than the dense network."
    if all(v.verdict == "loses" or v.diverged for v in verdicts):
        return "no", f"No. At no density is {name} {good} as the dense network."
    few = say.count(max(v.pairs for v in verdicts), "replicate")
    cannot = "cannot" if max(v.pairs for v in verdicts) != 1 else "alone cannot"
    return (
        "unclear",
        (
            f"Not settled. {few.capitalize()} {cannot} say whether {name}, with {say.density(first.density)} of the weights, "
            f"is {good} as the dense network (to within {say.size(rule, rule.margin)})."
        ),
    )


def _finding(arm: ArmVerdict, judgement: Judgement) -> str:
    rule, verdicts = judgement.rule, judgement.of(arm.arm, arm.factors)
    runs = []
    start = 0
    for index in range(1, len(verdicts) + 1):
        if index == len(verdicts) or verdicts[index].verdict != verdicts[start].verdict:
            runs.append(f"{_verb(verdicts[start])} at {_densities(verdicts[start:index])}")
            start = index
    text = f"{say.listed(runs)}."
    if arm.to_reinit is not None and len(verdicts) > 1:
        pooled = arm.to_reinit
        shown = "more" if pooled.better == rule.higher_is_better else "less"
        direction = f"{say.size(rule, abs(pooled.difference))} {shown}" if pooled.better else say.difference(rule, pooled.difference)
        text += (
            f" Over all densities together it has {direction} {say.metric_name(rule.metric)} than {pooled.against}"
            f" ({say.interval(rule, pooled)})."
            if pooled.better
            else f" Over all densities together its difference to {pooled.against} is {direction} ({say.interval(rule, pooled)})."
        )
    return text


def _limits(judgement: Judgement) -> tuple[str, ...]:
    rule = judgement.rule
    limits = []
    pairs = [v.pairs for v in judgement.verdicts if v.pairs]
    if pairs and max(pairs) == 1:
        limits.append("One replicate has no interval: these are single measurements, and no difference between them is shown.")
    spreads = [v.detectable for v in judgement.verdicts if v.detectable is not None]
    if spreads:
        limits.append(
            f"With {say.count(max(pairs), 'replicate')} and the spread seen here, a true difference must be about "
            f"{say.size(rule, statistics.median(spreads))} to be shown in {100 * POWER:.0f}\u202f% of studies; "
            f"the margin is {say.size(rule, rule.margin)}."
        )
    unclear = [v for v in judgement.verdicts if v.verdict == "unclear" and v.to_dense is not None and not v.diverged]
    settled = [v.needed for v in unclear if v.needed is not None]
    cautious = [v.needed_cautious for v in unclear if v.needed_cautious is not None]
    if settled:
        safe = f" ({say.count(max(cautious), 'replicate')} to be on the safe side)" if cautious and max(cautious) > max(settled) else ""
        limits.append(f"{say.count(max(settled), 'replicate').capitalize()} would settle what is unclear and can be settled{safe}.")
    if any(v.needed is None and v.to_dense is not None and v.to_dense.interval for v in unclear):
        limits.append("Where the difference lies at the margin itself, no reasonable number of replicates settles it.")
    if judgement.diverged:
        limits.append(f"Diverged, and counted as losses: {'; '.join(judgement.diverged)}.")
    if judgement.unfinished:
        limits.append(f"Not finished: {say.count(len(judgement.unfinished), 'run')}.")
    return tuple(limits)


def _as_good(judgement: Judgement) -> str:
    return "as accurate" if judgement.rule.metric == "accuracy" else "as good"


def _verb(verdict: Verdict) -> str:
    return "is unclear" if verdict.verdict == "unclear" else verdict.verdict


def _densities(verdicts: Sequence[Verdict]) -> str:
    kept = [v.density for v in verdicts if not math.isnan(v.density)]
    if len(kept) > 3:
        return f"{say.density(kept[0])} to {say.density(kept[-1])}"
    return say.listed([say.density(d) for d in kept])


def _label(arm: ArmVerdict) -> str:
    return arm.arm + "".join(f", {name} = {value}" for name, value in arm.factors.items() if value is not None)
