"""How early are the masks there? Masks drawn after a part of training against the trained network's, and what their tickets reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from secateur.analysis.differences import differences
from secateur.analysis.masks_over_time import beyond_chance
from secateur.masks import Mask
from secateur.reports.analyses import Analysis
from secateur.reports.chart_data import series_of
from secateur.reports.questions import arms
from secateur.reports.questions.restarts import by_step, scale
from secateur.reports.questions.stability import at_steps
from secateur.reports.study import Reported
from secateur.steps import Step

Identity = Mapping[str, Any]
_FEWEST_POINTS = 2


def analyses(reported: Reported, masks: Iterable[tuple[Identity, Mask]]) -> Iterator[Analysis]:
    """Likeness to the trained network's mask, and quality, by the step at which one-shot masks were drawn; for studies with several."""
    drawn_at = _drawn_at(reported)
    own = [arm for arm in reported.arms if "mask_from" not in arms.settings_of(reported, arm)]
    trained = next((arm for arm in own if _when(reported, arm) == "trained"), None)
    if len(set(drawn_at.values())) < _FEWEST_POINTS:
        return
    frame = differences(reported.results.filter(pl.col("arm").is_in(["dense", *drawn_at])), reported.rule)
    if len(frame):
        yield by_step(
            reported,
            at_steps(frame.with_columns(pl.col("difference") * scale(reported)), drawn_at),
            name="early-quality",
            title="How good are early tickets?",
            lead="Each point: tickets whose masks were drawn at that step of dense training, against the dense network.",
            x_title="mask drawn at step",
        )
    if trained is None:
        return
    rows = []
    of_trained = {_place(identity): mask for identity, mask in masks if identity["arm"] == trained}
    for identity, mask in masks:
        other = of_trained.get(_place(identity))
        if identity["arm"] not in drawn_at or other is None or set(mask) != set(other):
            continue
        shared = beyond_chance(mask, other)
        if shared is not None:
            factors = {key: value for key, value in identity.items() if key.startswith("factor.")}
            rows.append(factors | {"arm": identity["arm"], "level": identity["level"], "density": mask.density, "beyond": shared})
    if not rows:
        return
    yield Analysis(
        name="early-masks",
        main=True,
        title="How early are the masks there?",
        lead="Masks drawn at a step of dense training, compared with those of the trained network in the same replicate.",
        caption="Of the weights kept, how many the trained network's mask keeps too, beyond chance: 100 % is all of them, 0 as by chance. "
        "Means over replicates with 95 % intervals.",
        frame=arms.with_setting(at_steps(pl.DataFrame(rows), drawn_at)),
        pick="setting" if arms.is_swept(pl.DataFrame(rows)) else None,
        pick_title="With",
        kind="lines",
        x="step",
        value="beyond",
        series="left",
        log_x=True,
        coloured="densities",
        percent=True,
        mark=(0.0, "by chance"),
        x_title="mask drawn at step",
        value_title="shared beyond chance",
    )


def _drawn_at(reported: Reported) -> dict[str, int]:
    """Arm -> the step of dense training at which its one-shot masks are drawn, of arms that draw them during it."""
    steps = {}
    per_epoch = arms.steps_per_epoch(reported)
    for arm in reported.arms:
        when = _when(reported, arm)
        if "mask_from" in arms.settings_of(reported, arm) or when in ("", "init", "trained"):
            continue
        step = Step.parse(when)
        if step.unit == "it" or per_epoch is not None:
            steps[arm] = step.iterations(per_epoch or 1)
    return steps


def _when(reported: Reported, arm: str) -> str:
    """When an arm's one-shot schedule draws its masks; empty for other schedules."""
    base = reported.method.get("prune", {}).get("schedule", {})
    own = arms.settings_of(reported, arm).get("prune", {}).get("schedule", {})
    schedule = {**base, **own} if own.get("name", base.get("name")) == base.get("name") else own
    return str(schedule.get("when", "")) if schedule.get("name") == "one-shot" else ""


def _place(identity: Identity) -> tuple[str, int, int]:
    """Level, replicate and factors, whatever the arm."""
    return (series_of({**identity, "arm": ""}), identity["level"], identity["replicate"])
