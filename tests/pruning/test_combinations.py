import itertools

import pytest
import torch
from chosen_by_hand import mask_by_hand
from small_networks import Tagger, batches_of, loss, tagger
from torch import nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps, parameter_kinds, prunable_mask
from secateur.masks import Mask
from secateur.pruning.combinations import REFUSALS, as_markdown, check, refusal
from secateur.pruning.keeping import keep, named
from secateur.pruning.prune import prune
from secateur.pruning.prune import score as score_of
from secateur.registry import schedules, scopes, scores, units

SCORES = [name for name in scores.names() if name != "movement"]
SCOPES = scopes.names()
UNITS = ["weight", "2:4", "block", "row", "filter", "hidden", "head"]
LAYERS = ["linear", "conv", "recurrent", "attention", "embedding"]


def pairwise(*axes: list[str]) -> list[tuple[str, ...]]:
    """Few choices in which every pair of values of two axes occurs: greedy, in a fixed order."""
    wanted = {(i, a, j, b) for i, j in itertools.combinations(range(len(axes)), 2) for a in axes[i] for b in axes[j]}
    rows: list[tuple[str, ...]] = []
    every = list(itertools.product(*axes))

    def pairs(row: tuple[str, ...]) -> set[tuple[int, str, int, str]]:
        return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(axes)), 2)}

    while wanted:
        best = max(every, key=lambda row: len(pairs(row) & wanted))
        rows.append(best)
        wanted -= pairs(best)
    return rows


def try_one(score: str, scope: str, unit: str, layer: str) -> None:
    """A combination gives the mask that is written out by hand, or is refused for the table's reason; nothing else."""
    model = tagger()
    kinds = {parameter_kinds(model)[name] for name in prunable_mask(model, [layer])}
    refused = refusal(score=score, scope=scope, unit=named(unit)[0], kinds=kinds)
    density = None if unit == "2:4" else 0.5
    how = {"name": score, "steps": 2} if score == "edge-popup" else score

    def draw() -> Mask:
        return prune(model, density, score=how, scope=scope, unit=unit, prunable=[layer], batches=batches_of(model), loss=loss)

    if refused is not None:
        with pytest.raises(PruningError) as raised:
            draw()
        assert str(raised.value) == f"{refused.what} cannot be combined with {refused.with_what}: {refused.reason}"
        return
    mask, whole = draw(), prunable_mask(model, [layer])
    values = score_of(model, how, batches=batches_of(model), loss=loss, mask=whole)
    expected = mask_by_hand(model, whole, values, 0.5, unit, scope)
    assert mask.kept == expected.kept
    assert mask == expected
    assert draw() == mask


@pytest.mark.parametrize("choice", pairwise(SCORES, SCOPES, UNITS, LAYERS), ids="-".join)
def test_every_pair_of_parts_works_or_is_refused_with_its_reason(choice: tuple[str, str, str, str]) -> None:
    try_one(*choice)


@pytest.mark.slow
@pytest.mark.parametrize("choice", list(itertools.product(SCORES, SCOPES, UNITS, LAYERS)), ids="-".join)
def test_every_combination_works_or_is_refused_with_its_reason(choice: tuple[str, str, str, str]) -> None:
    try_one(*choice)


@pytest.mark.parametrize("schedule", schedules.names())
@pytest.mark.parametrize("unit", units.names())
def test_schedules_go_with_units_by_the_table(schedule: str, unit: str) -> None:
    row = refusal(schedule=schedule, unit=unit)
    if unit == "nm":
        assert (row is not None) == (schedule in ("iterative", "gradual", "soft-movement", "dynamic"))
    else:
        assert (row is not None) == (schedule in ("soft-movement", "dynamic") and unit != "weight")


@pytest.mark.parametrize("schedule", schedules.names())
@pytest.mark.parametrize("score", scores.names())
def test_schedules_go_with_scores_by_the_table(schedule: str, score: str) -> None:
    row = refusal(schedule=schedule, score=score)
    if score == "movement":
        refused = schedule not in ("gradual", "soft-movement")
    else:
        refused = schedule == "soft-movement" or (score == "random" and schedule == "early-bird")
    assert (row is not None) == refused


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"score": "grasp", "scope": "lamp"}, "LAMP squares scores"),
        ({"unit": "nm", "scope": "erk"}, "nothing competes between layers"),
        ({"unit": "nm", "rounds": 100}, "fixes its own density"),
        ({"unit": "row", "scope": "neuron"}, "part of several"),
        ({"scope": "global", "rates": True}, "decide themselves"),
        ({"score": "movement", "schedule": "one-shot"}, "grows while training"),
        ({"score": "magnitude", "schedule": "soft-movement"}, "they are movement"),
        ({"scope": "layer", "schedule": "soft-movement"}, "nothing competes"),
        ({"unit": "row", "schedule": "soft-movement"}, "nothing competes"),
        ({"rates": True, "schedule": "soft-movement"}, "nothing competes"),
        ({"floor": True, "schedule": "soft-movement"}, "nothing competes"),
        ({"schedule": "dynamic", "scope": "neuron", "dynamic_method": "rigl"}, "not of each gate or neuron"),
        ({"unit": "filter", "kinds": {"linear"}}, "only convolutions"),
        ({"score": "wanda", "kinds": {"linear", "bias"}}, "multiply no vector"),
    ],
)
def test_a_refusal_says_why(choice: dict[str, object], reason: str) -> None:
    with pytest.raises(PruningError, match=reason):
        check(**choice)


def test_static_masks_may_have_any_scope() -> None:
    check(schedule="dynamic", scope="neuron", dynamic_method="static")


def test_every_row_of_the_table_refuses_something_and_is_printed() -> None:
    choices = [
        dict(zip(("score", "scope", "unit", "schedule"), names, strict=True))
        for names in itertools.product(["grasp", "movement", "random", "wanda", "sparsegpt"], SCOPES, units.names(), schedules.names())
    ]
    more = [{"kinds": {kind}, **choice} for kind in ("linear", "norm", "embedding") for choice in choices]
    more += [{"unit": "nm", "rates": True}, {"scope": "global", "rates": True}]
    for row in REFUSALS:
        assert any(row.offends(combination(choice)) for choice in more), row.what
        assert row.reason in as_markdown()
    assert refusal(score="magnitude", scope="layer", unit="weight", schedule="iterative", kinds={"linear"}, rates=True) is None


def combination(choice: dict[str, object]) -> object:
    from secateur.pruning.combinations import Combination

    rooms = {"score": scores, "scope": scopes, "unit": units}
    parts = {
        key: rooms[key].entry(str(value)) if key in rooms else frozenset(value) if key == "kinds" else value
        for key, value in choice.items()
    }  # type: ignore[arg-type]
    return Combination(**parts)  # type: ignore[arg-type]


def test_the_network_of_these_tests_has_every_kind() -> None:
    assert {entry.kind for entry in linear_maps(Tagger())} == set(LAYERS)
    assert isinstance(tagger(), nn.Module)
    assert keep({"a": torch.rand(3)}, prunable_mask(nn.ParameterDict({"a": torch.rand(3)}), ["a*"]), 1 / 3).kept == 1
