"""The Squinch format and its specification in PyTorch.

Published (Character.AI, December 2025): 8 gradients a block, 48 bits, the first byte q_max, then a
row of signs, 6 bits an element. Reported by others: q_max = clip(int(6 ln(max|x|) + 129), 0, 255),
which stands for maxabs = exp((q_max - 128) / 6), and 4 bits an element through a square root.

Ours, as nothing is published of it, and parameters where they could be otherwise (`Format`):

- the element code is floor(16 sqrt(|x| / maxabs)), 15 at most; it decodes to the middle of its
  step of the root, ((c + 1/2) / 16)^2 maxabs. No code of an element is zero: the smallest
  magnitude is maxabs / 1024.
- q_max = 0 is a block of zeros. That is every block whose largest magnitude is below
  exp(-128/6) = 5.4e-10, which the published formula gives 0 too.
- q_max = 255 is a block with a NaN or an infinity: all eight decode to NaN, so that a step with
  them can be found and left out, as with exact gradients. Finite magnitudes saturate at
  exp(126/6) = 1.3e9.
- Stochastic rounding is unbiased: between two neighbouring decoded values, and between the
  smallest and its negative, with probability by distance. For that the largest decoded value,
  (15.5/16)^2 maxabs, must not be below the largest magnitude, so q_max is of max|x| / (15.5/16)^2.
- Bytes: a tile is 512 blocks (4096 gradients) in 3072 bytes; first q_max | signs << 8 of each block
  as int16, then its eight codes as int32, element i in bits 4 i. So loads and stores are wide, and
  a range of tiles is a range of bytes, which is what ranks exchange.
"""

import math
from typing import NamedTuple

import torch

from kernels.training.squinch.noise import Noise, noise_numbers

BLOCK = 8
BLOCKS = 512
"""Of a tile."""
TILE = BLOCK * BLOCKS
TILE_BYTES = 6 * BLOCKS
STEPS = 16
"""Codes of an element."""
ZERO, POISON = 0, 255
TOP = ((STEPS - 0.5) / STEPS) ** 2
"""The largest decoded magnitude, in units of maxabs."""
ROOM = (1 + 2**-15) / TOP
"""Stochastic rounding needs so much between the largest magnitude and maxabs, with a little for a
rounded exponential."""


class Format(NamedTuple):
    """What the exponent byte means: maxabs = exp((q_max - bias) / steps)."""

    steps: float = 6.0
    """Of q_max to a factor of e."""
    bias: int = 128
    """The q_max of maxabs 1."""


FORMAT = Format()


def tiles_of(count: int) -> int:
    """How many tiles hold so many gradients."""
    return -(-count // TILE)


def packed_bytes(count: int) -> int:
    """Bytes of so many packed gradients: 6 bits each, rounded up to a tile."""
    return tiles_of(count) * TILE_BYTES


def reference_pack(
    x: torch.Tensor, noise: Noise | None = None, form: Format = FORMAT
) -> torch.Tensor:
    """uint8 `[packed_bytes(x.numel())]` of a flat tensor; what is missing in a tile is zeros."""
    blocks = torch.nn.functional.pad(x.flatten().float(), (0, -x.numel() % TILE)).view(-1, BLOCK)
    exponent = _exponents(blocks.abs(), form, stochastic=noise is not None)
    unit = ((exponent - form.bias).float() / form.steps).exp()
    ratio = blocks / unit[:, None]
    if noise is None:
        negative = torch.signbit(blocks)
        code = (STEPS * ratio.abs().sqrt()).floor()
    else:
        # The upper end of its interval: a bias of 2^-17 of a step, and never a code above the last.
        uniform = (noise_numbers(noise, len(blocks), x.device).float() + 1) / 65536
        code, negative = _dithered(ratio, uniform)
    empty = ((exponent == ZERO) | (exponent == POISON))[:, None]
    code = torch.where(empty, torch.zeros_like(code), code).clamp(0, STEPS - 1).long()
    return _laid_out(exponent, negative & ~empty, code)


def reference_unpack(
    payload: torch.Tensor, count: int, form: Format = FORMAT, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The first `count` gradients of packed bytes."""
    tiles = payload.view(-1, TILE_BYTES)
    head = tiles[:, : 2 * BLOCKS].contiguous().view(torch.int16).int() & 0xFFFF
    codes = tiles[:, 2 * BLOCKS :].contiguous().view(torch.int32)
    shift = torch.arange(BLOCK, device=payload.device, dtype=torch.int32)
    code = codes[..., None] >> (4 * shift) & 0xF
    negative = head[..., None] >> (8 + shift) & 1
    exponent = (head & 0xFF)[..., None]
    unit = ((exponent - form.bias).float() / form.steps).exp()
    value = ((code.float() + 0.5) / STEPS).square() * unit * (1 - 2 * negative)
    value = value.masked_fill(exponent == ZERO, 0.0).masked_fill(exponent == POISON, math.nan)
    return value.flatten()[:count].to(dtype)


def _exponents(magnitude: torch.Tensor, form: Format, *, stochastic: bool) -> torch.Tensor:
    largest = magnitude.amax(1)
    room = math.log(ROOM) if stochastic else 0.0
    code = (form.steps * (largest.log() + room) + (form.bias + 1)).floor()
    code = code.nan_to_num(0.0, float(POISON), 0.0).clamp(ZERO, POISON - 1)
    finite = magnitude.isfinite().all(1)
    return torch.where(finite, code, torch.full_like(code, POISON)).int()


def _dithered(ratio: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and signs, of which the expectation is the ratio."""
    magnitude = ratio.abs()
    low = (STEPS * magnitude.sqrt() - 0.5).floor().clamp(-1, STEPS - 1)
    # -1 is the negative of the smallest: (-1 + 1/2)^2 is its square, too, but for the sign.
    at = ((low + 0.5) / STEPS).square() * torch.where(low < 0, -1.0, 1.0)
    above = ((low + 1.5) / STEPS).square()
    code = low + (uniform * (above - at) < magnitude - at)
    turned = code < 0
    return torch.where(turned, torch.zeros_like(code), code), torch.signbit(ratio) ^ turned


def _laid_out(exponent: torch.Tensor, negative: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    shift = torch.arange(BLOCK, device=code.device)
    signs = (negative.long() << shift).sum(1)
    head = (exponent.long() | signs << 8).to(torch.int16).view(-1, BLOCKS)
    codes = (code << 4 * shift).sum(1).to(torch.int32).view(-1, BLOCKS)
    return torch.cat((head.view(torch.uint8), codes.view(torch.uint8)), 1).flatten()
