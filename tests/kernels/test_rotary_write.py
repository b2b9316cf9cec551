"""Rotation, quantisation and the write into pages against float64, in Triton's interpreter."""

import math

import pytest
import torch

from kernels.common.device import is_interpreted
from kernels.common.example import POISON, RotaryInputs, rotary_inputs
from kernels.common.layout import KVPages, gather_context, stored
from kernels.rotary_write import flops_and_bytes, reference, rotary_table, rotary_write

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="on a GPU, gpu/ has these")

BASE, REACH = 10000.0, 4096
TABLE = rotary_table(REACH, BASE)
ROUNDING = 0.501  # of int8, in its steps
FP16_ERROR = 0.004  # a step of fp16 at the clamp's 4, where two are added

CASES = {
    "decode": {"tokens": 3, "heads": 64},
    "40 heads, prefill": {"tokens": 37, "heads": 40, "order": "prefill"},
    "backwards, with gaps": {"tokens": 35, "heads": 8, "order": "ragged"},
    "with gaps": {"tokens": 70, "heads": 5, "order": "ragged"},
    "one token": {"tokens": 1, "heads": 128, "order": "prefill"},
    "16 tokens": {"tokens": 16, "heads": 3, "order": "prefill"},
    "grouped": {"tokens": 40, "heads": 6, "kv_heads": 2, "order": "ragged"},
    "multi-head": {"tokens": 19, "heads": 3, "kv_heads": 3, "order": "prefill"},
    "half": {"tokens": 21, "heads": 40, "is_int8": False, "order": "ragged"},
    "half, grouped": {"tokens": 5, "heads": 6, "kv_heads": 3, "is_int8": False},
}
Q_ALONE = {
    "int8": {"tokens": 5, "heads": 40},
    "grouped": {"tokens": 3, "heads": 6, "kv_heads": 2},
    "half": {"tokens": 5, "heads": 7, "is_int8": False},
}


def call(inputs: RotaryInputs, **options: object) -> tuple[torch.Tensor, torch.Tensor | None]:
    return rotary_write(**{**inputs._asdict(), "table": TABLE, **options})


def poisoned(case: dict[str, int]) -> dict[str, torch.Tensor | None]:
    tokens, heads = case["tokens"], case["heads"]
    if not case.get("is_int8", True):
        return {"q": torch.full((tokens, heads, 128), float("nan"), dtype=torch.float16)}
    q = torch.full((tokens, heads, 128), POISON, dtype=torch.int8)
    return {"q": q, "q_scale": torch.full((tokens, heads), float("nan"))}


def wanted(inputs: RotaryInputs, case: dict[str, int]):
    return reference(
        inputs.qkv, inputs.positions, BASE, heads=case["heads"], kv_heads=case.get("kv_heads", 1),
        k_scale=inputs.k_scale, v_scale=inputs.v_scale,
    )  # fmt: skip


def check_q(inputs: RotaryInputs, case: dict[str, int], seen) -> None:
    want = wanted(inputs, case)
    error = (seen.values.double() - want.q).abs().max()
    assert error <= (FP16_ERROR if seen.scale is None else ROUNDING)
    if seen.scale is not None:
        torch.testing.assert_close(seen.scale.double(), want.q_scale, rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case: str) -> None:
    inputs = rotary_inputs(**CASES[case], seed=len(case))
    out = poisoned(CASES[case])
    seen = call(inputs, check=True, **out)
    assert seen.values is out["q"]
    check_q(inputs, CASES[case], seen)
    want, written = wanted(inputs, CASES[case]), inputs.slots >= 0
    for found, exact in zip(stored(inputs.pages, inputs.slots), (want.k, want.v), strict=True):
        error = (found.double() - exact)[written].abs().max()
        assert error <= (ROUNDING if inputs.pages.is_int8 else FP16_ERROR)


@pytest.mark.parametrize("case", CASES)
def test_nothing_but_its_slots_is_written(case: str) -> None:
    inputs = rotary_inputs(**CASES[case])
    call(inputs)
    size = inputs.pages.k.shape[0] * 128
    rest = torch.ones(size, dtype=torch.bool)
    rest[inputs.slots[inputs.slots >= 0].long()] = False
    others = rest.nonzero()[:, 0].int()
    assert len(others) == size - int((inputs.slots >= 0).sum())
    for found in stored(inputs.pages, others):
        assert (found == POISON).all()


@pytest.mark.parametrize("case", Q_ALONE)
def test_layers_that_share_the_pages_of_another_turn_q_alone(case: str) -> None:
    inputs = rotary_inputs(**Q_ALONE[case], order=None)
    check_q(inputs, Q_ALONE[case], call(inputs, **poisoned(Q_ALONE[case])))


def test_a_prompt_in_pieces_gives_the_same_pages_as_whole() -> None:
    """Groups of 16 tokens that a piece cuts are written byte by byte, the others at once."""
    whole = rotary_inputs(60, 2, order="prefill")
    call(whole)
    pages = KVPages(*(t.clone().fill_(POISON) for t in whole.pages))
    for low, high in ((0, 1), (1, 30), (30, 60)):
        call(
            whole._replace(
                qkv=whole.qkv[low:high], positions=whole.positions[low:high], pages=pages,
                slots=whole.slots[low:high],
            )
        )  # fmt: skip
    assert torch.equal(pages.k, whole.pages.k)
    assert torch.equal(pages.v, whole.pages.v)


def test_attention_finds_the_tokens_in_order() -> None:
    inputs = rotary_inputs(128, 2, order="prefill")
    slots = torch.arange(128, 256, dtype=torch.int32)
    call(inputs._replace(slots=slots))
    want = wanted(inputs, {"heads": 2})
    k, v = gather_context(inputs.pages, torch.tensor([1]))
    assert (k[0].double() - want.k[:, 0]).abs().max() <= ROUNDING
    assert (v[0].double() - want.v[:, 0]).abs().max() <= ROUNDING


def test_scores_depend_on_the_distance_alone() -> None:
    """What a rotation is for: <q at m, k at n> is a function of m - n."""
    x = torch.randn((1, 256), generator=torch.Generator().manual_seed(2)).bfloat16()
    scores = []
    for m, n in ((5, 2), (3003, 3000)):
        turned = reference(x.repeat(2, 1), torch.tensor([m, n]), BASE, heads=2).q
        scores.append(float(turned[0, 0] @ turned[1, 1]))
    assert math.isclose(scores[0], scores[1], rel_tol=1e-9)


def test_q_real_is_q_int8_times_its_scale_over_that_of_k() -> None:
    inputs = rotary_inputs(4, 6, 2, order=None)
    seen = call(inputs)
    real = seen.values.double() * seen.scale.double()[..., None]
    real /= inputs.k_scale.double().repeat_interleave(3, 0)
    plain = reference(inputs.qkv, inputs.positions, BASE, heads=6, kv_heads=2).q
    step = seen.scale.double()[..., None] / inputs.k_scale.double().repeat_interleave(3, 0)
    assert ((real - plain).abs() <= step * ROUNDING).all()


def test_strided_rows_and_a_head_of_zeros() -> None:
    inputs = rotary_inputs(3, 4, order=None)
    inputs.qkv[1, :128] = 0
    wide = torch.full((3, 900), 3.0, dtype=torch.bfloat16)
    wide[:, 64:576] = inputs.qkv
    seen, want = call(inputs._replace(qkv=wide[:, 64:576])), call(inputs)
    assert torch.equal(seen.values, want.values)
    assert torch.equal(seen.scale, want.scale)
    assert (seen.values[1, 0] == 0).all()
    assert seen.scale[1, 0] == 1


def test_the_table_is_exact_far_out() -> None:
    table = rotary_table(32768, BASE)
    assert table[32767, 0, 0] == torch.tensor(math.cos(32767))
    assert table[32767, 1, 63] == torch.tensor(math.sin(32767 * BASE ** (-63 / 64)))


def test_a_chained_launch_is_like_any_other_on_a_cpu() -> None:
    inputs = rotary_inputs(3, 8, order=None)
    assert torch.equal(call(inputs, chained=True).values, call(inputs).values)


def test_no_tokens() -> None:
    assert call(rotary_inputs(0, 4, order=None)).values.shape == (0, 4, 128)


def test_work_counts_each_byte_once() -> None:
    token = 66 * 128 * 3 + 64 * 4 + 512 + 8
    assert flops_and_bytes(100, 64).bytes == 100 * token
    assert flops_and_bytes(100, 64, writes_kv=False).bytes == 100 * (token - 2 * 128 * 3)


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


GOOD = rotary_inputs(3, 4, 2)
BAD = {
    "qkv: must be a tensor": {"qkv": None},
    "qkv: dtype is": {"qkv": torch.zeros((3, 1024))},
    "qkv: stride is": {"qkv": torch.zeros((1024, 3), dtype=torch.bfloat16).T},
    "qkv: has 1000 channels": {"qkv": torch.zeros((3, 1000), dtype=torch.bfloat16)},
    "qkv: has 896 channels": {"qkv": torch.zeros((3, 896), dtype=torch.bfloat16)},
    "qkv: has 512 channels": {"qkv": torch.zeros((3, 512), dtype=torch.bfloat16)},
    "positions: shape is": {"positions": ints(1, 2)},
    "positions: dtype is": {"positions": torch.zeros(3, dtype=torch.int64)},
    "positions: is on meta": {"positions": torch.zeros(3, dtype=torch.int32, device="meta")},
    "positions: must lie in 0 to 4095": {"positions": ints(1, 4096, 2)},
    "table: shape is": {"table": torch.zeros((9, 2, 32))},
    "table: dtype is": {"table": torch.zeros((9, 2, 64), dtype=torch.float64)},
    "k_scale: shape is": {"k_scale": torch.ones((2, 64))},
    "v_scale: shape is": {"v_scale": torch.ones((1, 128))},
    "v_scale: must be a tensor": {"v_scale": None},
    "v_scale: is given, but": {"pages": None, "slots": None},
    "slots: is given, but": {"pages": None},
    "slots: must be a tensor": {"slots": None},
    "slots: shape is": {"slots": ints(1, 2)},
    "slots: must be -1 or lie in 0 to 511": {"slots": ints(1, 512, 2)},
    "slots: a slot occurs twice": {"slots": ints(1, 5, 1)},
    "pages.k: shape is": {"pages": KVPages(GOOD.pages.k[:, :1], GOOD.pages.v)},
    "pages.k: dtype is": {"k_scale": None, "v_scale": None},
    "pages.v: shape is": {"pages": KVPages(GOOD.pages.k, GOOD.pages.v[1:])},
    "q: shape is": {"q": torch.zeros((3, 5, 128), dtype=torch.int8)},
    "q: dtype is": {"q": torch.zeros((3, 4, 128), dtype=torch.float16)},
    "q: does not start at": {"q": torch.zeros(1544, dtype=torch.int8)[8:].view(3, 4, 128)},
    "q_scale: shape is": {"q_scale": torch.zeros((4, 3))},
    "limit: is -4.0": {"limit": -4.0},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    q = torch.full((3, 4, 128), POISON, dtype=torch.int8)
    arguments = {**GOOD._asdict(), "table": TABLE, "q": q, "check": True, **BAD[message]}
    with pytest.raises(ValueError, match=r"^") as error:
        rotary_write(**arguments)
    assert message in str(error.value)
    for untouched in (q, GOOD.pages.k, GOOD.pages.v):
        assert (untouched == POISON).all(), "nothing was launched"


def test_half_takes_no_scales() -> None:
    half = rotary_inputs(3, 4, is_int8=False)
    with pytest.raises(ValueError, match="v_scale: is given without k_scale"):
        call(half, v_scale=torch.ones((1, 128)))
    with pytest.raises(ValueError, match="q_scale: is given, but q is fp16"):
        call(half, q_scale=torch.ones((3, 4)))
