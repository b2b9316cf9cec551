"""Squinch on a GPU: large, ragged, repeated, and over NCCL where there are two."""

import pytest
import torch

from kernels.training.squinch.codec import reference_pack, reference_unpack
from kernels.training.squinch.noise import Noise
from kernels.training.squinch.pack import squinch_pack, squinch_unpack

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("count", [1 << 24, (1 << 22) + 1003, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", [None, Noise(11, 2)])
def test_large_tensors_equal_the_reference(
    count: int, dtype: torch.dtype, noise: Noise | None
) -> None:
    x = torch.randn(count, device="cuda") * 10 ** (-8 * torch.rand(count, device="cuda"))
    x = x.to(dtype)
    got = squinch_pack(x, noise=noise)
    want = reference_pack(x, noise)
    assert (got != want).float().mean() < 2e-3, "but for logarithms and roots at whole numbers"
    assert torch.equal(squinch_pack(x, noise=noise), got)
    decoded = squinch_unpack(got, count)
    torch.testing.assert_close(decoded, reference_unpack(got, count), rtol=1e-5, atol=0)


def test_what_is_not_finite_is_found_and_feedback_keeps_nothing_of_it() -> None:
    x = torch.randn(1 << 20, device="cuda")
    x[12345], x[99] = float("nan"), float("inf")
    residual = torch.zeros_like(x)
    decoded = squinch_unpack(squinch_pack(x, residual=residual), len(x))
    assert int(decoded.isnan().sum()) == 16
    assert residual.isfinite().all()
    torch.testing.assert_close((decoded + residual)[1024:8192], x[1024:8192], rtol=1e-4, atol=1e-6)


def test_zeros_stay_zeros() -> None:
    x = torch.zeros(1 << 20, device="cuda")
    assert (squinch_unpack(squinch_pack(x, noise=Noise(1)), len(x)) == 0).all()
