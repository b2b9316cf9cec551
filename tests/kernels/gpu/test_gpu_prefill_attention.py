"""Prefill attention on a GPU, both backends: large, ragged, repeated, from a captured graph."""

from typing import Any

import pytest
import torch

from kernels.common import tiles, visibility
from kernels.common.example import PrefillInputs, prefill_inputs, relative_error
from kernels.prefill_attention import make_plan, prefill_attention, reference

pytestmark = pytest.mark.gpu
# By backend: on Hopper P is relative to the largest of two pages.
INT8_ERROR = {"hopper": 0.05, "triton": 0.03}
FP16_ERROR, WORST_ROW = 0.004, 0.2
SAMPLES = 40

CASES: dict[str, dict[str, Any]] = {
    "one token": {"lengths": [1], "cached": [0]},
    "1K": {"lengths": [1024], "cached": [0]},
    "16K": {"lengths": [16384], "cached": [0]},
    "chunk after 16K": {"lengths": [512], "cached": [16001]},
    "ragged": {"lengths": [1, 260, 3, 0, 64, 817], "cached": [0, 900, 127, 5, 128, 2000]},
    "window": {"lengths": [3000, 33], "cached": [0, 5000], "window": 1024},
    "narrow window": {"lengths": [500, 33], "cached": [0, 3000], "window": 300},
    "40 heads": {"lengths": [700, 3], "cached": [0, 900], "heads": 40},
    "128 heads": {"lengths": [700, 3], "cached": [0, 900], "heads": 128},
    "grouped": {"lengths": [1, 300, 64], "cached": [0, 900, 128], "heads": 32, "kv_heads": 4},
    "multi-head": {"lengths": [1, 300, 64], "cached": [0, 900, 128], "heads": 6, "kv_heads": 6},
    "many short": {"lengths": [17] * 200, "cached": list(range(200))},
}
HALF = ("ragged", "window", "grouped", "multi-head")
BEAMS = [[300, 20, 170, 1, 259], [2, 2]]


def hopper_or_skip(backend: str) -> None:
    if backend == "hopper" and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("not a Hopper GPU")


def poison(given: PrefillInputs, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    value = 77 if dtype == torch.int8 else float("nan")
    return torch.full(given.q.shape, value, dtype=dtype, device="cuda")


def sampled(given: PrefillInputs, keyed: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """A few tokens of each sequence, its first and last among them, and what they should get."""
    bounds, ends, picked = given.cu_q.tolist(), [0], []
    for first, last in zip(bounds, bounds[1:], strict=False):
        count = min(SAMPLES, last - first)
        own = torch.linspace(first, max(first, last - 1), max(count, 1)).round().long()[:count]
        picked.append(own)
        ends.append(ends[-1] + count)
    index = torch.cat(picked).cuda()
    some = given._replace(
        q=given.q[index],
        q_scale=None if given.q_scale is None else given.q_scale[index],
        cu_q=torch.tensor(ends, dtype=torch.int32, device="cuda"),
        start=given.start[index],
        limit=given.limit[index],
    )
    if keyed:
        keyed = keyed | {"positions": keyed["positions"][index]}
    return index, reference(*some, **keyed)


def check(given: PrefillInputs, backend: str, most: float, **keyed: Any) -> torch.Tensor:
    """Agrees with the reference in a poisoned output, and with itself bit for bit."""
    hopper_or_skip(backend)
    named = keyed | {"backend": backend}
    out = prefill_attention(*given, **named, out=poison(given), check_pages=True)
    assert not out.isnan().any()
    index, want = sampled(given, keyed)
    assert relative_error(out[index], want) < most
    worst = (out[index].double() - want).norm(dim=-1) / want.norm(dim=-1).clamp(min=1e-9)
    assert float(worst.max()) < WORST_ROW
    for _ in range(3):
        assert torch.equal(prefill_attention(*given, **named, out=poison(given)), out)
    return out


@pytest.mark.parametrize("backend", ["hopper", "triton"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference_and_itself(case: str, backend: str) -> None:
    check(prefill_inputs(**CASES[case], device="cuda"), backend, INT8_ERROR[backend])


@pytest.mark.parametrize("case", HALF)
def test_float16(case: str) -> None:
    given = prefill_inputs(**CASES[case], dtype=torch.float16, device="cuda")
    check(given, "triton", FP16_ERROR)


@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_beams(backend: str) -> None:
    cached = [1000, 1]
    seen = visibility.beams(BEAMS, cached, "cuda")
    given = prefill_inputs([sum(beam) for beam in BEAMS], cached, device="cuda")
    given = given._replace(start=seen.start, limit=seen.limit)
    check(given, backend, INT8_ERROR[backend], key_limit=seen.key_limit, positions=seen.positions)


@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_trees(backend: str) -> None:
    generator = torch.Generator().manual_seed(3)
    parents = [-1]
    while len(parents) < 400:  # depth first: a parent is the last node or one of its ancestors
        at = len(parents) - 1
        while at >= 0 and int(torch.randint(0, 4, (), generator=generator)) == 0:
            at = parents[at]
        parents.append(at)
    cached = [700, 0]
    seen = visibility.trees([parents, parents[:150]], cached, "cuda")
    given = prefill_inputs([400, 150], cached, device="cuda")
    given = given._replace(start=seen.start, limit=seen.limit)
    check(given, backend, INT8_ERROR[backend], key_limit=seen.key_limit, positions=seen.positions)


@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_empty_slots_are_zero(backend: str) -> None:
    given = prefill_inputs([700, 60], [10, 500], device="cuda")
    live = torch.arange(760, device="cuda") % 3 == 0
    live[100:600] = False
    causal = visibility.Visibility(given.start, given.limit, given.limit - 1, None)
    seen = visibility.empty_slots(causal, live)
    given = given._replace(start=seen.start, limit=seen.limit)
    out = check(given, backend, INT8_ERROR[backend])
    assert (out[~live] == 0).all()


@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_int8_output(backend: str) -> None:
    hopper_or_skip(backend)
    given = prefill_inputs([500, 3], [900, 127], device="cuda")
    index, want = sampled(given, {})
    scale = float(want.abs().max()) / 100
    named = {"out_scale": scale, "backend": backend}
    out = prefill_attention(*given, **named, out=poison(given, torch.int8))
    assert relative_error(out[index].double() * scale, want) < 0.02 + INT8_ERROR[backend]
    again = prefill_attention(*given, **named, out=poison(given, torch.int8).neg())
    assert torch.equal(again, out)


@pytest.mark.parametrize("backend", ["hopper", "triton"])
def test_a_captured_graph_takes_what_the_tensors_now_say(backend: str) -> None:
    hopper_or_skip(backend)
    given = prefill_inputs([300, 200, 12], [700, 0, 2000], device="cuda")
    plan, out = make_plan(*given[5:], heads=64), poison(given)

    def step() -> None:
        prefill_attention(*given, plan=tiles.fill(plan), out=out, backend=backend)

    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for lengths, cached, window in (([12, 450, 50], [7, 300, 129], None), ([1, 0, 9], [0] * 3, 4)):
        other = prefill_inputs(lengths, cached, window=window, device="cuda")
        tokens = other.q.shape[0]
        given.cu_q.copy_(other.cu_q)
        given.start[:tokens].copy_(other.start)
        given.limit[:tokens].copy_(other.limit)
        out.fill_(float("nan"))
        graph.replay()
        fresh = prefill_attention(*given, out=poison(given), backend=backend)
        assert torch.equal(out[:tokens], fresh[:tokens])
        assert not out[:tokens].isnan().any()
        assert out[tokens:].isnan().all()
