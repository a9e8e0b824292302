"""`compress` and `decompress`: whole models to sparse layers and back."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Literal, cast

from torch import nn

from secateur.errors import PruningError
from secateur.linear_maps import linear_maps
from secateur.masks import Mask, Pattern, apply, parameters_of
from secateur.sparse.conversion import Counterpart, SparseLayer, counterpart_of
from secateur.sparse.execution import Crossovers, choose_execution
from secateur.sparse.linear import SparseLinear
from secateur.sparse.sequential import SparseSequential
from secateur.sparse.weight import SparseWeight

Layers = Literal["all", "auto"] | Iterable[str]


def compress(
    model: nn.Module, mask: Mask, *, layers: Layers = "all", batch: int = 64, crossovers: Crossovers | None = None, in_place: bool = False
) -> nn.Module:
    """`model` with sparse layers in the place of those that `mask` prunes: a copy, unless `in_place`.

    `layers`: "all" that have a sparse counterpart; "auto", those whose sparse form is the faster one at `batch` examples by the
    table `crossovers`; or names of modules (fnmatch patterns). What stays dense has its pruned weights at zero. An `nn.Sequential` with
    sparse linear layers becomes a `SparseSequential`. A tensor that
    several layers share stays one; it stays dense if one of them has no sparse counterpart. `PruningError` for a mask that does
    not fit, and for a name that matches no layer with a counterpart.
    """
    parameters = parameters_of(model, mask)
    if not in_place:
        model = copy.deepcopy(model)
        parameters = parameters_of(model, mask)
    apply(mask, model)
    found = _convertible(model)
    chosen = _chosen(found, model, mask, layers, batch, crossovers)
    patterns = {id(parameters[name]): pattern for name, pattern in mask.patterns.items()}
    weights: dict[int, SparseWeight] = {}

    def sparse(dense: nn.Parameter) -> SparseWeight:
        if id(dense) not in weights:
            pattern = patterns.get(id(dense)) or Pattern.full(tuple(dense.shape))
            weight = SparseWeight.from_dense(dense, pattern)
            weight.values.requires_grad_(dense.requires_grad)
            weights[id(dense)] = weight
        return weights[id(dense)]

    replacements: dict[int, nn.Module] = {}
    for name in chosen:
        module, counterpart = found[name]
        made = counterpart.make(module, {local: sparse(module.get_parameter(local)) for local in counterpart.weights(module)})
        replacements[id(module)] = _with_hooks(made.train(module.training), module)
    return _resequenced(_replaced(model, replacements), nn.Sequential, SparseSequential)


def decompress(model: nn.Module, *, in_place: bool = False) -> nn.Module:
    """`model` with dense layers, zero where pruned, in the place of its sparse ones: a copy, unless `in_place`. Tied weights stay tied."""
    if not in_place:
        model = copy.deepcopy(model)
    dense: dict[int, nn.Parameter] = {}
    replacements: dict[int, nn.Module] = {}
    for _, module in _sparse_layers(model):
        layer = cast(SparseLayer, module)
        made = layer.to_dense()
        for local, weight in layer.sparse_weights().items():
            owner, _, leaf = local.rpartition(".")
            parameter = dense.setdefault(id(weight), made.get_parameter(local))
            parameter.requires_grad_(weight.values.requires_grad)
            setattr(made.get_submodule(owner), leaf, parameter)
        for local, bias in _dense_parameters(module):
            setattr(made.get_submodule(local.rpartition(".")[0]), local.rpartition(".")[2], bias)
        replacements[id(module)] = _with_hooks(made.train(module.training), module)
    return _resequenced(_replaced(model, replacements), SparseSequential, nn.Sequential)


def mask_of(model: nn.Module) -> Mask:
    """The mask of a compressed model's sparse layers, by the names that the dense model gives their weights."""
    patterns: dict[str, Pattern] = {}
    seen: set[int] = set()
    for name, module in _sparse_layers(model):
        for local, weight in cast(SparseLayer, module).sparse_weights().items():
            if id(weight) not in seen:
                seen.add(id(weight))
                patterns[f"{name}.{local}" if name else local] = weight.pattern
    return Mask(patterns)


def sparse_weights(model: nn.Module) -> dict[str, SparseWeight]:
    """The sparse weights of a compressed model, by the names that the dense model gives them; a shared one once."""
    weights: dict[str, SparseWeight] = {}
    for name, module in _sparse_layers(model):
        for local, weight in cast(SparseLayer, module).sparse_weights().items():
            if all(weight is not known for known in weights.values()):
                weights[f"{name}.{local}" if name else local] = weight
    return weights


def _sparse_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "sparse_weights") and hasattr(module, "to_dense")]


def _dense_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What a sparse layer holds dense, by the dense layer's names."""
    names = {"out_proj_bias": "out_proj.bias"}
    return [(names.get(name, name), parameter) for name, parameter in module.named_parameters(recurse=False)]


def _convertible(model: nn.Module) -> dict[str, tuple[nn.Module, Counterpart]]:
    """Module name -> (module, counterpart), but for those whose weights a module without counterpart shares."""
    found: dict[int, tuple[str, nn.Module, Counterpart]] = {}
    names_served: set[str] = set()
    # A module that several parents hold has several names, and so have its parameters.
    for name, module in model.named_modules(remove_duplicate=False):
        counterpart = counterpart_of(module)
        if counterpart is None or any(name.startswith(f"{outer}.") for outer, *_ in found.values()):
            continue
        try:
            names_served.update(f"{name}.{local}" if name else local for local in counterpart.weights(module))
        except PruningError:
            continue
        found.setdefault(id(module), (name, module, counterpart))
    uses: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        uses.setdefault(id(parameter), set()).add(name)
    return {
        name: (module, counterpart)
        for name, module, counterpart in found.values()
        if all(uses[id(module.get_parameter(local))] <= names_served for local in counterpart.weights(module))
    }


def _chosen(
    found: Mapping[str, tuple[nn.Module, Counterpart]],
    model: nn.Module,
    mask: Mask,
    layers: Layers,
    batch: int,
    crossovers: Crossovers | None,
) -> list[str]:
    """Names of the modules that become sparse. Those that share a weight go together."""
    maps = {entry.parameter: entry for entry in linear_maps(model)}
    names_of = {id(parameter): name for name, parameter in model.named_parameters()}

    def masked(name: str) -> list[str]:
        module, counterpart = found[name]
        return [n for local in counterpart.weights(module) if (n := names_of[id(module.get_parameter(local))]) in mask]

    candidates = [name for name in found if masked(name)]
    if layers == "all":
        return candidates
    if layers == "auto":

        def faster_sparse(parameter: str) -> bool:
            pattern, kind = mask.pattern(parameter), maps[parameter].kind if parameter in maps else "linear"
            return choose_execution(kind, pattern.shape, pattern.density, batch, crossovers) == "sparse"

        dense = {parameter for name in candidates for parameter in masked(name) if not faster_sparse(parameter)}
        return [name for name in candidates if not dense & set(masked(name))]
    wanted = list(layers)
    for word in wanted:
        if not any(fnmatchcase(name, word) for name in found):
            raise PruningError(f"layers: {word!r} matches no layer with a sparse counterpart; there are {', '.join(found) or 'none'}")
    named = {name for name in found if any(fnmatchcase(name, word) for word in wanted)}
    shared = {parameter for name in named for parameter in masked(name)}
    return [name for name in candidates if name in named or shared & set(masked(name))]


def _with_hooks(made: nn.Module, module: nn.Module) -> nn.Module:
    for attribute in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs"):
        getattr(made, attribute).update(getattr(module, attribute))
    return made


def _replaced(model: nn.Module, replacements: Mapping[int, nn.Module]) -> nn.Module:
    if id(model) in replacements:
        return replacements[id(model)]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in replacements:
                setattr(parent, name, replacements[id(child)])
    return model


def _resequenced(model: nn.Module, old: type[nn.Sequential], new: type[nn.Sequential]) -> nn.Module:
    """`model` with sequences of class `new` in the place of those of class `old`; sparse ones where a child is `SparseLinear`."""
    for module in reversed(list(model.modules())):
        if type(module) is old and (new is nn.Sequential or any(isinstance(child, SparseLinear) for child in module)):
            sequence = new(OrderedDict(module._modules))
            sequence.training = module.training
            model = _replaced(model, {id(module): _with_hooks(sequence, module)})
    return model
