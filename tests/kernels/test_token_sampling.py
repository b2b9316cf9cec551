"""Sampling against its definition in float64, through Triton's interpreter."""

import math

import pytest
import torch

from kernels.common.device import is_interpreted
from kernels.common.draws import philox
from kernels.common.example import SamplingInputs, sampling_inputs
from kernels.sampling import flops_and_bytes, kept, reference, sampling

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="on a GPU, gpu/ has these")

OPTIONS = {
    "full": (1.0, 0),
    "top-p": (0.9, 0),
    "narrow top-p": (0.1, 0),
    "no mass": (0.0, 0),
    "top-k": (1.0, 50),
    "one": (1.0, 1),
    "wide top-k": (1.0, 3000),
    "both": (0.9, 50),
    "both, narrow": (0.5, 7),
    "both, wide": (0.95, 1500),
}
NEAR = 1e-6  # of the mass: float32 may decide otherwise than float64


def run(inputs: SamplingInputs, top_p: float, top_k: int, **options: object) -> torch.Tensor:
    batch = len(inputs.logits)
    limits = {
        "top_p": torch.full((batch,), top_p) if top_p < 1 else None,
        "top_k": torch.full((batch,), top_k, dtype=torch.int32) if top_k else None,
    }
    return sampling(*inputs, **limits, check=True, **options)


def check(inputs: SamplingInputs, top_p: float, top_k: int, seen: torch.Tensor) -> None:
    for row, token in enumerate(seen.tolist()):
        logits, heat, seed, step = (tensor[row] for tensor in inputs)
        want, margin = reference(logits, int(seed), int(step), float(heat), top_p, top_k)
        assert token == want or margin < NEAR, (row, token, want, margin)
        if token != want:
            pytest.skip(f"too near to tell: {margin}")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("vocab", "dtype"),
    [(5000, torch.float32), (4097, torch.bfloat16), (1024, torch.bfloat16), (37, torch.float32),
     (1, torch.float32)],
)  # fmt: skip
def test_equals_the_reference(option: str, vocab: int, dtype: torch.dtype) -> None:
    inputs = sampling_inputs(3, vocab, dtype=dtype, seed=len(option))
    out = torch.full((3,), -77, dtype=torch.int32)
    assert run(inputs, *OPTIONS[option], out=out) is out
    check(inputs, *OPTIONS[option], out)


@pytest.mark.parametrize("option", OPTIONS)
def test_negative_logits_ties_and_masked_tokens(option: str) -> None:
    inputs = sampling_inputs(6, 3000, dtype=torch.bfloat16, seed=5)
    inputs.logits[0] -= 40
    inputs.logits[1] = 0
    inputs.logits[2, 3:] = -math.inf
    inputs.logits[3, ::2] = -math.inf
    inputs.logits[4] = inputs.logits[4].round()
    inputs.logits[5, :1024] = -math.inf
    seen = run(inputs, *OPTIONS[option])
    for row, token in enumerate(seen.tolist()):
        assert math.isfinite(inputs.logits[row, token])
    check(inputs, *OPTIONS[option], seen)


def test_each_row_has_its_own_options() -> None:
    inputs = sampling_inputs(len(OPTIONS), 2500, seed=9)
    inputs.temperature.copy_(torch.linspace(0.0, 2.0, len(OPTIONS)))
    top_p = torch.tensor([p for p, _ in OPTIONS.values()])
    top_k = torch.tensor([k for _, k in OPTIONS.values()], dtype=torch.int32)
    seen = sampling(*inputs, top_p=top_p, top_k=top_k, check=True)
    for row, (p, k) in enumerate(OPTIONS.values()):
        one = SamplingInputs(*(tensor[row : row + 1] for tensor in inputs))
        check(one, p, k, seen[row : row + 1])
        assert torch.equal(run(one, p, k), seen[row : row + 1]), "whatever the batch"


def test_greedy_takes_the_likeliest_and_the_first_of_several() -> None:
    inputs = sampling_inputs(4, 3000, temperature=0.0)
    inputs.logits[1, [2999, 17, 1500]] = 30.0
    want = inputs.logits.argmax(1).tolist()
    want[1] = 17
    assert run(inputs, 0.9, 50).tolist() == want
    assert run(inputs, 1.0, 0).tolist() == want


def test_empty_slots_and_rows_without_a_token() -> None:
    inputs = sampling_inputs(3, 1500)
    inputs.logits[0] = math.nan  # never looked at
    inputs.logits[1] = -math.inf
    active = torch.tensor([0, 1, 1], dtype=torch.int32)
    seen = run(inputs, 0.9, 5, active=active)
    assert seen[:2].tolist() == [-1, 0]
    assert seen[2] >= 0


def test_strided_rows() -> None:
    inputs = sampling_inputs(3, 1100)
    wide = torch.full((3, 1300), 99.0)
    wide[:, 64:1164] = inputs.logits
    assert torch.equal(run(inputs._replace(logits=wide[:, 64:1164]), 0.9, 20), run(inputs, 0.9, 20))


def test_top_k_comes_first_and_top_p_takes_its_share_of_the_rest() -> None:
    """Of .4 .3 .2 .1, top-k 2 leaves 4/7 and 3/7; top-p .5 then keeps one, of the whole two."""
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    order, mass, keep = kept(logits, 1.0, 0.5, 2)
    assert order.tolist() == [1, 3, 2, 0]
    torch.testing.assert_close(mass.float(), torch.tensor([0.4, 0.3, 0.2, 0.1]))
    assert keep.tolist() == [True, False, False, False]
    assert kept(logits, 1.0, 0.5)[2].tolist() == [True, True, False, False]
    assert kept(logits, 1.0, 0.6, 2)[2].tolist() == [True, True, False, False]


def renormalised(logits: torch.Tensor, temperature: float, top_p: float, top_k: int):
    """Probabilities by the usual recipe: mask all but k, softmax, then the smallest set whose mass
    reaches p."""
    x = logits.double() / temperature
    if top_k:
        x = torch.where(x >= x.topk(min(top_k, len(x))).values[-1], x, -math.inf)
    p = torch.softmax(x, 0)
    ranked, order = p.sort(descending=True)
    ranked = torch.where(ranked.cumsum(0) - ranked < top_p, ranked, 0.0)
    ranked[0] = p.max()
    return torch.zeros_like(p).scatter(0, order, ranked) / ranked.sum()


@pytest.mark.parametrize("option", ["full", "top-p", "both", "both, narrow"])
def test_the_definition_is_that_of_the_usual_recipe(option: str) -> None:
    logits = sampling_inputs(1, 200, seed=4).logits[0]
    p, k = OPTIONS[option]
    order, mass, keep = kept(logits, 0.8, p, k)
    found = torch.zeros(200, dtype=torch.float64)
    found[order] = torch.where(keep, mass, 0.0)
    torch.testing.assert_close(found / found.sum(), renormalised(logits, 0.8, p, k))


def chi_square(counts: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """The statistic, and what it exceeds once in a thousand (Wilson and Hilferty's formula)."""
    possible = expected > 0
    assert (counts[~possible] == 0).all()
    statistic = float(((counts - expected)[possible].square() / expected[possible]).sum())
    freedom = int(possible.sum()) - 1
    return statistic, freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("option", ["full", "top-p", "both", "both, narrow"])
def test_tokens_come_as_often_as_they_are_likely(option: str) -> None:
    """500 draws of the reference, of which the kernel makes the first 10; gpu/ has more."""
    p, k = OPTIONS[option]
    logits, heat, seed, _ = sampling_inputs(1, 12, spread=1.0, seed=3)
    drawn = [
        reference(logits[0], int(seed), step, float(heat), p, min(k, 8))[0] for step in range(500)
    ]
    counts = torch.bincount(torch.tensor(drawn), minlength=12)
    statistic, bound = chi_square(counts, renormalised(logits[0], 0.8, p, min(k, 8)) * 500)
    assert statistic < bound
    steps = torch.arange(10, dtype=torch.int32)
    rows = SamplingInputs(logits.repeat(10, 1), heat.repeat(10), seed.repeat(10), steps)
    assert run(rows, p, min(k, 8)).tolist() == drawn[:10]


def test_philox_has_the_published_numbers() -> None:
    """Known answers of Random123 for a counter and a key of zeros."""
    assert philox(0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)


def test_no_rows() -> None:
    assert run(sampling_inputs(0, 5), 1.0, 0).shape == (0,)


def test_work_reads_the_logits_once() -> None:
    assert flops_and_bytes(64, 65536).bytes == 64 * (65536 * 2 + 4 + 28)


FLOATS, INTS = torch.zeros(3), torch.zeros(3, dtype=torch.int32)
BAD = {
    "logits: must be a tensor": {"logits": None},
    "logits: dtype is": {"logits": torch.zeros((3, 40), dtype=torch.float16)},
    "logits: stride is": {"logits": torch.zeros((40, 3)).T},
    "logits: has 0 tokens": {"logits": torch.zeros((3, 0))},
    "temperature: shape is": {"temperature": torch.zeros(2)},
    "temperature: must be a tensor": {"temperature": 1.0},
    "temperature: must be 0 (greedy) or more": {"temperature": FLOATS - 1},
    "temperature: must be 0 (greedy) or more, and finite": {"temperature": FLOATS + math.nan},
    "seed: dtype is": {"seed": INTS},
    "step: dtype is": {"step": FLOATS},
    "step: is on meta": {"step": INTS.to("meta")},
    "top_p: dtype is": {"top_p": INTS},
    "top_p: must lie in 0 to 1": {"top_p": FLOATS + 1.5},
    "top_k: dtype is": {"top_k": FLOATS},
    "top_k: must be 0 (no limit) or more": {"top_k": INTS - 1},
    "active: dtype is": {"active": torch.ones(3, dtype=torch.bool)},
    "out: shape is": {"out": torch.zeros(4, dtype=torch.int32)},
    "out: dtype is": {"out": torch.zeros(3, dtype=torch.int64)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    out = torch.full((3,), -77, dtype=torch.int32)
    good = sampling_inputs(3, 40)._asdict() | {"out": out, "check": True}
    with pytest.raises(ValueError, match=r"^") as error:
        sampling(**{**good, **BAD[message]})
    assert message in str(error.value)
    assert (out == -77).all(), "nothing was launched"
