"""What cannot be combined, and why: one table. It is checked wherever parts meet, and printed in the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from secateur.errors import PruningError
from secateur.registry import Entry, scopes, scores, units


@dataclass(frozen=True)
class Combination:
    """A choice of parts; what is None was not chosen yet, and offends nothing."""

    score: Entry[Any] | None = None
    scope: Entry[Any] | None = None
    unit: Entry[Any] | None = None
    schedule: str | None = None
    kinds: frozenset[str] = frozenset()
    rates: bool = False
    floor: bool = False
    rounds: int = 1
    dynamic_method: str | None = None


@dataclass(frozen=True)
class Refusal:
    """One row of the table: what does not go with what, the reason, and the test for it."""

    what: str
    with_what: str
    reason: str
    offends: Callable[[Combination], bool]


def _trait(entry: Entry[Any] | None, trait: str) -> bool:
    return entry is not None and bool(entry.traits.get(trait))


def _named(entry: Entry[Any] | None, *names: str) -> bool:
    return entry is not None and entry.name in names


def _other_than(entry: Entry[Any] | None, name: str) -> bool:
    return entry is not None and entry.name != name


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "scope lamp", "a signed score (grasp, obd, movement)", "LAMP squares scores, so a strongly negative one would rank high",
        lambda c: _trait(c.scope, "non_negative") and _trait(c.score, "signed"),
    ),
    Refusal(
        "unit nm", "scopes global, erk, lamp", "N:M keeps the same part of each group of inputs: nothing competes between layers",
        lambda c: _named(c.unit, "nm") and _named(c.scope, "global", "erk", "lamp"),
    ),
    Refusal(
        "unit nm", "schedules iterative, gradual, dynamic; rounds > 1", "N:M fixes its own density, N / M, and has no steps in between",
        lambda c: _named(c.unit, "nm") and (c.schedule in ("iterative", "gradual", "dynamic") or c.rounds > 1),
    ),
    Refusal(
        "unit nm", "rates", "N:M fixes the density of every layer alike",
        lambda c: _named(c.unit, "nm") and c.rates,
    ),
    Refusal(
        "scope neuron", "units block, row, filter, hidden, head", "such a unit is a neuron, or part of several",
        lambda c: _named(c.scope, "neuron") and _trait(c.unit, "spans_neurons"),
    ),
    Refusal(
        "scope gate", "units block, hidden, head", "such a unit reaches across gates (or q, k and v)",
        lambda c: _named(c.scope, "gate") and _trait(c.unit, "spans_gates"),
    ),
    Refusal(
        "rates", "scopes global, uniform, erk, lamp", "those decide themselves how much each layer keeps",
        lambda c: c.rates and c.scope is not None and not c.scope.traits["rates"],
    ),
    Refusal(
        "score movement", "schedules one-shot, iterative, dynamic, early-bird",
        "it grows while training: schedules gradual and soft-movement collect it",
        lambda c: _trait(c.score, "in_loop") and c.schedule not in (None, "gradual", "soft-movement"),
    ),
    Refusal(
        "schedule soft-movement", "scores other than movement", "its scores are learned while training, and they are movement",
        lambda c: c.schedule == "soft-movement" and _other_than(c.score, "movement"),
    ),
    Refusal(
        "schedule soft-movement", "scopes other than global, units other than weight, rates, a floor",
        "nothing competes: each weight's score is held against one threshold",
        lambda c: c.schedule == "soft-movement" and (_other_than(c.scope, "global") or _other_than(c.unit, "weight") or c.rates or c.floor),
    ),
    Refusal(
        "schedule dynamic", "units other than weight", "dropping and growing is of single weights",
        lambda c: c.schedule == "dynamic" and _other_than(c.unit, "weight"),
    ),
    Refusal(
        "schedule dynamic (set, rigl, snfs)", "scopes gate and neuron", "renewals keep the count of each layer, not of each gate or neuron",
        lambda c: c.schedule == "dynamic" and c.dynamic_method != "static" and _named(c.scope, "gate", "neuron"),
    ),
    Refusal(
        "schedule early-bird", "score random", "its masks do not depend on training, so that they settle says nothing",
        lambda c: c.schedule == "early-bird" and _named(c.score, "random"),
    ),
    Refusal(
        "unit filter", "anything but convolutions", "only convolutions have filters", lambda c: _lacks(c, "filter"),
    ),
    Refusal(
        "unit hidden", "anything but recurrent layers", "only recurrent layers have hidden units", lambda c: _lacks(c, "hidden"),
    ),
    Refusal(
        "unit head", "anything but attention", "only attention has heads", lambda c: _lacks(c, "head"),
    ),
    Refusal(
        "unit nm", "embeddings, norms, biases", "a row is looked up, a bias added: no sum over inputs", lambda c: _lacks(c, "nm"),
    ),
    Refusal(
        "units block and row", "norms, and biases apart from their layer", "they are no matrices",
        lambda c: _lacks(c, "block") or _lacks(c, "row"),
    ),
    Refusal(
        "scores wanda and sparsegpt", "biases and norms", "they weigh a weight by the inputs it multiplies; these multiply no vector",
        lambda c: _trait(c.score, "linear_maps_only") and bool(c.kinds & {"bias", "norm", "other"}),
    ),
    Refusal(
        "score sparsegpt", "embeddings", "its inputs are single words, so that no other weight can make up for one",
        lambda c: _named(c.score, "sparsegpt") and "embedding" in c.kinds,
    ),
)  # fmt: skip


def _lacks(chosen: Combination, unit: str) -> bool:
    """Whether `unit` was chosen and some kind is none that it is made of. A bias goes with its layer's rows."""
    if chosen.unit is None or chosen.unit.name != unit:
        return False
    allowed = set(chosen.unit.traits["kinds"]) | ({"bias"} if unit not in ("nm", "block") else set())
    return bool(chosen.kinds - allowed)


def refusal(
    *,
    score: str | None = None,
    scope: str | None = None,
    unit: str | None = None,
    schedule: str | None = None,
    kinds: Iterable[str] = (),
    rates: bool = False,
    floor: bool = False,
    rounds: int = 1,
    dynamic_method: str | None = None,
) -> Refusal | None:
    """The first row of the table that this choice offends, or None. `kinds`: of the prunable parameters."""
    chosen = Combination(
        score=scores.entry(score) if score is not None else None,
        scope=scopes.entry(scope) if scope is not None else None,
        unit=units.entry(unit) if unit is not None else None,
        schedule=schedule, kinds=frozenset(kinds), rates=rates, floor=floor, rounds=rounds, dynamic_method=dynamic_method,
    )  # fmt: skip
    return next((row for row in REFUSALS if row.offends(chosen)), None)


def check(**choice: Any) -> None:
    """`PruningError` with the reason when a choice (as for `refusal`) cannot be combined."""
    row = refusal(**choice)
    if row is not None:
        raise PruningError(f"{row.what} cannot be combined with {row.with_what}: {row.reason}")


def as_markdown() -> str:
    """The table, for the docs."""
    rows = [f"| {row.what} | {row.with_what} | {row.reason} |" for row in REFUSALS]
    return "\n".join(["| this | cannot be combined with | because |", "|---|---|---|", *rows])
