"""Norm, residual, quantisation and the embedding on a GPU: large, ragged, repeated."""

import pytest
import torch

from kernels.common.example import POISON, embedding_inputs, norm_inputs
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
    for chained in (False, True, True):
        stream = again.clone()
        repeat = norm_quantise(
            stream, delta=delta, residual_scale=scale, dynamic=dynamic, chained=chained
        )
        assert torch.equal(stream, x)
        assert torch.equal(repeat.values, out)
    alone = norm_quantise(x, dynamic=dynamic).values
    assert (alone.double() - want).abs().max() <= 0.501
    differs = alone != out  # the squares may be added up in another order
    assert ((want - want.floor() - 0.5)[differs].abs() < 1e-3).all(), "but for ties, as in two"


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


def test_a_chain_of_sublayers_equals_one_launch_after_another() -> None:
    """Each launch reads what the one before it wrote."""
    x, delta, scale = norm_inputs(512, 5120, device="cuda")
    scale /= 1.1 * scale.max()  # the streams stay finite
    streams = x.clone(), x.clone()
    outs = torch.zeros((2, 512, 5120), dtype=torch.int8, device="cuda")
    for _ in range(50):
        for stream, out, chained in zip(streams, outs, (False, True), strict=True):
            norm_quantise(stream, delta=delta, residual_scale=scale, out=out, chained=chained)
    torch.cuda.synchronize()
    for _ in range(50):
        norm_quantise(streams[1], delta=delta, residual_scale=scale, out=outs[1], chained=True)
    for _ in range(50):
        norm_quantise(streams[0], delta=delta, residual_scale=scale, out=outs[0])
    assert torch.equal(streams[0], streams[1])
    assert torch.equal(outs[0], outs[1])
