# SPDX-License-Identifier: Apache-2.0
"""Matrices in 8 bits: how exact they are, and that products and gradients are those of the matrix they represent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from library.compute import fp8
from library.lora.lora import LayerSize, LoRALinear

ROWS, COLUMNS = 96, 64
# e4m3 has 3 bits after the binary point: half a step is 1/16 of the power of two below a number.
HALF_STEP = 1 / 16
Run = Callable[[Tensor], Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights() -> Tensor:
    """Numbers as a Linear usually has them."""
    return drawn(ROWS, COLUMNS) * 0.02


def meant(weight: Tensor, scale: Tensor) -> Tensor:
    """The matrix that weights and scales represent, by definition, in fp64."""
    return weight.double() * scale.double()[:, None]


def linear_in_fp8(matrix: Tensor) -> fp8.Fp8Linear:
    linear = fp8.Fp8Linear(matrix.shape[1], matrix.shape[0])
    weight, scale = fp8.quantise(matrix)
    linear.load_state_dict({"weight": weight, "scale_weight": scale, "bias": drawn(len(matrix), seed=1)}, assign=True)
    return linear.requires_grad_(False)


def input_and_gradient() -> tuple[Tensor, Tensor]:
    return drawn(2, 7, COLUMNS, seed=2).requires_grad_(), drawn(2, 7, ROWS, seed=3)


def forward_and_backward(run: Run) -> tuple[Tensor, Tensor]:
    """(output, gradient of the input)."""
    x, gradient = input_and_gradient()
    y = run(x)
    y.backward(gradient.to(y.dtype))
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2])
def test_each_number_is_rounded_by_half_a_step_at_most(dtype: torch.dtype) -> None:
    matrix = weights().to(dtype)
    weight, scale = fp8.quantise(matrix)
    assert (weight.dtype, weight.shape, scale.dtype, scale.shape) == (
        fp8.TYPE,
        (ROWS, COLUMNS),
        torch.float32,
        (ROWS,),
    )
    error = (meant(weight, scale) - matrix.double()).abs()
    smallest = scale.double()[:, None] * 2**-9  # e4m3's smallest step, which does not shrink with the number
    assert bool((error <= torch.maximum(HALF_STEP * matrix.double().abs(), smallest / 2)).all())


def test_each_row_has_its_own_scale() -> None:
    """Rows over 12 powers of ten, an outlier, a row of zeros: each row is as exact as it would be alone."""
    magnitudes = torch.logspace(-6, 6, ROWS)[:, None]
    magnitudes[5] = 0
    matrix = weights() * magnitudes
    matrix[7, 3] *= 1000
    weight, scale = fp8.quantise(matrix)
    error = (meant(weight, scale) - matrix.double()).norm(dim=1)
    norms = matrix.double().norm(dim=1)
    assert bool((error <= 0.04 * norms).all())
    assert scale[5] == 1
    assert not meant(weight, scale)[5].any()


@pytest.mark.parametrize("largest", [447.9, 448.0, 448.1, 896.0, 1.0, 2.0**-100, 3e38])
def test_no_number_becomes_too_large_for_the_type(largest: float) -> None:
    """e4m3 has no infinity: a number above 448 would become NaN."""
    matrix = torch.tensor([[largest, -largest / 2], [-largest, 0]])
    weight, scale = fp8.quantise(matrix)
    assert weight.float().isfinite().all()
    assert 111 < weight.float().abs().max() <= 448
    assert torch.equal(torch.frexp(scale).mantissa, torch.full((2,), 0.5))  # powers of two


def test_output_and_gradient_are_those_of_the_original_matrix() -> None:
    linear = linear_in_fp8(weights())
    reference = nn.Linear(COLUMNS, ROWS)
    reference.weight.data = meant(linear.weight, linear.scale_weight).float()
    reference.bias.data = linear.bias
    output, gradient = forward_and_backward(linear)
    expected, expected_gradient = forward_and_backward(reference)
    assert torch.equal(gradient, expected_gradient)
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)


def test_scales_need_not_be_powers_of_two() -> None:
    """A file's own scales may be any numbers."""
    linear = linear_in_fp8(weights())
    linear.scale_weight = linear.scale_weight * 0.7
    matrix = meant(linear.weight, linear.scale_weight).float()
    x, gradient = input_and_gradient()
    output, dx = forward_and_backward(linear)
    torch.testing.assert_close(output, x.detach() @ matrix.T + linear.bias)
    torch.testing.assert_close(dx, gradient @ matrix)


def compiled(backend: str) -> Callable[[Run], Run]:
    def prepare(run: Run) -> Run:
        torch._dynamo.reset()
        made: Run = torch.compile(run, backend=backend, fullgraph=True)
        return made

    return prepare


def checkpointed(run: Run) -> Run:
    return lambda x: checkpoint(run, x, use_reentrant=False)


WAYS = [
    pytest.param(lambda run: run, id="eager"),
    pytest.param(checkpointed, id="checkpointed"),
    pytest.param(compiled("aot_eager"), id="aot_eager"),
    pytest.param(compiled("inductor"), id="inductor"),
    pytest.param(lambda run: checkpointed(compiled("inductor")(run)), id="checkpointed inductor"),
]


@pytest.mark.parametrize("prepare", WAYS)
def test_autocast_computes_in_its_own_type(prepare: Callable[[Run], Run]) -> None:
    linear = linear_in_fp8(weights())
    reference = nn.Linear(COLUMNS, ROWS)
    # With powers of two as scales, the represented matrix is exact in bf16 too.
    reference.weight.data = meant(linear.weight, linear.scale_weight).float()
    reference.bias.data = linear.bias
    with torch.autocast("cpu", torch.bfloat16):
        output, gradient = forward_and_backward(prepare(linear))
        expected, expected_gradient = forward_and_backward(reference)
    assert output.dtype == torch.bfloat16
    assert gradient.dtype == torch.float32  # that of the input
    assert torch.equal(gradient, expected_gradient)
    # The product is rounded to bf16, which has 8 bits, before the bias is added.
    torch.testing.assert_close(output.float(), expected.float(), rtol=2**-7, atol=2**-8 * expected.abs().max().item())


@pytest.mark.parametrize("prepare", WAYS)
def test_no_matrix_in_16_bits_is_kept_between_forward_and_backward(prepare: Callable[[Run], Run]) -> None:
    """Two layers with LoRA, so that the gradient passes through a frozen matrix.

    Before the product was an operator of its own, compilers kept the matrix in 16 bits: they look into autograd's
    functions, saw the same matrix made in both directions, and made it once.
    """
    layers = nn.Sequential(linear_in_fp8(weights()), linear_in_fp8(drawn(COLUMNS, ROWS)))
    loras = [with_lora(layer) for layer in layers]
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    run = prepare(layers)
    with torch.autocast("cpu", torch.bfloat16), saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = run(drawn(3, COLUMNS)).float().square().sum()
    assert {tensor.dtype for tensor in kept if tensor.numel() == ROWS * COLUMNS} <= {fp8.TYPE}
    loss.backward()
    gradients = [parameter.grad for lora in loras for parameter in lora.parameters()]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def with_lora(linear: nn.Module) -> LoRALinear:
    assert isinstance(linear, nn.Linear)
    lora = LoRALinear(linear, size=LayerSize(rank=2, alpha=1), generator=torch.Generator().manual_seed(4))
    nn.init.ones_(lora.up)
    return lora


@pytest.mark.parametrize("scales", [1, ROWS])
def test_a_file_s_own_numbers_and_scales_are_kept(scales: int) -> None:
    stored = (drawn(ROWS, COLUMNS) * 100).to(fp8.TYPE)
    given = torch.full((scales,), 0.3, dtype=torch.bfloat16).reshape((scales, 1) if scales > 1 else ())
    weight, scale = fp8.of_file(stored, given)
    assert torch.equal(weight.view(torch.uint8), stored.view(torch.uint8))
    assert torch.equal(scale, given.float().flatten().expand(ROWS))
    assert torch.equal(fp8.of_file(stored, None)[1], torch.ones(ROWS))


def test_a_file_in_the_other_fp8_format_is_rounded_from_its_values() -> None:
    stored = (drawn(ROWS, COLUMNS) * 100).to(torch.float8_e5m2)
    weight, scale = fp8.of_file(stored, torch.tensor(0.5))
    assert torch.equal(meant(weight, scale), stored.double() * 0.5)  # e5m2's two bits after the point fit into three


def test_a_wrong_number_of_scales_is_refused() -> None:
    with pytest.raises(ValueError, match="has 3 scales for 96 rows; it must have 1 or 96"):
        fp8.of_file(weights().to(fp8.TYPE), torch.ones(3))
