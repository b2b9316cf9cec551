"""Sampling on a GPU: large vocabularies, repeated and reordered batches, how often tokens come."""

import math

import pytest
import torch

from kernels.common.example import SamplingInputs, sampling_inputs
from kernels.sampling import kept, reference, sampling

pytestmark = pytest.mark.gpu
NEAR = 2e-6  # of the mass: float32 may decide otherwise than float64
OPTIONS = {"full": (1.0, 0), "top-p": (0.9, 0), "top-k": (1.0, 50), "both": (0.9, 50)}


def run(inputs: SamplingInputs, top_p: float, top_k: int, **options: object) -> torch.Tensor:
    batch = len(inputs.logits)
    limits = {
        "top_p": torch.full((batch,), top_p, device="cuda"),
        "top_k": torch.full((batch,), top_k, dtype=torch.int32, device="cuda"),
    }
    return sampling(*inputs, **limits, **options)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("batch", "vocab", "spread"), [(40, 65536, 2.0), (300, 50257, 5.0), (64, 333, 1.0), (9, 1, 1.0)]
)
def test_equals_the_reference(
    option: str, dtype: torch.dtype, batch: int, vocab: int, spread: float
) -> None:
    inputs = sampling_inputs(batch, vocab, dtype=dtype, spread=spread, device="cuda")
    active = torch.ones(batch, dtype=torch.int32, device="cuda")
    active[batch // 2] = 0
    out = torch.full((batch,), -77, dtype=torch.int32, device="cuda")
    run(inputs, *OPTIONS[option], active=active, out=out)
    assert out[batch // 2] == -1
    for _ in range(3):
        assert torch.equal(run(inputs, *OPTIONS[option], active=active), out)
    order = torch.randperm(batch, device="cuda")
    moved = SamplingInputs(*(tensor[order] for tensor in inputs))
    assert torch.equal(run(moved, *OPTIONS[option], active=active[order]), out[order])
    near = 0
    for row in {*range(min(batch, 40))} - {batch // 2}:
        logits, heat, seed, step = (tensor[row] for tensor in inputs)
        want, margin = reference(
            logits, int(seed), int(step), float(heat), *OPTIONS[option]
        )  # fmt: skip
        near += int(out[row]) != want
        assert int(out[row]) == want or margin < NEAR
    assert near <= 3


@pytest.mark.parametrize("option", OPTIONS)
def test_tokens_come_as_often_as_they_are_likely(option: str) -> None:
    """Chi-square over 100,000 draws from 40 tokens, against what it exceeds once in a thousand
    (Wilson and Hilferty's formula)."""
    draws, (p, k) = 100_000, OPTIONS[option]
    k = min(k, 25)
    one = sampling_inputs(1, 40, spread=1.0, device="cuda", seed=3)
    steps = torch.arange(draws, dtype=torch.int32, device="cuda")
    rows = SamplingInputs(
        one.logits.repeat(draws, 1), one.temperature.repeat(draws), one.seed.repeat(draws), steps
    )
    counts = torch.bincount(run(rows, p, k).long(), minlength=40)
    order, mass, keep = kept(one.logits[0], 0.8, p, k)
    expected = torch.zeros(40, dtype=torch.float64, device="cuda")
    expected[order] = torch.where(keep, mass, 0.0) / mass[keep].sum() * draws
    possible = expected > 0
    assert (counts[~possible] == 0).all()
    statistic = float(((counts - expected)[possible].square() / expected[possible]).sum())
    freedom = int(possible.sum()) - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < bound
