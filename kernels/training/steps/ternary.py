"""Ternary updates of weights that are pinned to int8: -1, 0 or +1 of a unit, 1.6 bits a weight.

Reported of Character.AI's small models: weights stay in int8, and a step sends one of three values
for each. 1.6 bits are five trits in a byte, 3^5 = 243. How a gradient becomes a trit is not
published. Ours: the optimiser's wish, in units of int8, is clamped to +-1 and rounded
stochastically, so that the expected step is the wish; there is no other copy of a weight than its
int8, and small wishes act by how often they come true.

The rank that owns a weight's optimiser state decides, and sends bytes; every rank applies them, so
all hold the same integers. A tile is 5120 weights in 1024 bytes: byte j has weights j, j + 1024 and
so on, the first as the lowest digit (plus one), so loads and stores are dense.
"""

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work
from kernels.training.squinch.noise import Noise, noise_at, noise_numbers, noise_words, words_of

TRITS = 5
TILE_BYTES = 1024
TILE = TRITS * TILE_BYTES
FLOATS = (torch.float32, torch.bfloat16)
MOST = 127


def packed_bytes(count: int) -> int:
    """Bytes of so many trits, rounded up to a tile."""
    return -(-count // TILE) * TILE_BYTES


def reference_trits(wish: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Wishes as -1, 0 or 1, int8; what is NaN wishes nothing."""
    wish = wish.float().nan_to_num(0.0, 1.0, -1.0)
    return (wish.sign() * (uniform < wish.abs())).to(torch.int8)


def reference_pack(trits: torch.Tensor) -> torch.Tensor:
    """Flat trits as bytes."""
    room = -len(trits) % TILE
    digits = torch.nn.functional.pad(trits.int() + 1, (0, room), value=1)
    powers = 3 ** torch.arange(TRITS, device=trits.device)
    return (digits.view(-1, TRITS, TILE_BYTES) * powers[:, None]).sum(1).to(torch.uint8).flatten()


def reference_unpack(packed: torch.Tensor, count: int) -> torch.Tensor:
    """Bytes as flat trits, int8."""
    powers = 3 ** torch.arange(TRITS, device=packed.device)
    digits = packed.int().view(-1, 1, TILE_BYTES) // powers[:, None] % 3
    return (digits.flatten()[:count] - 1).to(torch.int8)


@triton.jit
def _pack(
    wish_ptr, out_ptr, count, key, step, TILE_BYTES: tl.constexpr, STOCHASTIC: tl.constexpr
):  # fmt: skip
    tile = tl.program_id(0).to(tl.int64)
    byte = tl.arange(0, TILE_BYTES)
    if STOCHASTIC:
        a, b = noise_words((tile * TILE_BYTES + byte).to(tl.int32), key, step)
    code = tl.zeros((TILE_BYTES,), tl.int32)
    power = 1
    for i in tl.static_range(5):
        at = tile * (5 * TILE_BYTES) + i * TILE_BYTES + byte
        wish = tl.load(wish_ptr + at, mask=at < count, other=0.0).to(tl.float32)
        number = 0.5
        if STOCHASTIC:
            number = (noise_at(a, b, i).to(tl.float32) + 0.5) * (1.0 / 65536)
        moves = (number < tl.abs(wish)).to(tl.int32)
        code += power * (1 + tl.where(wish < 0, -moves, moves))
        power = power * 3
    tl.store(out_ptr + tile * TILE_BYTES + byte, code.to(tl.uint8))


@triton.jit
def _apply(weights_ptr, packed_ptr, count, TILE_BYTES: tl.constexpr):
    tile = tl.program_id(0).to(tl.int64)
    byte = tl.arange(0, TILE_BYTES)
    code = tl.load(packed_ptr + tile * TILE_BYTES + byte).to(tl.int32)
    for i in tl.static_range(5):
        at = tile * (5 * TILE_BYTES) + i * TILE_BYTES + byte
        weight = tl.load(weights_ptr + at, mask=at < count, other=0).to(tl.int32)
        weight += code % 3 - 1
        code = code // 3
        weight = tl.minimum(tl.maximum(weight, -127), 127)
        tl.store(weights_ptr + at, weight.to(tl.int8), mask=at < count)


def _uniform(noise: Noise, count: int, device: torch.device) -> torch.Tensor:
    """The kernel's numbers, float32 `[count]`."""
    halves = (noise_numbers(noise, packed_bytes(count), device)[:, :TRITS].float() + 0.5) / 65536
    return halves.view(-1, TILE_BYTES, TRITS).transpose(1, 2).flatten()[:count]


def ternary_pack(
    wish: torch.Tensor, noise: Noise | None = None, *, by_torch: bool | None = None
) -> torch.Tensor:
    """What a step wishes of each weight, in units of int8, as bytes: uint8
    `[packed_bytes(count)]`.

    `wish` flat, float32 or bf16. With `noise` its expectation is what is sent, between -1 and 1;
    without, only wishes beyond a half act. NaN wishes nothing. Raises ValueError.
    """
    checks.tensor("wish", wish, (None,), FLOATS)
    count = len(wish)
    if (not wish.is_cuda) if by_torch is None else by_torch:
        half = torch.full_like(wish, 0.5, dtype=torch.float32)
        number = half if noise is None else _uniform(noise, count, wish.device)
        return reference_pack(reference_trits(wish, number))
    out = torch.empty(packed_bytes(count), dtype=torch.uint8, device=wish.device)
    key, step = words_of(noise)
    if count:
        _pack[(len(out) // TILE_BYTES,)](
            wish, out, count, key, step, TILE_BYTES=TILE_BYTES, STOCHASTIC=noise is not None
        )
    return out


def ternary_apply(
    weights: torch.Tensor, packed: torch.Tensor, *, by_torch: bool | None = None
) -> torch.Tensor:
    """Moves int8 weights by packed trits, in place, within +-127; returns them."""
    checks.tensor("weights", weights, (None,) * weights.dim(), torch.int8)
    count = weights.numel()
    checks.tensor("packed", packed, (packed_bytes(count),), torch.uint8, weights.device)
    if (not weights.is_cuda) if by_torch is None else by_torch:
        moved = weights.flatten().int() + reference_unpack(packed, count)
        weights.copy_(moved.clamp(-MOST, MOST).to(torch.int8).view_as(weights))
    elif count:
        _apply[(len(packed) // TILE_BYTES,)](weights, packed, count, TILE_BYTES=TILE_BYTES)
    return weights


class TernaryStepper:
    """Momentum and ternary steps for int8 weights `[outputs, inputs]` with a fixed scale a row.

    A wish is `rate` times momentum over its root mean square, so about `rate` of all weights move
    in a step. `step` returns the bytes that other ranks apply.
    """

    def __init__(self, weights: torch.Tensor, *, momentum: float = 0.9, seed: int = 0) -> None:
        checks.tensor("weights", weights, (None, None), torch.int8)
        self.weights, self.decay, self.seed = weights, momentum, seed
        self.velocity = torch.zeros(weights.shape, dtype=torch.bfloat16, device=weights.device)
        self.steps = 0

    def step(self, gradient: torch.Tensor, rate: float) -> torch.Tensor:
        """One update down the gradient of the real weights, like these in shape."""
        self.steps += 1
        mean = self.velocity.float() * self.decay + gradient.float() * (1 - self.decay)
        mean = torch.where(mean.isfinite(), mean, torch.zeros_like(mean))
        self.velocity.copy_(mean)
        spread = mean.square().mean().sqrt().clamp(min=1e-30)
        packed = ternary_pack((mean / spread * -rate).flatten(), Noise(self.seed, self.steps))
        ternary_apply(self.weights, packed)
        return packed


def flops_and_bytes(count: int, itemsize: int = 2) -> Work:
    """Of packing: wishes read, a fifth of a byte written each."""
    return Work(8.0 * count, float(count * itemsize + packed_bytes(count)))
