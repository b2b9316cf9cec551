"""Norm, clamp, int8 and the residual sum against float64, through Triton's interpreter."""

import pytest
import torch

from kernels.common.device import is_interpreted
from kernels.common.example import norm_inputs
from kernels.norm_quantise import EPS, LIMIT, flops_and_bytes, norm_quantise, reference

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="on a GPU, gpu/ has these")

BF16_ERROR = 2**-7
"""Of a value. The interpreter cuts off what a GPU rounds."""

SHAPES = [(3, 5120), (2, 7168), (5, 333), (1, 7), (4, 1), (9, 4097), (2, 1536)]


def poisoned(tokens: int, hidden: int) -> torch.Tensor:
    return torch.full((tokens, hidden), 77, dtype=torch.int8)


@pytest.mark.parametrize(("tokens", "hidden"), SHAPES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_norm_equals_the_reference(tokens: int, hidden: int, dynamic: bool) -> None:
    x = norm_inputs(tokens, hidden).x
    before, out = x.clone(), poisoned(tokens, hidden)
    given = torch.full((tokens,), float("nan")) if dynamic else None
    normed = norm_quantise(x, out=out, row_scale=given, dynamic=dynamic)
    assert normed.values is out
    assert normed.row_scale is given
    assert torch.equal(x, before), "x is only read"
    _, want, scale = reference(x, dynamic=dynamic)
    assert (out.double() - want).abs().max() <= 0.501
    if given is not None:
        torch.testing.assert_close(given.double(), scale, rtol=1e-6, atol=0)
        assert (out.abs().amax(1) == 127)[x.any(1)].all(), "each row uses all of int8"


@pytest.mark.parametrize(("tokens", "hidden"), SHAPES)
@pytest.mark.parametrize("kind", [None, torch.float32, torch.bfloat16])
def test_with_a_residual_the_stream_is_updated_and_what_was_written_is_normed(
    tokens: int, hidden: int, kind: torch.dtype | None
) -> None:
    x, delta, scale = norm_inputs(tokens, hidden)
    scale = None if kind is None else scale.to(kind)
    exact = x.double() * (1.0 if scale is None else scale.double()) + delta.double()
    out = poisoned(tokens, hidden)
    norm_quantise(x, delta=delta, residual_scale=scale, out=out)
    assert ((x.double() - exact).abs() <= exact.abs() * BF16_ERROR).all()
    assert (out.double() - reference(x)[1]).abs().max() <= 0.501
    assert torch.equal(norm_quantise(x).values, out), "the same bits as in two launches"


def test_the_reference_rounds_the_stream_once() -> None:
    x, delta, scale = norm_inputs(3, 64)
    stream, normed, row_scale = reference(x, delta=delta, residual_scale=scale)
    want = (x.double() * scale.double() + delta.double()).float().bfloat16()
    assert torch.equal(stream, want)
    rms = (want.double().square().mean(1) + EPS).sqrt()
    torch.testing.assert_close(
        normed * row_scale[:, None], (want.double() / rms[:, None]).clamp(-LIMIT, LIMIT)
    )


def test_strided_rows_are_read_and_their_neighbours_left_alone() -> None:
    x, delta, scale = norm_inputs(4, 640)
    wide = torch.full((4, 1000), 5.0, dtype=torch.bfloat16)
    wide[:, 100:740] = x
    view = wide[:, 100:740]
    out = norm_quantise(view, delta=delta, residual_scale=scale).values
    assert torch.equal(out, norm_quantise(x, delta=delta, residual_scale=scale).values)
    assert torch.equal(view, x)
    assert (wide[:, :100] == 5).all()
    assert (wide[:, 740:] == 5).all()


def test_the_clamp_is_the_largest_int8() -> None:
    x = torch.zeros((1, 400), dtype=torch.bfloat16)
    x[0, 3], x[0, 5] = 100.0, -100.0
    assert norm_quantise(x).values[0, [3, 5, 7]].tolist() == [127, -127, 0]
    halves = norm_quantise(x, limit=20.0).values[0, [3, 5]].tolist()
    assert halves == [round(200**0.5 * 127 / 20), -round(200**0.5 * 127 / 20)]


def test_unquantised() -> None:
    x = norm_inputs(3, 333).x
    out = torch.full((3, 333), float("nan"), dtype=torch.bfloat16)
    norm_quantise(x, out=out)
    _, normed, scale = reference(x)
    want = normed * scale[:, None]
    assert ((out.double() - want).abs() <= want.abs() * BF16_ERROR + 1e-6).all()


@pytest.mark.parametrize("dynamic", [False, True])
def test_rows_are_gathered_and_those_outside_give_zeros(dynamic: bool) -> None:
    x = norm_inputs(7, 333).x
    rows = torch.tensor([6, 0, -1, 6, 7], dtype=torch.int32)
    out = poisoned(5, 333)
    norm_quantise(x, rows=rows, out=out, dynamic=dynamic)
    assert (out.double() - reference(x, rows=rows, dynamic=dynamic)[1]).abs().max() <= 0.501
    assert (out[[2, 4]] == 0).all()
    assert torch.equal(out[0], out[3])


def test_gathered_rows_with_a_residual_leave_the_stream_alone() -> None:
    x, delta, scale = norm_inputs(5, 200)
    before, rows = x.clone(), torch.tensor([4, 1, 4], dtype=torch.int32)
    out = norm_quantise(x, delta=delta, residual_scale=scale, rows=rows).values
    assert torch.equal(x, before)
    norm_quantise(x, delta=delta, residual_scale=scale)
    assert torch.equal(out, norm_quantise(x, rows=rows).values)


def test_a_chained_launch_is_like_any_other_on_a_cpu() -> None:
    x = norm_inputs(3, 333).x
    assert torch.equal(norm_quantise(x, chained=True).values, norm_quantise(x).values)


def test_no_tokens() -> None:
    assert norm_quantise(torch.zeros((0, 64), dtype=torch.bfloat16)).values.shape == (0, 64)


def test_work_counts_each_byte_once() -> None:
    assert norm_work() == 512 * 5120 * 3
    assert norm_work(dynamic=True) == 512 * 5120 * 3 + 512 * 4
    assert norm_work(residual=True) == 512 * 5120 * 7 + 5120 * 4


def norm_work(**options: bool) -> float:
    return flops_and_bytes(512, 5120, **options).bytes


BF16 = {"dtype": torch.bfloat16}
BAD = {
    "x: must be a tensor": {"x": None},
    "x: shape is": {"x": torch.zeros(64, **BF16)},
    "x: dtype is": {"x": torch.zeros(3, 64)},
    "x: stride is": {"x": torch.zeros((64, 3), **BF16).T},
    "x: has 0 channels": {"x": torch.zeros((3, 0), **BF16)},
    "delta: shape is": {"delta": torch.zeros((3, 63), **BF16)},
    "delta: dtype is": {"delta": torch.zeros((3, 64))},
    "delta: is on meta": {"delta": torch.zeros((3, 64), **BF16, device="meta")},
    "residual_scale: shape is": {"residual_scale": torch.ones(63)},
    "residual_scale: dtype is": {"residual_scale": torch.ones(64, dtype=torch.float64)},
    "residual_scale: is given, but": {"delta": None},
    "rows: dtype is": {"rows": torch.zeros(3, dtype=torch.int64)},
    "rows: must lie in 0 to 2": {"rows": torch.tensor([0, 3, 1], dtype=torch.int32)},
    "out: shape is": {"rows": torch.zeros(2, dtype=torch.int32)},
    "out: dtype is": {"out": torch.zeros((3, 64))},
    "out: stride is": {"out": torch.zeros((64, 3), dtype=torch.int8).T},
    "out: is bfloat16, which has no row scale": {"out": torch.zeros((3, 64), **BF16)},
    "row_scale: shape is": {"row_scale": torch.zeros(4)},
    "row_scale: dtype is": {"row_scale": torch.zeros(3, **BF16)},
    "row_scale: is given, but dynamic is not set": {"dynamic": False},
    "limit: is 0.0": {"limit": 0.0},
    "limit: is nan": {"limit": float("nan")},
    "eps: is '1'": {"eps": "1"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    x, delta, scale = norm_inputs(3, 64)
    before, out = x.clone(), poisoned(3, 64)
    good = {
        "x": x, "delta": delta, "residual_scale": scale, "out": out, "dynamic": True,
        "row_scale": torch.full((3,), 7.0), "check": True,
    }  # fmt: skip
    arguments = good | BAD[message]
    with pytest.raises(ValueError, match=r"^") as error:
        norm_quantise(**arguments)
    assert message in str(error.value)
    assert (out == 77).all(), "nothing was launched"
    assert torch.equal(x, before)
