"""Norm, residual, quantisation and the embedding on a GPU: large, ragged, repeated."""

import pytest
import torch

from kernels.common.example_operators import POISON, embedding_inputs, norm_inputs
from kernels.embedding import embedding
from kernels.embedding import reference as embedding_reference
from kernels.norm_quantise import norm_quantise, reference

pytestmark = pytest.mark.gpu
BF16_ERROR = 1.01 * 2**-8


@pytest.mark.parametrize("hidden", [5120, 7168, 10240, 333, 4097])
@pytest.mark.parametrize("tokens", [1, 65, 4099])
@pytest.mark.parametrize("dynamic", [False, True])
def test_residual_and_norm(hidden: int, tokens: int, dynamic: bool) -> None:
    x, delta, scale = norm_inputs(tokens, hidden, device="cuda")
    exact = x.double() * scale.double() + delta.double()
    again = x.clone()
    out = torch.full((tokens, hidden), POISON, dtype=torch.int8, device="cuda")
    found = norm_quantise(x, delta=delta, residual_scale=scale, out=out, dynamic=dynamic)
    assert ((x.double() - exact).abs() <= exact.abs() * BF16_ERROR).all()
    _, want, row_scale = reference(x, dynamic=dynamic)
    assert (out.double() - want).abs().max() <= 0.501
    if found.row_scale is not None:
        torch.testing.assert_close(found.row_scale.double(), row_scale, rtol=1e-5, atol=0)
    for _ in range(3):
        stream = again.clone()
        repeat = norm_quantise(stream, delta=delta, residual_scale=scale, dynamic=dynamic)
        assert torch.equal(stream, x)
        assert torch.equal(repeat.values, out)
    assert torch.equal(norm_quantise(x, dynamic=dynamic).values, out), "as in two launches"


def test_gathered_rows() -> None:
    x = norm_inputs(3000, 5120, device="cuda").x
    rows = torch.randint(-1, 3001, (700,), device="cuda").int()
    found = norm_quantise(x, rows=rows).values
    assert (found.double() - reference(x, rows=rows)[1]).abs().max() <= 0.501


@pytest.mark.parametrize("hidden", [5120, 7168, 333])
@pytest.mark.parametrize("tokens", [1, 255, 4099])
def test_embedding(hidden: int, tokens: int) -> None:
    ids, table, scale = embedding_inputs(tokens, 65536, hidden, device="cuda")
    ids[tokens // 2] = -1
    out = torch.full((tokens, hidden), float("nan"), dtype=torch.bfloat16, device="cuda")
    embedding(ids, table, scale, scale=10.667, out=out)
    want = embedding_reference(ids, table, scale, 10.667)
    assert ((out.double() - want).abs() <= want.abs() * BF16_ERROR).all()
    assert torch.equal(embedding(ids, table, scale, scale=10.667), out)
