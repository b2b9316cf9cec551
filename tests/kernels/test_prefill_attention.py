"""Prefill attention against float64: shapes, visibility, dtypes, outputs, bad arguments."""

from typing import Any

import pytest
import torch

from kernels.common import tiles, visibility
from kernels.common.example import PrefillInputs, prefill_inputs, relative_error
from kernels.common.layout import PAGE, gather_context, scatter_context
from kernels.common.visibility import Visibility
from kernels.prefill_attention import flops_and_bytes, make_plan, prefill_attention, reference

ON_HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
# P in steps of 1/127 of the largest, logits of N(0, 2): 0.026 of the output, on Hopper, where the
# largest is that of two pages, 0.042. float16: what bfloat16 leaves.
INT8_ERROR, FP16_ERROR = 0.05 if ON_HOPPER else 0.03, 0.004
SINK_ERROR = 0.08 if ON_HOPPER else 0.04


def poisoned(given: PrefillInputs, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.full(given.q.shape, 77 if dtype == torch.int8 else float("nan"), dtype=dtype).to(
        given.q.device
    )


def check(given: PrefillInputs, most: float = INT8_ERROR, **keyed: Any) -> torch.Tensor:
    """The output agrees with the reference, over a poisoned one; returns it."""
    want = reference(*given, **keyed)
    out = prefill_attention(*given, **keyed, out=poisoned(given), check_pages=True)
    assert relative_error(out, want) < most
    worst = (out.double() - want).norm(dim=-1) / want.norm(dim=-1).clamp(min=1e-9)
    assert float(worst.max()) < 5 * most
    return out


def with_visibility(given: PrefillInputs, seen: Visibility) -> PrefillInputs:
    return given._replace(start=seen.start, limit=seen.limit)


@pytest.mark.parametrize(
    ("lengths", "cached"),
    [
        ([1], [0]),
        ([3, 1, 5], [0, 127, 128]),
        ([2, 0, 3], [130, 5, 255]),
        ([131], [0]),
        ([5], [507]),
    ],
)
def test_ragged_chunks_after_cached_prefixes(lengths: list[int], cached: list[int], device) -> None:
    check(prefill_inputs(lengths, cached, heads=8, device=str(device)))


@pytest.mark.parametrize(
    ("heads", "kv_heads"), [(40, 1), (64, 1), (128, 1), (6, 6), (32, 4), (3, 1), (24, 3)]
)
@pytest.mark.parametrize("dtype", [torch.int8, torch.float16])
def test_heads(heads: int, kv_heads: int, dtype: torch.dtype, device) -> None:
    given = prefill_inputs(
        [4, 3], [126, 0], heads=heads, kv_heads=kv_heads, dtype=dtype, device=str(device)
    )
    check(given, INT8_ERROR if dtype == torch.int8 else FP16_ERROR)


@pytest.mark.parametrize("window", [1, 100, 128, 300])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float16])
def test_windows(window: int, dtype: torch.dtype, device) -> None:
    given = prefill_inputs(
        [9, 20], [380, 0], window=window, heads=16, dtype=dtype, device=str(device)
    )
    check(given, INT8_ERROR if dtype == torch.int8 else FP16_ERROR)


def test_packed_documents(device) -> None:
    given = prefill_inputs([150, 20], [0, 0], heads=4, device=str(device))
    ends = torch.tensor([0, 10, 140, 141, 150, 165, 170], dtype=torch.int32, device=device)
    check(with_visibility(given, visibility.documents(given.cu_q, ends, 170)))


def test_a_prefix_that_sees_itself_both_ways(device) -> None:
    given = prefill_inputs([140, 7], [0, 130], heads=4, device=str(device))
    cached, prefix = (torch.tensor(n, device=device) for n in ([0, 130], [135, 134]))
    check(with_visibility(given, visibility.prefix_bidirectional(given.cu_q, cached, prefix, 147)))


def test_empty_slots_are_zero_and_disturb_nobody(device) -> None:
    given = prefill_inputs([6, 40, 1], [130, 0, 3], heads=16, device=str(device))
    live = torch.arange(47, device=device) % 3 == 0
    live[6:30] = False
    causal = visibility.causal(given.cu_q, torch.tensor([130, 0, 3], device=device), 47)
    out = check(with_visibility(given, visibility.empty_slots(causal, live)))
    assert (out[~live] == 0).all()


def test_nothing_visible_at_all(device) -> None:
    given = prefill_inputs([3], [4], heads=4, device=str(device))
    out = prefill_attention(*given._replace(limit=given.start), out=poisoned(given))
    assert (out == 0).all()


TREE = [-1, 0, 1, 1, 0, 4, 4, 6, -1, 8, 8, -1]


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16])
@pytest.mark.parametrize("cached", [[0, 5], [125, 300]])
def test_trees_with_siblings(cached: list[int], dtype: torch.dtype, device) -> None:
    seen = visibility.trees([TREE, TREE[:3]], cached, device)
    given = prefill_inputs([12, 3], cached, heads=16, dtype=dtype, device=str(device))
    most = INT8_ERROR if dtype == torch.int8 else FP16_ERROR
    keyed = {"key_limit": seen.key_limit, "positions": seen.positions}
    check(with_visibility(given, seen), most, **keyed)


def test_beams_longer_than_a_page(device) -> None:
    seen = visibility.beams([[70, 100, 30], [2, 2]], [130, 1], device)
    given = prefill_inputs([200, 4], [130, 1], heads=2, device=str(device))
    keyed = {"key_limit": seen.key_limit, "positions": seen.positions}
    check(with_visibility(given, seen), **keyed)


def test_a_tree_is_what_its_paths_are_alone(device) -> None:
    """Each node of a tree gets what it would as the end of a sequence of its ancestors alone."""
    seen = visibility.trees([TREE], [20], device)
    given = with_visibility(prefill_inputs([12], [20], heads=4, device=str(device)), seen)
    out = prefill_attention(*given, key_limit=seen.key_limit, positions=seen.positions)
    k, v = gather_context(given.kv, given.pages[0])
    for node, path in ((3, [0, 1, 3]), (7, [0, 4, 6, 7]), (10, [8, 10]), (11, [11])):
        order = torch.tensor([*range(20), *(20 + n for n in path)], device=device)
        rest = torch.arange(PAGE - len(order), device=device)
        index = torch.cat((order, rest))
        scatter_context(given.kv, given.pages[0], k[:, index], v[:, index])
        alone = given._replace(
            q=given.q[node : node + 1],
            q_scale=given.q_scale[node : node + 1],
            cu_q=given.cu_q.clamp(max=1),
            start=given.start[:1],
            limit=torch.full_like(given.limit[:1], len(order)),
        )
        assert relative_error(prefill_attention(*alone)[0], out[node]) < 0.01
        scatter_context(given.kv, given.pages[0], k, v)


def test_an_attention_sink_does_not_drown_the_rest(device) -> None:
    """One key 8 nats above the rest, of which P against the running maximum leaves no trace: the
    output would be that key's value. Against each step's own, only the sink's suffers."""
    given = prefill_inputs([2], [1500], heads=16, device=str(device), spread=1.0)
    k, v = gather_context(given.kv, given.pages[0])
    real = given.q[0, 0].float() * given.q_scale[0, 0]
    k[:, 0] = (real / real.abs().max() * 127).round().to(torch.int8)
    q = given.q[0, 0].expand_as(given.q).contiguous()
    scale = 8 / (q[0, 0].float() @ k[0, 0].float() * 128**-0.5)
    scatter_context(given.kv, given.pages[0], k, v)
    given = given._replace(q=q, q_scale=torch.full_like(given.q_scale, float(scale)))
    check(given, SINK_ERROR)
    only_sink = (v[0, 0] * given.v_scale[0]).expand(given.q.shape)
    assert relative_error(only_sink, reference(*given)) > 0.4


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16])
def test_what_lies_after_the_last_key_does_not_matter(dtype: torch.dtype, device) -> None:
    given = prefill_inputs([5], [140], heads=8, dtype=dtype, device=str(device))
    before = prefill_attention(*given)
    k, v = gather_context(given.kv, given.pages[0])
    k[:, 145:], v[:, 145:] = (127, 127) if given.kv.is_int8 else (float("nan"), float("nan"))
    scatter_context(given.kv, given.pages[0], k, v)
    assert torch.equal(prefill_attention(*given), before)


def test_int8_output_with_a_static_scale(device) -> None:
    given = prefill_inputs([5], [100], heads=8, device=str(device))
    want = reference(*given)
    scale = float(want.abs().max()) / 100
    out = prefill_attention(*given, out=poisoned(given, torch.int8), out_scale=scale)
    assert relative_error(out.double() * scale, want) < 0.02 + INT8_ERROR
    clipped = prefill_attention(*given, out_scale=scale / 4)
    assert int(clipped.max()) == 127
    assert int(clipped.min()) == -127


def test_one_plan_serves_every_layer_and_is_filled_again(device) -> None:
    given = prefill_inputs([5, 9], [100, 250], heads=16, device=str(device))
    plan = make_plan(*given[5:], heads=16)
    first = prefill_attention(*given, plan=plan)
    assert torch.equal(first, prefill_attention(*given))
    given.limit.sub_(3)
    again = prefill_attention(*given, plan=tiles.fill(plan))
    assert relative_error(again, reference(*given)) < INT8_ERROR


def test_tokens_after_the_last_sequence_are_not_written(device) -> None:
    given = prefill_inputs([5, 4], [0, 0], heads=8, device=str(device))
    given = given._replace(cu_q=given.cu_q.clamp(max=7))
    out = prefill_attention(*given, out=poisoned(given))
    assert out[7:].isnan().all()
    assert relative_error(out[:7], reference(*given)[:7]) < INT8_ERROR


def test_another_softmax_scale(device) -> None:
    given = prefill_inputs([5], [30], heads=8, device=str(device))
    check(given, softmax_scale=0.02)


def test_a_page_table_wider_than_its_rows(device) -> None:
    given = prefill_inputs([5, 3], [200, 30], heads=8, device=str(device))
    wide = torch.full((2, 9), -1, dtype=torch.int32, device=device)
    wide[:, : given.pages.shape[1]] = given.pages
    check(given._replace(pages=wide[:, :7]))


def test_pages_that_need_no_mask_are_told_from_the_rest(device) -> None:
    given = prefill_inputs([4], [300], window=200, heads=64, device=str(device))
    records = make_plan(*given[5:], heads=64).records
    assert records[:2, 4:].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert records[:2, 2].tolist() == [128, 0]
    assert (records[2:] == 0).all()


def test_work_counts_visible_pairs_and_each_key_once(device) -> None:
    given = prefill_inputs([2, 1], [3, 0], heads=64, device=str(device))
    work = flops_and_bytes(*given[5:], heads=64)
    assert work.flops == 4 * (4 + 5 + 1) * 64 * 128
    assert work.bytes == (5 + 1) * 256 + 3 * 64 * (128 + 4 + 256)
    assert flops_and_bytes(*given[5:], heads=64, pairs=7).flops == 4 * 7 * 64 * 128


GOOD = prefill_inputs([5, 4], [0, 130], heads=8)
KEYS = visibility.trees([[-1] * 5, [-1] * 4], [0, 130])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("q", None, "q: must be a tensor"),
        ("q", GOOD.q.float(), "q: dtype is torch.float32"),
        ("q", GOOD.q.half(), "q: dtype is torch.float16, must be torch.int8 like the pages"),
        ("q", GOOD.q[..., :64], r"q: shape is \[9, 8, 64\]"),
        ("q", GOOD.q.mT.contiguous().mT, "q: shape is|q: stride is"),
        ("q", GOOD.q[:, :0], "q: 0 heads"),
        ("q_scale", None, "q_scale: must be a tensor"),
        ("q_scale", GOOD.q_scale[:3], r"q_scale: shape is \[3, 8\]"),
        ("kv", GOOD.kv._replace(v=GOOD.kv.v.flatten(2, 3)), "kv.v: shape is"),
        ("kv", GOOD.kv._replace(v=GOOD.kv.v[:1]), "kv.v: shape is"),
        ("v_scale", GOOD.v_scale.double(), "v_scale: dtype is torch.float64"),
        ("pages", GOOD.pages.long(), "pages: dtype is torch.int64"),
        ("pages", GOOD.pages[:1], "pages: shape is"),
        ("pages", GOOD.pages.repeat(1, 2)[:, ::2], "pages: stride is"),
        ("cu_q", GOOD.cu_q[:1], "cu_q: has 1 entries"),
        ("cu_q", GOOD.cu_q.to("meta"), "cu_q: is on meta"),
        ("start", GOOD.start[:4], "limit: shape is|start: shape is"),
        ("limit", GOOD.limit.long(), "limit: dtype is torch.int64"),
        ("key_limit", KEYS.key_limit, "positions: must be given with key_limit"),
        ("key_limit", KEYS.key_limit[:1], "key_limit: shape is"),
        ("out", GOOD.q, "out: dtype is torch.int8, must be bfloat16"),
        ("out", torch.empty(9, 8, 64, dtype=torch.bfloat16), "out: shape is"),
        ("out_scale", 0.0, "out_scale: is 0.0"),
        ("softmax_scale", float("nan"), "softmax_scale: is nan"),
        ("backend", "cuda", "backend: 'cuda' is none of"),
        ("plan", make_plan(*GOOD[5:7], GOOD.limit.clone(), heads=8), "plan: .* another limit"),
        ("plan", make_plan(*GOOD[5:], heads=16), "plan: was made for 16 heads"),
        ("pages", GOOD.pages.clamp(max=0) - 1, r"pages: entry \[0, 0\] is -1"),
        ("limit", GOOD.limit + 300, "start, limit: must lie in 0 to 256"),
        ("cu_q", GOOD.cu_q.flip(0), r"cu_q: is \[9, 5, 0\], must rise"),
    ],
)
def test_bad_arguments(name: str, value: object, says: str) -> None:
    arguments = GOOD._asdict() | {name: value}
    with pytest.raises(ValueError, match=says):
        prefill_attention(**arguments, check_pages=True)


def test_float16_takes_no_q_scale() -> None:
    given = prefill_inputs([2], [0], heads=2, dtype=torch.float16)
    with pytest.raises(ValueError, match="q_scale: must be None"):
        prefill_attention(*given._replace(q_scale=torch.ones(2, 2)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there may be a Hopper GPU")
def test_hopper_is_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match="backend: 'hopper' is not possible here: cpu"):
        prefill_attention(*GOOD, backend="hopper")
