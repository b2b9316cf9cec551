"""Ternary updates and schedules."""

import pytest
import torch

from kernels.training.squinch.noise import Noise
from kernels.training.steps.schedule import batch_warmup, learning_rate
from kernels.training.steps.ternary import (
    TILE,
    TernaryStepper,
    flops_and_bytes,
    packed_bytes,
    reference_pack,
    reference_unpack,
    ternary_apply,
    ternary_pack,
)


def test_five_trits_are_a_byte() -> None:
    trits = torch.randint(-1, 2, (TILE + 77,), dtype=torch.int8)
    packed = reference_pack(trits)
    assert len(packed) == packed_bytes(TILE + 77) == 2048
    assert 8 * packed_bytes(TILE * 100) / (TILE * 100) == 1.6
    assert torch.equal(reference_unpack(packed, len(trits)), trits)
    assert int(packed.max()) <= 242
    assert int(reference_pack(torch.tensor([1, 0, -1], dtype=torch.int8))[0]) == 2 + 3 + 9 + 27 + 81


@pytest.mark.parametrize("noise", [None, Noise(3, 8)])
def test_the_kernels_equal_the_reference(device: torch.device, noise: Noise | None) -> None:
    wish = torch.randn(TILE + 1000, device=device)
    wish[7] = float("nan")
    found = [ternary_pack(wish, noise, by_torch=way) for way in (False, True)]
    assert torch.equal(*found)
    assert reference_unpack(found[0], 8)[7] == 0
    weights = torch.randint(-127, 128, (TILE + 1000,), dtype=torch.int8, device=device)
    want = (weights.int() + reference_unpack(found[0], len(weights))).clamp(-127, 127)
    for way in (False, True):
        got = ternary_apply(weights.clone(), found[0], by_torch=way)
        assert torch.equal(got.int(), want)


def test_the_expected_step_is_the_wish() -> None:
    wish = torch.tensor([0.3, -0.7, 0.0, 2.0, 0.01])
    many = wish.repeat_interleave(TILE)
    got = reference_unpack(ternary_pack(many, Noise(1)), len(many)).view(5, TILE).float().mean(1)
    assert (got - wish.clamp(-1, 1)).abs().max() < 0.03
    still = reference_unpack(ternary_pack(wish), 5)
    assert still.tolist() == [0, -1, 0, 1, 0], "without noise only wishes beyond a half act"


def test_pinned_weights_learn() -> None:
    """A linear regression whose weights are integers of int8 the whole time."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(-60, 61, (4, 16), generator=generator).float() / 64
    weights = torch.zeros(4, 16, dtype=torch.int8)
    stepper, losses, replica = TernaryStepper(weights), [], weights.clone()
    for i in range(400):
        x = torch.randn(64, 16, generator=generator)
        error = x @ (weights.float() / 64 - truth).T
        losses.append(float(error.square().mean()))
        packed = stepper.step(error.T @ x / len(x), rate=0.6 if i < 200 else 0.2)
        ternary_apply(replica, packed)
    assert losses[-1] < 0.02 * losses[0]
    assert torch.equal(replica, weights), "another rank has the same integers"


def test_batches_grow() -> None:
    schedule = batch_warmup(4, 32, 1000)
    assert [schedule.at(seen) for seen in (0, 333, 334, 700, 999, 1000, 1e9)] == [
        4, 4, 8, 16, 16, 32, 32,
    ]  # fmt: skip
    assert schedule.rate(0) == pytest.approx((1 / 8) ** 0.5)
    assert batch_warmup(8, 8, 0).at(0) == 8
    with pytest.raises(ValueError, match="first: is 40"):
        batch_warmup(40, 32, 1)


def test_learning_rate() -> None:
    rates = [learning_rate(i, 100, 2.0, warmup=10) for i in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[100] == pytest.approx(0.2)
    assert flops_and_bytes(TILE * 10).bytes == TILE * 10 * 2 + TILE * 2
