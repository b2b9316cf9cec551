"""int8 layers in training: products, gradients, limits, through the interpreter and by torch."""

import pytest
import torch

from kernels.training.qat import quantise
from kernels.training.qat.clamping import Limit, folded, reference_squared_relu, squared_relu
from kernels.training.qat.linear import Int8Linear, Options, int8_linear, reference
from kernels.training.qat.quantise import quantise_rows, quantise_static, transposed

WAYS = [False, True]
"""By Triton, by torch."""


def values(*shape: int, seed: int = 0, device: torch.device | str = "cpu") -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_factor", [False, True])
def test_rows_become_int8(device: torch.device, dtype: torch.dtype, has_factor: bool) -> None:
    x = values(5, 333, device=device).to(dtype)
    x[3] = 0
    factor = values(333, seed=1, device=device).abs() if has_factor else None
    got = quantise_rows(x, factor, by_torch=False)
    want = quantise.reference_rows(x, factor)
    torch.testing.assert_close(got.scale, want.scale, rtol=1e-6, atol=0)
    assert (got.values.int() - want.values.int()).abs().max() <= 1
    assert (got.values != want.values).float().mean() < 0.01
    assert (got.values.abs().amax(1) == 127)[[0, 1, 2, 4]].all()
    assert not got.values[3].any()


@pytest.mark.parametrize("by_torch", WAYS)
def test_stochastic_rounding_keeps_the_mean(device: torch.device, by_torch: bool) -> None:
    row = values(1, 64, device=device)
    row[0, 0], row[0, 1] = 100.0, 0.1
    got = quantise_rows(row.expand(96, 64).contiguous(), seed=3, by_torch=by_torch)
    real = got.values.float() * got.scale[:, None]
    error = (real.mean(0) - row[0]).abs()
    assert (error < 5 * 0.5 * got.scale[0] / 96**0.5).all()
    assert not quantise_rows(row, by_torch=by_torch).values[0, 1], "to nearest, it is lost"


def test_static_scales_and_transposition(device: torch.device) -> None:
    x, limit = values(33, 80, device=device) * 3, torch.tensor([4.0], device=device)
    got = quantise_static(x, limit, by_torch=False)
    assert (got.int() - quantise.reference_static(x, limit).int()).abs().max() <= 1
    assert got.max() == 127
    assert torch.equal(transposed(got, by_torch=False), got.T)
    for scale in (torch.rand(33, device=device), torch.rand(1, device=device)):
        ways = [quantise.real(got, scale, by_torch=way) for way in WAYS]
        torch.testing.assert_close(*ways, rtol=1.01 * 2**-7, atol=0)
    assert quantise.flops_and_bytes(10, 100).bytes == 10 * 100 * 3 + 40


@pytest.mark.parametrize("by_torch", WAYS)
def test_the_forward_pass_is_the_int8_product(device: torch.device, by_torch: bool) -> None:
    x, weight = values(24, 64, device=device), values(48, 64, seed=1, device=device) * 0.1
    limit, scalar = torch.full((1,), 3.0, device=device), torch.full((1,), 1.5, device=device)
    got = int8_linear(x, weight, limit, scalar=scalar, options=Options(by_torch=by_torch))
    want = reference(x, weight, 3.0, 1.5)
    assert (got.double() - want).abs().max() <= 2**-7 * want.abs().max()
    exact = x.clamp(-3, 3).double() @ weight.double().T * 1.5
    assert (want - exact).norm() < 0.02 * exact.norm()


def test_triton_and_torch_agree_but_for_the_last_rounding(device: torch.device) -> None:
    x, weight = values(24, 64, device=device), values(48, 64, seed=1, device=device)
    limit = torch.full((1,), 4.0, device=device)
    ways = [int8_linear(x, weight, limit, options=Options(by_torch=way)) for way in WAYS]
    torch.testing.assert_close(*ways, rtol=1.01 * 2**-7, atol=0)  # the interpreter cuts off


@pytest.mark.parametrize("by_torch", WAYS)
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_gradients_pass_straight_through(
    device: torch.device, by_torch: bool, precision: str
) -> None:
    x = values(32, 64, device=device).requires_grad_()
    weight = (values(48, 64, seed=1, device=device) * 0.1).requires_grad_()
    scalar = torch.full((1,), 0.7, device=device, requires_grad=True)
    limit = torch.full((1,), 4.0, device=device)
    options = Options(input_gradient=precision, by_torch=by_torch, gradient_gain=2.0)
    y = int8_linear(x, weight, limit, scalar=scalar, options=options)
    g = values(32, 48, seed=2, device=device)
    y.backward(g.bfloat16())
    x8 = quantise.reference_static(x.detach(), limit).double() * 4 / 127
    w8, scale = quantise.reference_rows(weight.detach())
    w = w8.double() * scale.double()[:, None]
    wanted = {
        x: 2 * 0.7 * g.double() @ w, weight: 0.7 * g.double().T @ x8, scalar: (x8 @ w.T * g).sum()
    }  # fmt: skip
    for tensor, want in wanted.items():
        assert tensor.grad is not None
        off = (tensor.grad.double() - want).norm() / want.norm()
        assert off < (0.02 if tensor is x and precision == "int8" else 0.006), off


def test_int8_gradients_are_noisier_and_noise_averages_out() -> None:
    x = values(64, 64).requires_grad_()
    weight = values(64, 64, seed=1) * 0.1
    g = values(64, 64, seed=2).bfloat16()
    limit = torch.full((1,), 4.0)

    def gradient(**options: object) -> torch.Tensor:
        y = int8_linear(x, weight, limit, options=Options(**options))
        (found,) = torch.autograd.grad(y, x, g)
        return found.double()

    want = gradient(input_gradient="bf16")
    one = gradient(input_gradient="int8", seed=0)
    many = [gradient(input_gradient="int8", seed=s) for s in range(12)]
    assert (torch.stack(many).mean(0) - want).norm() < 0.6 * (one - want).norm()


def test_the_layer_is_served_as_it_is_trained() -> None:
    layer = Int8Linear(64, 32, has_scalar=True)
    assert layer.scalar is not None
    layer.scalar.data.fill_(-1.25)
    x = values(8, 64).clamp(-4, 4)
    w8, scale = layer.quantised()
    x8 = quantise.reference_static(x, layer.limit)
    served = (x8.double() @ w8.double().T) * scale.double() * 4 / 127
    torch.testing.assert_close(layer(x).double(), served, rtol=2**-7, atol=1e-6)
    bf16 = Int8Linear(64, 32, options=Options(forward="bf16"))
    want = x.double() @ bf16.weight.double().T
    assert (bf16(x).double() - want).norm() < 0.01 * want.norm()


def test_what_serving_fuses_is_not_rounded_outside_of_training() -> None:
    layer = Int8Linear(64, 32, is_fused=True)
    x = values(8, 64).clamp(-4, 4)
    assert layer(x).dtype == torch.bfloat16
    exact = layer.eval()(x)
    assert exact.dtype == torch.float32
    want = reference(x, layer.weight.detach(), 4.0)
    torch.testing.assert_close(exact.detach().double(), want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("by_torch", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squared_relu(device: torch.device, by_torch: bool, dtype: torch.dtype) -> None:
    x = (values(3, 700, device=device) * 2).to(dtype).requires_grad_()
    limit = torch.full((1,), 3.0, device=device)
    y = squared_relu(x, limit, by_torch=by_torch)
    torch.testing.assert_close(y, reference_squared_relu(x.detach(), limit), rtol=2**-7, atol=0)
    assert y.max() == 9
    y.float().sum().backward()
    exact = x.detach().double().requires_grad_()
    exact.clamp(0, 3).square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=2**-7, atol=1e-9)


def codes(small: torch.Tensor, limit: torch.Tensor) -> int:
    """Different int8 codes in the middle of a feed-forward."""
    return len(quantise_static(squared_relu(small, limit), limit.square()).unique())


@pytest.mark.parametrize("source", ["weights", "values"])
def test_a_dynamic_limit_keeps_the_squared_relu_from_collapsing(source: str) -> None:
    weight = values(64, 128, seed=1) * 0.005  # a spread of 0.06 after it
    x = values(512, 128)
    small = x @ weight.T
    constant, limit = Limit("constant"), Limit(source)
    assert codes(small, constant(small, weight)) == 1, "one code: the layer says nothing"
    found = limit(small, weight)
    assert float(found) == pytest.approx(4 * float(small.square().mean().sqrt()), rel=0.05)
    assert codes(small, found) > 60


def test_the_values_limit_is_kept_for_inference() -> None:
    limit, weight = Limit("values", momentum=0.5), torch.zeros(4, 4)
    assert float(limit(torch.full((8,), 2.0), weight)) == 8.0
    assert float(limit(torch.full((8,), 4.0), weight)) == 12.0
    limit.eval()
    assert float(limit(torch.full((8,), 100.0), weight)) == 12.0
    limit.train()
    assert float(limit(torch.full((8,), float("nan")), weight)) == 12.0, "a bad step is left out"
    again = Limit("values")
    again.load_state_dict(limit.state_dict())
    assert float(again.at_rest(weight)) == 12.0
    with pytest.raises(ValueError, match="source: is 'std'"):
        Limit("std")


def test_a_limit_is_folded_into_the_scales_of_serving() -> None:
    """The same codes, and the same output, with the constant 4."""
    u, limit = values(16, 64), torch.tensor([1.7])
    up, down = torch.full((64,), 0.5), torch.full((32,), 0.25)
    served_up, served_down = folded(up, down, limit)
    mine = quantise_static(squared_relu(u * up, limit), limit.square())
    four = torch.tensor([4.0])
    served = quantise_static(squared_relu(u * served_up, four), four.square())
    assert (mine.int() - served.int()).abs().max() <= 1
    assert (mine != served).float().mean() < 0.01
    torch.testing.assert_close(down * limit.square() / 127, served_down * 16 / 127)


BAD = {
    "x: dtype is": lambda: quantise_rows(torch.zeros(2, 16).half()),
    "x: has 0 columns": lambda: quantise_rows(torch.zeros(2, 0)),
    "factor: shape is": lambda: quantise_rows(torch.zeros(2, 16), torch.ones(15)),
    "limit: shape is": lambda: quantise_static(torch.zeros(2, 16), torch.ones(2)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_a_weight_is_quantised_once_until_it_changes(device: torch.device) -> None:
    layer = Int8Linear(32, 16).to(device)
    x = values(8, 32, device=device)
    layer(x).sum().backward()
    first = layer.rows()
    layer(x).sum().backward()
    assert layer.rows() is first, "several batches of a step share it"
    torch.optim.AdamW(layer.parameters(), lr=0.1).step()
    changed = layer.rows()
    assert changed is not first
    assert torch.equal(changed.values, quantise_rows(layer.weight.detach()).values)
    layer.load_state_dict(Int8Linear(32, 16).state_dict())
    assert torch.equal(layer.rows().scale, quantise_rows(layer.weight.detach()).scale)
