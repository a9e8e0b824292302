"""Scores from gradients of the loss: |g|, Taylor, SNIP, GraSP.

Batches are scored in eval mode (no dropout; running statistics in batch normalisation), and the model's modes, weights, gradients
and `requires_grad` are as before afterwards. The loss is that of each batch; batches count alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from secateur.errors import PruningError
from secateur.masks import Mask, parameters_of
from secateur.pruning.arithmetic import add_changes_
from secateur.pruning.scores import Batches, Loss, Scores
from secateur.registry import scores


@contextmanager
def evaluated(model: nn.Module, mask: Mask) -> Iterator[dict[str, nn.Parameter]]:
    """The mask's parameters, with gradients on and the model in eval mode; both are restored.

    Kernels that lack a second derivative (fused attention), or a first one in eval mode (cuDNN's recurrent layers), are not used.
    """
    parameters = parameters_of(model, mask)
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    with ExitStack() as stack:
        stack.enter_context(in_eval_mode(model))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        try:
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            yield parameters
        finally:
            for name, parameter in parameters.items():
                parameter.requires_grad_(required[name])


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; the mode of each of its modules is restored."""
    training = [module for module in model.modules() if module.training]
    try:
        if training:
            model.eval()
        yield
    finally:
        for module in training:
            module.training = True


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device


def placed(value: Any, device: torch.device) -> Any:
    """A tensor, or a tuple of them, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return tuple(placed(part, device) for part in value)
    return value


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """model(inputs), or model(*inputs) for a tuple."""
    inputs = placed(inputs, device_of(model))
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def batch_losses(model: nn.Module, batches: Batches | None, loss: Loss | None, score: str, temperature: float = 1.0) -> Iterator[Tensor]:
    """The loss of each batch, its graph alive until the next is asked for; outputs are divided by `temperature`."""
    if batches is None or loss is None:
        raise PruningError(f"score {score!r} needs batches and a loss")
    any_ = False
    for inputs, targets in batches:
        any_ = True
        outputs = outputs_of(model, inputs)
        if temperature != 1.0:
            if not isinstance(outputs, Tensor):
                raise PruningError(f"score {score!r}: outputs can be divided by a temperature only where the model returns one tensor")
            outputs = outputs / temperature
        yield loss(outputs, placed(targets, device_of(model)))
    if not any_:
        raise PruningError(f"score {score!r} needs at least one batch; there is none")


def gradients_of(value: Tensor, parameters: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Dense gradients of a scalar, one a parameter; zeros where it does not depend on one."""
    if not value.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    gradients = torch.autograd.grad(value, parameters, create_graph=create_graph, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient.to_dense() if gradient.is_sparse else gradient
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]


def summed_gradients(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    batches: Batches | None,
    loss: Loss | None,
    score: str,
    temperatures: Any = (1.0, 1.0),
) -> list[Tensor]:
    """The gradient of the sum of the batches' losses, in memory of its own. `temperatures` divide loss and outputs."""
    of_loss, of_outputs = temperatures
    total: list[Tensor] = []
    for value in batch_losses(model, batches, loss, score, of_outputs):
        gradients = gradients_of(value if of_loss == 1.0 else value / of_loss, list(parameters.values()))
        if total:
            torch._foreach_add_(total, gradients)
        else:
            total = [owned(gradient, gradients[:place]) for place, gradient in enumerate(gradients)]
    return total


def owned(gradient: Tensor, others: Sequence[Tensor] = ()) -> Tensor:
    """A gradient that may be changed in place: autograd gives some parameters the same tensor, or a view with one number many times."""
    shared = not gradient.is_contiguous() or any(gradient.data_ptr() == other.data_ptr() for other in others)
    return gradient.clone(memory_format=torch.contiguous_format) if shared else gradient


def products_of(gradients: Sequence[Tensor], vectors: Sequence[Tensor], parameters: Sequence[nn.Parameter], again: bool) -> list[Tensor]:
    """The Hessian times `vectors`, from gradients whose graph is alive, and stays so if it is needed `again`; zeros where it is zero."""
    curved = [place for place, gradient in enumerate(gradients) if gradient.requires_grad]
    if not curved:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(
        [gradients[place] for place in curved], parameters, [vectors[place] for place in curved], retain_graph=again, allow_unused=True
    )
    return [torch.zeros_like(parameter) if part is None else part for parameter, part in zip(parameters, found, strict=True)]


@scores.register("gradient", needs_batches=True, needs_loss=True, signed=False)
def gradient(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """|dL/dw|, of the loss summed over batches."""
    with evaluated(model, mask) as parameters:
        total = summed_gradients(model, parameters, batches, loss, "gradient")
        return {name: value.abs_() for name, value in zip(parameters, total, strict=True)}


@scores.register("snip", needs_batches=True, needs_loss=True, signed=False)
def snip(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """SNIP (Lee et al. 2018): |w * dL/dw|; gradients are summed over batches before the absolute value."""
    with evaluated(model, mask) as parameters:
        total = summed_gradients(model, parameters, batches, loss, "snip")
        return {name: add_changes_(value, parameters[name], value, first=True) for name, value in zip(parameters, total, strict=True)}


@scores.register("taylor", needs_batches=True, needs_loss=True, signed=False)
def taylor(model: nn.Module, mask: Mask, batches: Batches | None, loss: Loss | None, generator: torch.Generator | None) -> Scores:
    """First-order Taylor (Molchanov et al. 2017): |w * dL/dw| of each batch, summed over batches after the absolute value."""
    with evaluated(model, mask) as parameters:
        weights = list(parameters.values())
        total: list[Tensor] = []
        for value in batch_losses(model, batches, loss, "taylor"):
            gradients = gradients_of(value, weights)
            first = not total
            if first:
                total = [owned(gradient, gradients[:place]) for place, gradient in enumerate(gradients)]
            for its, weight, slope in zip(total, weights, total if first else gradients, strict=True):
                add_changes_(its, weight, slope, first=first)
        return dict(zip(parameters, total, strict=True))


@scores.register("grasp", needs_batches=True, needs_loss=True, signed=True)
def grasp(
    model: nn.Module,
    mask: Mask,
    batches: Batches | None,
    loss: Loss | None,
    generator: torch.Generator | None,
    *,
    temperature: float = 200.0,
    divided: Literal["loss", "outputs"] = "loss",
) -> Scores:
    """GraSP (Wang et al. 2020): w * H g, the change of gradient flow; the paper removes the largest -w * H g. Signed.

    g and H are of the loss summed over batches. `temperature` divides the loss, which leaves the ranking alone, or the network's outputs
    (the authors' code), which flattens the softmax. Each batch is passed forward twice.
    """
    if temperature <= 0:
        raise PruningError(f"score 'grasp': temperature = {temperature} is not positive")
    of_loss, of_outputs = (temperature, 1.0) if divided == "loss" else (1.0, temperature)
    with evaluated(model, mask) as parameters:
        weights = list(parameters.values())
        batches = _kept_for_a_second_pass(batches)
        first = summed_gradients(model, parameters, batches, loss, "grasp", (of_loss, of_outputs))
        product: list[Tensor] = []
        for value in batch_losses(model, batches, loss, "grasp", of_outputs):
            gradients = gradients_of(value / of_loss, weights, create_graph=True)
            found = products_of(gradients, first, weights, again=False)
            if product:
                torch._foreach_add_(product, found)
            else:
                product = [owned(part, found[:place]) for place, part in enumerate(found)]
        return {name: value.mul_(parameters[name].detach()) for name, value in zip(parameters, product, strict=True)}


def _kept_for_a_second_pass(batches: Batches | None) -> Batches | None:
    """An iterator gives its batches once; anything else can be walked through again."""
    return list(batches) if batches is not None and iter(batches) is batches else batches
