"""Decode attention on a GPU: large and ragged, both kernels, repeated, chained, in a graph."""

import random

import pytest
import torch

from kernels.common.device import HOPPER, capability
from kernels.common.example import DecodeInputs, decode_inputs, relative_error
from kernels.common.schedule import fill
from kernels.decode_attention import decode_attention, make_plan, reference

pytestmark = pytest.mark.gpu

INT8_ERROR, HALF_ERROR = 0.04, 0.005


def lengths(count: int, most: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [draw.randint(0, most) for _ in range(count)]


LONG = lengths(40, 6000)
CASES = {
    "1 to 32K in one batch": {"limits": [1, 32768, 17, 128, 9000, 0, 1024, 129]},
    "ragged": {"limits": LONG},
    "40 heads, windows and empty slots": {
        "limits": LONG,
        "starts": [max(0, n - 1024) if i % 5 else n for i, n in enumerate(LONG)],
        "heads": 40,
    },
    "windows of any size": {
        "limits": LONG,
        "starts": [max(0, n - 1 - i) for i, n in enumerate(LONG)],
    },
    "128 heads": {"limits": lengths(9, 20000), "heads": 128},
    "128 heads, many": {"limits": lengths(150, 3000), "heads": 128},
    "all cut alike": {"limits": [8192] * 16},
    "cut anywhere": {"limits": [30000, 500, 9000]},
    "many short": {"limits": lengths(600, 300)},
    "grouped": {"limits": lengths(9, 5000), "kv_heads": 8},
    "multi-head": {"limits": lengths(5, 3000), "heads": 16, "kv_heads": 16},
    "half": {"limits": lengths(9, 5000), "dtype": torch.float16},
    "half, multi-head": {
        "limits": lengths(5, 2000),
        "heads": 16,
        "kv_heads": 16,
        "dtype": torch.float16,
    },
    "half, 128 heads": {"limits": lengths(5, 3000), "heads": 128, "dtype": torch.float16},
}


def backends() -> list[str]:
    return ["triton", "hopper"] if capability(torch.device("cuda")) == HOPPER else ["triton"]


def poisoned(inputs: DecodeInputs) -> torch.Tensor:
    return torch.full(inputs.q.shape, float("nan"), dtype=torch.bfloat16, device="cuda")


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference_and_itself(case: str) -> None:
    inputs = decode_inputs(device="cuda", **CASES[case])
    want = reference(*inputs)
    for backend in backends():
        out = decode_attention(*inputs, out=poisoned(inputs), backend=backend, check_pages=True)
        assert relative_error(out, want) < (INT8_ERROR if inputs.kv.is_int8 else HALF_ERROR)
        for _ in range(5):
            again = decode_attention(*inputs, out=poisoned(inputs), backend=backend)
            assert torch.equal(again, out)


def test_a_plan_serves_many_launches_chained_or_not() -> None:
    inputs = decode_inputs([8192] * 16 + [300, 0], device="cuda")
    want = decode_attention(*inputs)
    plan = make_plan(inputs.start, inputs.limit, heads=64)
    for chained in (False, True):
        outs = [poisoned(inputs) for _ in range(30)]
        for out in outs:
            decode_attention(*inputs, plan=plan, out=out, chained=chained)
        assert all(torch.equal(out, want) for out in outs)


def test_a_graph_follows_lengths_that_change() -> None:
    inputs = decode_inputs([3000] * 20, device="cuda")
    plan = make_plan(inputs.start, inputs.limit, heads=64)
    out = poisoned(inputs)
    decode_attention(*inputs, plan=plan, out=out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fill(plan)
        decode_attention(*inputs, plan=plan, out=out)
        decode_attention(*inputs, plan=plan, out=out)
    for seed in range(4):
        inputs.limit.copy_(torch.tensor(lengths(20, 3000, seed), dtype=torch.int32))
        out.fill_(float("nan"))
        graph.replay()
        assert relative_error(out, reference(*inputs)) < INT8_ERROR


def test_masses_of_both_kernels_agree() -> None:
    inputs = decode_inputs([5000, 100, 0], device="cuda")
    masses = []
    for backend in backends():
        mass = torch.full((3, 64), float("nan"), device="cuda")
        decode_attention(*inputs, mass_out=mass, backend=backend)
        masses.append(mass)
    for mass in masses[1:]:
        torch.testing.assert_close(mass, masses[0], rtol=0, atol=0.05)
