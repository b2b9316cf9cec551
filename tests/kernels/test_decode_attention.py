"""Decode attention against float64, through Triton's interpreter."""

import pytest
import torch

from kernels.common.example import DecodeInputs, decode_inputs, relative_error
from kernels.common.layout import gather_context, quantise_rows, scatter_context
from kernels.decode_attention import (
    decode_attention,
    flops_and_bytes,
    make_plan,
    reference,
)

INT8_ERROR = 0.03
"""P is rounded to 1/127 of the tile's largest: an error of 0.289 / 127 of that, against a root mean
square of P that is 4 to 7 times smaller at N(0, 2) logits; V has mean zero here, which is the worst
case, for then the output is as small as the errors are large. 0.01 to 0.03 for these few rows."""

HALF_ERROR = 0.005

CASES = {
    "40 heads, ragged": {"limits": [700, 64, 1], "heads": 40},
    "64 heads, windows": {"limits": [1300, 1024, 257], "starts": [276, 0, 256]},
    "128 heads": {"limits": [130, 1100], "heads": 128},
    "grouped": {"limits": [130, 1100], "heads": 8, "kv_heads": 4},
    "multi-head": {"limits": [129, 5], "heads": 3, "kv_heads": 3},
    "half, multi-query": {"limits": [130, 300], "heads": 40, "dtype": torch.float16},
    "half, grouped": {"limits": [257, 3], "heads": 6, "kv_heads": 2, "dtype": torch.float16},
    "page edges": {"limits": [128, 256, 129, 127], "starts": [127, 128, 128, 0], "heads": 16},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_reference(case: str, seed: int) -> None:
    inputs = decode_inputs(seed=seed, **CASES[case])
    out = torch.full(inputs.q.shape, float("nan"), dtype=torch.bfloat16)
    assert decode_attention(*inputs, out=out, check_pages=True) is out
    error = relative_error(out, reference(*inputs))
    assert error < (INT8_ERROR if inputs.kv.is_int8 else HALF_ERROR)


def test_an_empty_slot_is_zero_and_reads_no_page() -> None:
    inputs = decode_inputs([300, 200, 0], starts=[0, 200, 0], heads=16)
    inputs.pages[1:] = 1 << 30  # would fault if it were read
    out = torch.full(inputs.q.shape, float("nan"), dtype=torch.bfloat16)
    mass = torch.full((3, 16), float("nan"))
    decode_attention(*inputs, out=out, mass_out=mass)
    assert (out[1:] == 0).all()
    assert torch.isinf(mass[1:]).all()
    assert mass[0].isfinite().all()


def test_float16_pages_may_hold_anything_beside_what_is_visible() -> None:
    inputs = decode_inputs([300, 140], starts=[150, 5], heads=4, dtype=torch.float16)
    want = decode_attention(*inputs)
    for b, (low, high) in enumerate(((150, 300), (5, 140))):
        k, v = gather_context(inputs.kv, inputs.pages[b])
        for side in (slice(0, low), slice(high, None)):
            k[:, side], v[:, side] = float("nan"), float("nan")
        scatter_context(inputs.kv, inputs.pages[b], k, v)
    assert torch.equal(decode_attention(*inputs), want)


def test_an_empty_batch() -> None:
    inputs = decode_inputs([130], heads=16)
    none = {name: getattr(inputs, name)[:0] for name in ("q", "q_scale", "pages", "start", "limit")}
    assert decode_attention(*inputs._replace(**none)).shape == (0, 16, 128)
    assert make_plan(none["start"], none["limit"], heads=16).batch == 0


def test_a_plan_must_be_of_this_call() -> None:
    inputs = decode_inputs([300, 5], heads=16)
    other = decode_inputs([300, 5], heads=16)
    for plan, message in (
        ("x", "plan: must be from make_plan"),
        (make_plan(other.start, other.limit, heads=16), "plan: was made for other start"),
        (make_plan(inputs.start, inputs.limit, heads=128), "up to 128 heads each, not 1 of 16"),
        (make_plan(inputs.start, inputs.limit, heads=16, kv_heads=2), "was made for 2 KV heads"),
    ):
        with pytest.raises(ValueError, match=message):
            decode_attention(*inputs, plan=plan)
    mine = make_plan(inputs.start, inputs.limit, heads=16)
    assert torch.equal(decode_attention(*inputs, plan=mine), decode_attention(*inputs))


def test_all_slots_empty() -> None:
    inputs = decode_inputs([0, 0], heads=16)
    assert (decode_attention(*inputs) == 0).all()


def test_masses_merge_disjoint_keys() -> None:
    """Attention over [0, n) is the weighted mean of that over [0, m) and [m, n)."""
    inputs = decode_inputs([900], heads=16)
    outs, masses = [], []
    for low, high in ((0, 300), (300, 900)):
        mass = torch.empty((1, 16))
        edges = (torch.tensor([edge], dtype=torch.int32) for edge in (low, high))
        outs.append(decode_attention(*inputs[:5], *edges, mass_out=mass).double())
        masses.append(mass.double())
    weights = torch.softmax(torch.stack(masses) * 0.6931471805599453, 0)
    merged = (torch.stack(outs) * weights[..., None]).sum(0)
    assert relative_error(merged, reference(*inputs)) < INT8_ERROR


def test_int8_output_has_the_static_scale() -> None:
    inputs = decode_inputs([400, 30], heads=16)
    want = reference(*inputs)
    scale = float(want.abs().amax()) / 100
    out = decode_attention(*inputs, out_scale=scale)
    assert out.dtype == torch.int8
    rounding = 0.5 * scale + INT8_ERROR * float(want.abs().amax())
    assert (out.double() * scale - want).abs().amax() <= rounding
    assert decode_attention(*inputs, out_scale=scale / 10).abs().amax() == 127


def sink_inputs(tokens: int, height: float) -> DecodeInputs:
    """One key whose logit is about `height` nats for every head, among logits that are N(0, 1)."""
    inputs = decode_inputs([tokens], heads=16, spread=1.0, seed=3)
    generator = torch.Generator().manual_seed(4)
    common = torch.randn(128, generator=generator) / 73.3
    q, q_scale = quantise_rows(common + 0.1 * torch.randn(1, 16, 128, generator=generator) / 73.3)
    k, v = gather_context(inputs.kv, inputs.pages[0])
    key = common * (height * 128**0.5 / common.square().sum())
    k[0, 5] = key.clamp(-127, 127).round().to(torch.int8)
    scatter_context(inputs.kv, inputs.pages[0], k, v)
    return inputs._replace(q=q, q_scale=q_scale)


def naive_error(inputs: DecodeInputs) -> float:
    """The error when P is quantised against the largest score of all, not of its tile."""
    tokens = int(inputs.limit[0])
    k, v = gather_context(inputs.kv, inputs.pages[0])
    q = inputs.q[0].double() * inputs.q_scale[0].double()[:, None]
    scores = q @ k[0, :tokens].double().T * 128**-0.5
    p = torch.exp(scores - scores.amax(-1, keepdim=True)).mul(127).round()
    naive = p @ (v[0, :tokens].double() * inputs.v_scale.double()) / p.sum(-1, keepdim=True)
    return relative_error(naive, reference(*inputs)[0])


def test_an_attention_sink_does_not_silence_the_rest() -> None:
    inputs = sink_inputs(16384, 8.0)
    assert naive_error(inputs) > 0.5
    assert relative_error(decode_attention(*inputs), reference(*inputs)) < INT8_ERROR


def test_work_counts_visible_keys_only() -> None:
    start = torch.tensor([0, 100, 7], dtype=torch.int32)
    limit = torch.tensor([100, 228, 7], dtype=torch.int32)
    work = flops_and_bytes(start, limit, heads=64)
    assert work.flops == 4 * 228 * 64 * 128
    assert work.bytes == 228 * 256 + 3 * 64 * (128 + 4 + 256)


BAD = {
    "q: must be a tensor": {"q": None},
    "q: shape is": {"q": torch.zeros((2, 16, 64), dtype=torch.int8)},
    "q: dtype is torch.float16, must be torch.int8 like the pages": {
        "q": torch.zeros((2, 16, 128), dtype=torch.float16)
    },
    "q: stride is": {"q": torch.zeros((2, 128, 128), dtype=torch.int8).transpose(1, 2)},
    "q_scale: shape is": {"q_scale": torch.ones((2, 8))},
    "q_scale: must be a tensor": {"q_scale": None},
    "v_scale: dtype is": {"v_scale": torch.ones((1, 128), dtype=torch.float64)},
    "v_scale: is on meta": {"v_scale": torch.ones((1, 128), device="meta")},
    "pages: dtype is": {"pages": torch.zeros((2, 3), dtype=torch.int64)},
    "start: shape is": {"start": torch.zeros(3, dtype=torch.int32)},
    "limit: dtype is": {"limit": torch.zeros(2)},
    "start, limit: must lie in 0 to 384": {"limit": torch.tensor([385, 1], dtype=torch.int32)},
    "pages: entry [0, 1] is 99": {"pages": torch.tensor([[0, 99, 1]] * 2, dtype=torch.int32)},
    "q: 16 heads, must be a multiple": {"kv": decode_inputs([1], heads=3, kv_heads=3).kv},
    "out: dtype is": {"out": torch.zeros((2, 16, 128))},
    "mass_out: shape is": {"mass_out": torch.zeros((2, 15))},
    "softmax_scale: is nan": {"softmax_scale": float("nan")},
    "out_scale: is 0.0": {"out_scale": 0.0},
    "kv: must be KVPages": {"kv": None},
    "backend: 'cuda' is none of": {"backend": "cuda"},
    "backend: 'hopper' is not possible": {"backend": "hopper"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    inputs = decode_inputs([300, 5], heads=16)._asdict()
    out = torch.full((2, 16, 128), 7.0, dtype=torch.bfloat16)
    arguments = {**inputs, "out": out, "check_pages": True, **BAD[message]}
    with pytest.raises(ValueError, match=r"^") as error:
        decode_attention(**arguments)
    assert message in str(error.value)
    assert (out == 7.0).all(), "nothing was launched"


def test_the_same_context_on_other_pages_gives_the_same_bits() -> None:
    inputs = decode_inputs([400, 77], heads=16)
    order = torch.randperm(inputs.kv.k.shape[0], generator=torch.Generator().manual_seed(9))
    where = torch.argsort(order).to(torch.int32)
    moved = type(inputs.kv)(inputs.kv.k[order], inputs.kv.v[order])
    again = decode_attention(*inputs._replace(kv=moved, pages=where[inputs.pages.long()]))
    assert torch.equal(decode_attention(*inputs), again)
