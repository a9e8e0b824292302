"""`SparseSequential` against the masked dense `nn.Sequential`: the same numbers, names, gradients and children."""

from __future__ import annotations

import copy
import io
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from secateur.dropout import Dropout
from secateur.errors import PruningError
from secateur.linear_maps import prunable_mask
from secateur.masks import Mask, apply, random_pattern
from secateur.sparse import SparseLinear, SparseSequential, compress, decompress
from secateur.sparse import sequential as module_under_test

WIDTHS = (70, 300, 37, 130, 9)


def network(*, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths; every other one ends in a ReLU, and dropout follows the first."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(inputs, outputs, bias=i > 0))
        if i % 2 == 0:
            layers.append(nn.ReLU())
        if i == 0 and dropout:
            layers += [Dropout(dropout), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def pruned(model: nn.Module, density: float) -> tuple[nn.Module, nn.Module]:
    """(the model with its pruned weights at zero, the same with sparse layers)."""
    mask = prunable_mask(model, ("linear",)).map(lambda name, full: random_pattern(full.shape, int(density * full.prunable + 0.5), 1, name))
    apply(mask, model)
    return model, compress(model, mask)


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each call of the kernels took, in order."""
    lengths: list[int] = []
    kernel = module_under_test._kernels.chain_forward

    def counted(links: list[object], *arguments: object) -> Tensor:
        lengths.append(len(links))
        return kernel(links, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module_under_test._kernels, "chain_forward", counted)
    return lengths


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.08, 0.4, 1.0])
def test_inference_is_one_call_and_agrees_with_dense(density: float, dtype: torch.dtype, chained: list[int]) -> None:
    dense, sparse = pruned(network().to(dtype), density)
    assert type(sparse) is SparseSequential
    batches = (0, 1, 2, 17, 64, 70, 130, 500)
    for batch in batches:
        x = torch.randn(batch, WIDTHS[0], dtype=dtype)
        with torch.no_grad():
            torch.testing.assert_close(sparse(x), dense(x), rtol=1e-4, atol=1e-5)
    assert chained == [4] * len(batches)


def test_any_number_of_axes_and_any_strides(chained: list[int]) -> None:
    dense, sparse = pruned(network(), 0.2)
    x = torch.randn(WIDTHS[0], 3, 5)
    with torch.inference_mode():
        for each in (x.permute(1, 2, 0), x.permute(2, 1, 0)[::2], x[:, 0, 0]):
            found = sparse(each)
            assert found.shape == (*each.shape[:-1], WIDTHS[-1])
            torch.testing.assert_close(found, dense(each), rtol=1e-4, atol=1e-5)
    assert chained == [4] * 3


def test_the_same_bits_for_every_number_of_threads() -> None:
    _, sparse = pruned(network(widths=(300, 400, 400, 50)), 0.15)
    before = torch.get_num_threads()
    try:
        for batch in (1, 30, 64, 100, 300):
            x = torch.randn(batch, 300)
            found = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                with torch.no_grad():
                    found.append(sparse(x))
            assert all(torch.equal(found[0], other) for other in found[1:])
    finally:
        torch.set_num_threads(before)


def test_training_takes_the_relu_along_and_agrees_with_dense(chained: list[int]) -> None:
    dense, sparse = pruned(network(dropout=0.25), 0.1)
    x, dy = torch.randn(33, WIDTHS[0]), torch.randn(33, WIDTHS[-1])
    for model in (dense, sparse):
        for module in model:  # type: ignore[attr-defined]
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # torch's draws are of the global generator
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [model(each) for model, each in zip((dense, sparse), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.backward(dy)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5)
    for name, child in sparse.named_children():
        if isinstance(child, SparseLinear):
            wanted = dense.get_parameter(f"{name}.weight").grad
            assert wanted is not None
            torch.testing.assert_close(child.weight.values.grad, wanted.reshape(-1)[child.weight.places()], rtol=1e-4, atol=1e-4)
    assert chained == []


def test_dropout_at_rest_is_passed_over_and_at_work_is_not(chained: list[int]) -> None:
    dense, sparse = pruned(network(dropout=0.5), 0.2)
    x = torch.randn(40, WIDTHS[0])
    dense.eval()
    sparse.eval()
    with torch.no_grad():
        torch.testing.assert_close(sparse(x), dense(x), rtol=1e-4, atol=1e-5)
        assert chained == [4]
        sparse.train()
        assert not torch.equal(sparse(x), sparse(x))
        assert chained == [4, 3, 3]


def test_a_child_with_a_hook_is_called_as_it_is(chained: list[int]) -> None:
    dense, sparse = pruned(network(), 0.2)
    seen: list[Tensor] = []
    third = sparse.get_submodule("3")
    assert isinstance(third, SparseLinear)
    third.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(20, WIDTHS[0])
    with torch.no_grad():
        torch.testing.assert_close(sparse(x), dense(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen[0], dense[:4](x), rtol=1e-4, atol=1e-5)  # type: ignore[index]
    assert chained == [2]


def test_what_is_not_a_number_stays_none(chained: list[int]) -> None:
    _, sparse = pruned(network(widths=(20, 30, 40)), 1.0)
    for batch in (1, 8):
        x = torch.randn(batch, 20)
        x[0, 3] = torch.nan
        with torch.no_grad():
            assert sparse(x)[0].isnan().all()
        assert sparse(x)[0].isnan().all()
    assert chained == [2, 2]


def test_names_state_and_children_are_those_of_the_dense_sequence() -> None:
    dense, sparse = pruned(nn.Sequential(network(), nn.Tanh(), network(widths=(9, 9, 9))), 0.3)
    assert [type(module) for module in sparse.modules() if isinstance(module, nn.Sequential)] == [nn.Sequential, *[SparseSequential] * 2]
    back = decompress(sparse)
    assert [type(module) for module in back.modules()] == [type(module) for module in dense.modules()]
    assert back.state_dict().keys() == dense.state_dict().keys()
    for name, tensor in dense.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
    x = torch.randn(5, WIDTHS[0])
    buffer = io.BytesIO()
    torch.save(sparse, buffer)
    buffer.seek(0)
    for twin in (copy.deepcopy(sparse), torch.load(buffer, weights_only=False)):
        assert torch.equal(twin(x), sparse(x))


def test_a_sequence_without_sparse_layers_and_a_class_of_ones_own_stay() -> None:
    class Own(nn.Sequential):
        pass

    model = nn.ModuleDict({"left": nn.Sequential(nn.Linear(4, 4)), "own": Own(nn.Linear(4, 4), nn.ReLU())})
    sparse = compress(model, Mask({"own.0.weight": random_pattern((4, 4), 5, 0, "own")}))
    assert type(sparse.get_submodule("left")) is nn.Sequential
    assert type(sparse.get_submodule("own")) is Own


def test_layers_that_do_not_fit_one_another_are_refused_as_layer_by_layer() -> None:
    _, sparse = pruned(network(widths=(8, 8, 8)), 0.5)
    with torch.no_grad(), pytest.raises(PruningError, match="a sparse product of 8 inputs"):
        sparse(torch.randn(3, 7))
