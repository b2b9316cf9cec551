"""Squinch: the format, its kernels through the interpreter, its errors beside other codes."""

import math

import pytest
import torch

from kernels.training.squinch import compare
from kernels.training.squinch.codec import (
    BLOCKS,
    TILE,
    TILE_BYTES,
    Format,
    packed_bytes,
    reference_pack,
    reference_unpack,
)
from kernels.training.squinch.noise import Noise, noise_numbers
from kernels.training.squinch.pack import flops_and_bytes, squinch_pack, squinch_unpack


def gradients(count: int, device: torch.device | str = "cpu", seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = 10 ** (-8 * torch.rand(count, generator=generator))
    return (torch.randn(count, generator=generator) * size).to(device)


def exponents(payload: torch.Tensor) -> torch.Tensor:
    return payload.view(-1, TILE_BYTES)[:, : 2 * BLOCKS : 2].flatten()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", [None, Noise(5, 3), Noise(1 << 62 | 7)])
def test_the_kernels_equal_the_reference(
    device: torch.device, dtype: torch.dtype, noise: Noise | None
) -> None:
    x = gradients(TILE + 1003, device).to(dtype)
    got = squinch_pack(x, noise=noise, backend="triton")
    want = reference_pack(x, noise)
    assert (got != want).float().mean() < 1e-3, "but for a logarithm or a root at a whole number"
    values = squinch_unpack(want, len(x), backend="triton")
    torch.testing.assert_close(values, reference_unpack(want, len(x)), rtol=1e-5, atol=0)
    again = squinch_unpack(want, len(x), dtype=torch.bfloat16, backend="triton")
    torch.testing.assert_close(again.float(), values, rtol=1e-2, atol=0)


def test_a_block_is_48_bits_as_published() -> None:
    x = torch.tensor([1.0, -0.5, 0.25, -0.125, 0.0625, 0.01, -0.001, 0.9])
    payload = reference_pack(x)
    assert len(payload) == packed_bytes(8) == TILE_BYTES
    assert packed_bytes(TILE * 3) == TILE * 3 * 6 // 8
    q_max, signs = int(payload[0]), int(payload[1])
    assert q_max == int(6 * math.log(1.0) + 129)
    assert signs == 0b01001010
    bound = math.exp((q_max - 128) / 6)
    codes = [int(payload[2 * BLOCKS + i // 2]) >> 4 * (i % 2) & 15 for i in range(8)]
    assert codes == [math.floor(16 * math.sqrt(abs(float(v)) / bound)) for v in x]
    decoded = reference_unpack(payload, 8)
    want = [math.copysign(((c + 0.5) / 16) ** 2 * bound, v) for c, v in zip(codes, x, strict=True)]
    torch.testing.assert_close(decoded, torch.tensor(want))


def test_the_bound_is_above_the_largest_and_close() -> None:
    x = gradients(TILE)
    bound = ((exponents(reference_pack(x)).float() - 128) / 6).exp()
    largest = x.view(-1, 8).abs().amax(1)
    assert (bound >= largest * (1 - 1e-6)).all()
    assert (bound <= largest * math.exp(1 / 6) * (1 + 1e-5)).all()


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("noise", [None, Noise(9)])
def test_zeros_small_large_and_what_is_not_finite(
    device: torch.device, backend: str, noise: Noise | None
) -> None:
    x = torch.zeros(48, device=device)
    x[8:16] = 1e-12  # below the range
    x[17] = 3e38  # above it
    x[24:32], x[29] = 1.0, float("nan")
    x[33] = float("-inf")
    x[40] = -1e-3
    payload = squinch_pack(x, noise=noise, backend=backend)
    got = squinch_unpack(payload, 48, backend=backend)
    assert (got[:16] == 0).all()
    assert float(got[17]) == pytest.approx(math.exp(126 / 6) * (15.5 / 16) ** 2, rel=1e-5)
    assert got[24:40].isnan().all()
    assert got[:24].isfinite().all()
    assert float(got[40]) == pytest.approx(-1e-3, rel=0.2)
    assert (got[41:].abs() <= 1.2e-3 / 800).all(), "a zero beside others is the smallest step"


def test_stochastic_rounding_is_unbiased_and_repeats() -> None:
    x = gradients(64)
    x[:8] = torch.tensor([1.0, 0.999, 0.0, 1e-4, -1e-5, 0.3, -0.77, 0.05])
    runs = 4000
    payload = squinch_pack(x.repeat(runs), noise=Noise(3))
    got = squinch_unpack(payload, 64 * runs).view(runs, 64).double()
    spread = got.std(0) / runs**0.5
    assert ((got.mean(0) - x.double()).abs() <= 5 * spread + 1e-4 * x.double().abs()).all()
    assert torch.equal(squinch_pack(x, noise=Noise(3, 1)), squinch_pack(x, noise=Noise(3, 1)))
    assert not torch.equal(squinch_pack(x, noise=Noise(3, 1)), squinch_pack(x, noise=Noise(4, 1)))


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_error_feedback_gives_later_what_was_lost(device: torch.device, backend: str) -> None:
    x = gradients(64, device, seed=2)
    residual = torch.zeros_like(x)
    total = torch.zeros_like(x)
    for _ in range(20):
        total += squinch_unpack(squinch_pack(x, residual=residual, backend=backend), 64)
    torch.testing.assert_close(total + residual, 20 * x, rtol=1e-4, atol=1e-6)
    assert (total - 20 * x).norm() < 0.4 * (20 * (compare.squinch(x) - x)).norm()
    x[5] = float("inf")
    squinch_pack(x, residual=residual, backend=backend)
    assert residual.isfinite().all()
    assert (residual[:8] == 0).all()


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("noise", [None, Noise(1)])
def test_rows_are_packed_each_by_itself(
    device: torch.device, backend: str, noise: Noise | None
) -> None:
    x = gradients(3 * 4160, device).view(3, 4160)
    residual = torch.zeros_like(x)
    payload = squinch_pack(x, noise=noise, residual=residual, backend=backend)
    assert payload.shape == (3, 2 * TILE_BYTES)
    for row, part, left in zip(x, payload, residual, strict=True):
        decoded = reference_unpack(part, 4160)
        torch.testing.assert_close(decoded + left, row, rtol=1e-4, atol=1e-9)
        if noise is None:
            assert (part != reference_pack(row)).float().mean() < 1e-3


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_payloads_are_added_up(device: torch.device, backend: str) -> None:
    parts = [gradients(5000, device, seed=s) for s in range(3)]
    payload = torch.stack([reference_pack(p) for p in parts])
    got = squinch_unpack(payload, 5000, factor=1 / 3, backend=backend)
    want = sum(reference_unpack(p, 5000).double() for p in payload) / 3
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-8)


def test_another_format(device: torch.device) -> None:
    x = gradients(256, device)
    form = Format(steps=8.0, bias=200)
    payload = reference_pack(x, form=form)
    assert not torch.equal(exponents(payload), exponents(reference_pack(x)))
    assert compare.errors(x, reference_unpack(payload, 256, form)).relative_l2 < 0.05
    triton = squinch_pack(x, form=form, backend="triton")
    assert (triton != payload).sum() <= 1


def test_errors_beside_other_codes_of_the_size() -> None:
    """The figures that the design expects: a small error of the logarithm, not the smallest L2."""
    found = {
        (name, code): compare.errors(x, compare.CODES[code].round_trip(x))
        for name, x in compare.draws(1 << 14).items()
        for code in compare.CODES
    }
    normal = found["normal", "squinch"]
    assert normal.relative_l2 == pytest.approx(0.047, abs=0.003)
    assert normal.log_error == pytest.approx(0.073, abs=0.01)
    assert normal.cosine > 0.9985
    assert normal.size_ratio == pytest.approx(0.998, abs=0.004)
    assert found["normal", "uniform, same size"].relative_l2 < normal.relative_l2
    wide = "log-uniform, 4 decades"
    assert found[wide, "squinch"].lost == 0
    assert found[wide, "uniform, same size"].lost > 0.3
    assert found[wide, "int8, groups of 128"].lost > 0.3
    assert found["normal", "bf16"].relative_l2 < 0.01


def test_work_and_sizes() -> None:
    assert flops_and_bytes(TILE * 10).bytes == TILE * 10 * 2.75
    assert flops_and_bytes(TILE * 10, torch.float32).bytes == TILE * 10 * 4.75
    assert len(squinch_pack(torch.zeros(0))) == 0
    assert len(squinch_unpack(torch.zeros(0, dtype=torch.uint8), 0)) == 0


BAD = {
    "x: dtype is": lambda: squinch_pack(torch.zeros(8).double()),
    "x: shape is": lambda: squinch_pack(torch.zeros(8, 8, 8)),
    "residual: shape is": lambda: squinch_pack(torch.zeros(8), residual=torch.zeros(9)),
    "out: shape is": lambda: squinch_pack(torch.zeros(8), out=torch.zeros(6, dtype=torch.uint8)),
    "payload: has 6 bytes": lambda: squinch_unpack(torch.zeros(6, dtype=torch.uint8), 8),
    "payload: dtype is": lambda: squinch_unpack(torch.zeros(3072), 8),
    "backend: is 'cuda'": lambda: squinch_pack(torch.zeros(8), backend="cuda"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_noise_is_uniform_and_depends_on_everything() -> None:
    blocks, cpu = 1 << 14, torch.device("cpu")
    numbers = noise_numbers(Noise(3, 1), blocks, cpu)
    assert int(numbers.min()) >= 0
    assert int(numbers.max()) < 1 << 16
    for column in numbers.T:
        counts = torch.bincount(column >> 8, minlength=256).double()
        expected = blocks / 256
        chi2 = float(((counts - expected) ** 2 / expected).sum())
        assert chi2 < 255 + 6 * (2 * 255) ** 0.5, "six standard deviations"
    for other in (Noise(4, 1), Noise(3, 2), Noise(3 | 1 << 40, 1)):
        same = (noise_numbers(other, blocks, cpu) == numbers).double().mean()
        assert same < 1e-3
    correlation = torch.corrcoef(numbers.T.double()) - torch.eye(8)
    assert correlation.abs().max() < 0.05
