"""Random bits of stochastic rounding: a function of a seed, a step and a block's number.

One Philox2x32-7 (Salmon et al., SC11) gives a block two words. Each of them is four numbers of 16
bits: two neighbouring bytes, the first of which is also the high byte of the number before. So each
number is uniform on 65,536 values, and neighbours have a correlation of 1/256. Rounding needs no
more than the first; bits of their own would take twice the work.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

NOISE_ROUNDS = 7
NUMBERS = 8
"""Of a block."""
_MULTIPLIER, _WEYL, _FOLD, _WORD = 0xD256D193, 0x9E3779B9, 0x85EBCA6B, 0xFFFFFFFF
MULTIPLIER, WEYL = tl.constexpr(_MULTIPLIER), tl.constexpr(_WEYL)
ROUNDS = tl.constexpr(NOISE_ROUNDS)


class Noise(NamedTuple):
    """Stochastic rounding: random bits are a function of these, and of an element's place."""

    seed: int
    """Any 63 bits, folded to 32; ranks should have different ones, so that their errors average
    out."""
    step: int = 0
    """Counts the packings of one seed."""


def words_of(noise: Noise | None) -> tuple[int, int]:
    """Key and step as a kernel takes them: 32 bits with a sign."""
    if noise is None:
        return 0, 0
    key = (noise.seed + (noise.seed >> 32) * _FOLD) & _WORD
    return _signed(key), _signed(noise.step & _WORD)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


@triton.jit
def noise_words(block, key, step):
    """Two words of random bits for each of `block`, int32; as uint32."""
    a = block.to(tl.uint32, bitcast=True)
    # Zeros of `block` give scalars its shape, and its kind of number.
    b = (block * 0 + step).to(tl.uint32, bitcast=True)
    k = (block * 0 + key).to(tl.uint32, bitcast=True)
    for _ in tl.static_range(ROUNDS):
        wide = a.to(tl.uint64) * MULTIPLIER
        a = (wide >> 32).to(tl.uint32) ^ k ^ b
        b = wide.to(tl.uint32)
        k = k + WEYL
    return a, b


@triton.jit
def noise_at(a, b, i):
    """Number i, 0 to 65,535, in the low half of a word."""
    word = tl.where(i < 4, a, b)
    low = (word * 0 + 8 * (i % 4)).to(tl.uint32)
    return ((word >> low) | (word << ((32 - low) & 31))) & 0xFFFF


@triton.jit
def noise_float(a, b, i, PLAIN: tl.constexpr):
    """1 + number i / 2^23: no conversion, which is slow. One instruction picks four bytes (not
    `PLAIN`: the interpreter has no assembler)."""
    if PLAIN:
        return (noise_at(a, b, i) | 0x3F800000).to(tl.float32, bitcast=True)
    word = tl.where(i < 4, a, b)
    pick = (i % 4) | ((i + 1) % 4) << 4 | 0x7600
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, 0x3F800000, $2;", "=f,r,r", [word, pick], tl.float32, True, 1
    )


def noise_numbers(noise: Noise, blocks: int, device: torch.device) -> torch.Tensor:
    """All of them, int64 `[blocks, 8]`."""
    key, step = (word & _WORD for word in words_of(noise))
    a = torch.arange(blocks, device=device)
    b = torch.full_like(a, step)
    for _ in range(NOISE_ROUNDS):
        wide = a * _MULTIPLIER  # may wrap beyond 63 bits, with the right bits all the same
        a, b = (wide >> 32 & _WORD) ^ key ^ b, wide & _WORD
        key = key + _WEYL & _WORD
    low = torch.stack([word >> 8 * n & 0xFF for word in (a, b) for n in range(4)], 1)
    return low | low.view(-1, 2, 4).roll(-1, 2).view(-1, 8) << 8
