"""Packs and unpacks gradients in the format of `codec`: one program, one tile.

Unpacking adds up several payloads, as a reduction over ranks needs: with one it only unpacks.
"""

from typing import Literal

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice

from kernels.common import checks
from kernels.common.device import Work, is_interpreted
from kernels.training.squinch.codec import (
    BLOCKS,
    FORMAT,
    ROOM,
    STEPS,
    TILE,
    TILE_BYTES,
    Format,
    packed_bytes,
    reference_pack,
    reference_unpack,
    tiles_of,
)
from kernels.training.squinch.noise import Noise, noise_float, noise_words, words_of

Backend = Literal["auto", "triton", "torch"]
FLOATS = (torch.float32, torch.bfloat16)
MOST_TILES = 1 << 22
"""Blocks are counted in 32 bits."""
TOP_ROOM = tl.constexpr(ROOM)
RANGE = tl.constexpr(1.0 / STEPS**2)


@triton.jit
def _load(ptr, at, count, is_whole):
    """A tile, in float32. Only the last one needs a mask, and masked loads are narrow ones."""
    if is_whole:
        x = tl.load(ptr + at).to(tl.float32)
    else:
        x = tl.load(ptr + at, mask=at < count, other=0.0).to(tl.float32)
    return x


@triton.jit
def _store(ptr, at, value, count, is_whole):
    """The same the other way."""
    value = value.to(ptr.dtype.element_ty)
    if is_whole:
        tl.store(ptr + at, value)
    else:
        tl.store(ptr + at, value, mask=at < count)


@triton.jit
def _exponent(
    largest, STEPS_E: tl.constexpr, BIAS: tl.constexpr, ROOM: tl.constexpr, PLAIN: tl.constexpr
):  # fmt: skip
    """q_max of finite blocks; 0 where all is zero. The bounds only spare the logarithm a zero."""
    bounded = tl.clamp(largest, 1e-37, 1e37) * ROOM
    # The exact logarithm takes an eighth of the whole kernel.
    log = tl.log(bounded) if PLAIN else libdevice.fast_logf(bounded)
    wide = log * STEPS_E + (BIAS + 1.0)
    return tl.floor(tl.minimum(tl.maximum(wide, 0.0), 254.0))


@triton.jit
def _dithered(x, inverse, block, key, step, PLAIN: tl.constexpr):
    """Codes, and less than 0 (its sign bit) where the sign turns: the expectation is the ratio,
    |x| inverse, in units of maxabs / 256.

    Between (c + 1/2)^2 and (c + 3/2)^2 the upper one is chosen where ratio > (c + 1/2)^2 + u (2c +
    2), which is sqrt(ratio - u (1 - u)) > c + 1/2 + u: one formula for all c. Below 1/4 there is
    only the sign, which turns where u > 2 ratio + 1/2. All in h = 1/2 - u.
    """
    a, b = noise_words(block, key, step)
    number = noise_float(a[:, None], b[:, None], tl.arange(0, 8)[None, :], PLAIN)
    h = (128.5 - 1.0 / 65536) - 128.0 * number
    size = tl.abs(x)
    # What is below zero has code 0, as its absolute value has: sqrt(1/4 - h^2) + h < 1.
    root = tl.sqrt(tl.abs(h * h + (size * inverse - 0.25)))
    code = tl.minimum(root + h, 15.5).to(tl.int32)  # cut off: down to -1/2 is 0
    return code, size * (2.0 * inverse) + h


@triton.jit
def _pack(
    x_ptr, residual_ptr, out_ptr, count, stride, key, step,
    BLOCKS: tl.constexpr, TILE_BYTES: tl.constexpr, STEPS_E: tl.constexpr, BIAS: tl.constexpr,
    STOCHASTIC: tl.constexpr, FEEDBACK: tl.constexpr, PLAIN: tl.constexpr,
):  # fmt: skip
    """`residual`: what earlier packings left over, added before and replaced."""
    tile = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    x_ptr += row * stride
    if FEEDBACK:
        residual_ptr += row * stride
    of_all = row * tl.num_programs(0) + tile
    block = tl.arange(0, BLOCKS)
    i = tl.arange(0, 8)[None, :]
    at = tile * (BLOCKS * 8) + block[:, None] * 8 + i
    is_whole = (tile + 1) * (BLOCKS * 8) <= count
    x = _load(x_ptr, at, count, is_whole)
    if FEEDBACK:
        x += _load(residual_ptr, at, count, is_whole)
    bits = x.to(tl.int32, bitcast=True)
    # As integers, magnitudes are in their order, infinity above all numbers and NaN above it.
    largest = tl.max(bits & 0x7FFFFFFF, 1)
    finite = largest < 0x7F800000
    exponent = _exponent(
        tl.where(finite, largest, 0).to(tl.float32, bitcast=True),
        STEPS_E, BIAS, TOP_ROOM if STOCHASTIC else 1.0, PLAIN,
    )  # fmt: skip
    empty = exponent == 0.0
    inverse = tl.where(empty, 0.0, 256.0 * tl.exp((BIAS - exponent) / STEPS_E))
    if STOCHASTIC:
        number = (of_all * BLOCKS + block).to(tl.int32)
        code, turned = _dithered(x, inverse[:, None], number, key, step, PLAIN)
        negative = (bits ^ turned.to(tl.int32, bitcast=True)) >> 31
    else:
        code = tl.minimum(tl.sqrt(tl.abs(x) * inverse[:, None]), 15.5).to(tl.int32)
        negative = bits >> 31  # every bit is the sign
    # Different bits: their sum is their union.
    signs = tl.sum(negative & (1 << i), 1)
    codes = tl.where(empty, 0, tl.sum(code << (4 * i), 1))
    head = tl.where(finite, exponent.to(tl.int32) | tl.where(empty, 0, signs << 8), 255)
    base = out_ptr + of_all * TILE_BYTES
    tl.store(base.to(tl.pointer_type(tl.int16)) + block, head.to(tl.int16))
    tl.store((base + 2 * BLOCKS).to(tl.pointer_type(tl.int32)) + block, codes)
    if FEEDBACK:
        unit = tl.where(empty, 0.0, tl.exp((exponent - BIAS) / STEPS_E))
        root = (code.to(tl.float32) + 0.5) * 0.0625
        got = root * root * tl.where(negative != 0, -unit[:, None], unit[:, None])
        left = tl.where(finite[:, None], x - got, 0.0)
        _store(residual_ptr, at, left, count, is_whole)


@triton.jit
def _value(head, codes, unit, PLACE: tl.constexpr, PLAIN: tl.constexpr):
    """Gradient PLACE of each block; `unit` is the bits of maxabs / 256.

    A code is not shifted: under the exponent of 2^23 it is UNIT times itself, which a product takes
    away. (a & mask) | exponent is one instruction; the compiler would take two.
    """
    UNIT: tl.constexpr = 16 ** (PLACE if PLACE < 5 else PLACE - 3)
    word = codes if PLACE < 5 else codes >> 12
    if PLAIN:
        word = word & (15 * UNIT) | 0x4B000000
    else:
        word = tl.inline_asm_elementwise(
            "lop3.b32 $0, $1, $2, 0x4B000000, 0xEA;", "=r,r,r", [word, 15 * UNIT],
            tl.int32, True, 1,
        )  # fmt: skip
    root = word.to(tl.float32, bitcast=True) * (1.0 / UNIT) - (8388608.0 / UNIT - 0.5)
    signed = unit ^ ((head << (23 - PLACE)) & -0x80000000)
    return root * root * signed.to(tl.float32, bitcast=True)


@triton.jit
def _unpack(
    payload_ptr, out_ptr, count, stride, factor,
    RANKS: tl.constexpr, BLOCKS: tl.constexpr, TILE_BYTES: tl.constexpr, STEPS_E: tl.constexpr,
    BIAS: tl.constexpr, PLAIN: tl.constexpr,
):  # fmt: skip
    """factor times the sum of RANKS payloads, `stride` bytes apart, in the order of ranks.

    A thread has whole blocks: its eight sums come together only at the end, not in each rank.
    """
    tile = tl.program_id(0).to(tl.int64)
    block = tl.arange(0, BLOCKS)
    zero = tl.zeros((BLOCKS,), tl.float32)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    for rank in tl.static_range(RANKS):
        base = payload_ptr + rank * stride + tile * TILE_BYTES
        head = tl.load(base.to(tl.pointer_type(tl.int16)) + block).to(tl.int32)
        codes = tl.load((base + 2 * BLOCKS).to(tl.pointer_type(tl.int32)) + block)
        exponent = head & 0xFF
        unit = tl.exp2((exponent.to(tl.float32) - BIAS) * (1.4426950408889634 / STEPS_E))
        unit = tl.where(exponent == 0, 0.0, tl.where(exponent == 255, float("nan"), unit * RANGE))
        unit = unit.to(tl.int32, bitcast=True)
        s0 += _value(head, codes, unit, 0, PLAIN)
        s1 += _value(head, codes, unit, 1, PLAIN)
        s2 += _value(head, codes, unit, 2, PLAIN)
        s3 += _value(head, codes, unit, 3, PLAIN)
        s4 += _value(head, codes, unit, 4, PLAIN)
        s5 += _value(head, codes, unit, 5, PLAIN)
        s6 += _value(head, codes, unit, 6, PLAIN)
        s7 += _value(head, codes, unit, 7, PLAIN)
    # The last join is the lowest bit of an element's number.
    even = tl.join(tl.join(s0, s4), tl.join(s2, s6))
    odd = tl.join(tl.join(s1, s5), tl.join(s3, s7))
    total = tl.reshape(tl.join(even, odd), (BLOCKS * 8,)) * factor
    at = tile * (BLOCKS * 8) + tl.arange(0, BLOCKS * 8)
    _store(out_ptr, at, total, count, (tile + 1) * (BLOCKS * 8) <= count)


def _by_torch(backend: Backend, device: torch.device) -> bool:
    """Whether the reference computes: on a CPU, where Triton would be interpreted."""
    checks.one_of("backend", backend, ("auto", "triton", "torch"))
    return backend == "torch" or (backend == "auto" and device.type == "cpu")


def squinch_pack(
    x: torch.Tensor, *,
    noise: Noise | None = None, residual: torch.Tensor | None = None, form: Format = FORMAT,
    out: torch.Tensor | None = None, backend: Backend = "auto",
) -> torch.Tensor:  # fmt: skip
    """Gradients, float32 or bf16, as uint8 `[packed_bytes(count)]`.

    `x` is flat, or `[rows, count]` for payloads of its rows, `[rows, packed_bytes(count)]`.
    `noise`: round stochastically, else to the nearest step of the root. `residual`, float32 or
    bf16, sized like `x`: error feedback; it is added first, and what the code cannot say is left in
    it (zero in a block that is not finite). Raises ValueError that names the argument.
    """
    checks.tensor("x", x, (None,) * min(x.dim(), 2), FLOATS)
    rows, count = (1, x.shape[0]) if x.dim() == 1 else x.shape
    if rows * tiles_of(count) >= MOST_TILES:
        raise ValueError(f"x: has {x.numel()} elements, must have fewer than {MOST_TILES * TILE}")
    if residual is not None:
        checks.tensor("residual", residual, x.shape, FLOATS, x.device)
    shape = (*x.shape[:-1], packed_bytes(count))
    if out is None:
        out = torch.empty(shape, dtype=torch.uint8, device=x.device)
    checks.tensor("out", out, shape, torch.uint8, x.device)
    if x.numel() == 0:
        return out
    if _by_torch(backend, x.device):
        return _pack_by_torch(x, noise, residual, form, out)
    key, step = words_of(noise)
    _pack[(tiles_of(count), rows)](
        x, residual, out, count, count, key, step, BLOCKS=BLOCKS, TILE_BYTES=TILE_BYTES,
        STEPS_E=float(form.steps), BIAS=float(form.bias), STOCHASTIC=noise is not None,
        FEEDBACK=residual is not None, PLAIN=is_interpreted(), num_warps=4,
    )  # fmt: skip
    return out


def _pack_by_torch(
    x: torch.Tensor, noise: Noise | None, residual: torch.Tensor | None, form: Format,
    out: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    total = x.float() if residual is None else x.float() + residual.float()
    count = x.shape[-1]
    rows = torch.nn.functional.pad(total.view(-1, count), (0, -count % TILE))
    out.copy_(reference_pack(rows, noise, form).view_as(out))
    if residual is not None:
        got = reference_unpack(out, rows.numel(), form).view_as(rows)[:, :count]
        residual.copy_((total - got.reshape(x.shape)).nan_to_num(0.0, 0.0, 0.0))
    return out


def squinch_unpack(
    payload: torch.Tensor, count: int, *,
    factor: float = 1.0, dtype: torch.dtype = torch.float32, form: Format = FORMAT,
    out: torch.Tensor | None = None, backend: Backend = "auto",
) -> torch.Tensor:  # fmt: skip
    """`factor` times the sum of packed gradients, in float32, then as `dtype`: `[count]`.

    `payload` uint8 `[bytes]`, or `[ranks, bytes]` to be added up. Raises ValueError.
    """
    checks.tensor("payload", payload, (None,) * min(payload.dim(), 2), torch.uint8)
    payloads = payload.view(-1, payload.shape[-1]) if payload.dim() == 2 else payload[None]
    if payloads.shape[1] != packed_bytes(count):
        raise ValueError(
            f"payload: has {payloads.shape[1]} bytes, must have {packed_bytes(count)} for {count}"
        )
    if out is None:
        out = torch.empty(count, dtype=dtype, device=payload.device)
    checks.tensor("out", out, (count,), FLOATS, payload.device)
    if count == 0:
        return out
    if _by_torch(backend, payload.device):
        parts = [reference_unpack(part, count, form) for part in payloads]
        total = torch.zeros_like(parts[0])
        for part in parts:
            total += part
        return out.copy_(total * factor)
    _unpack[(tiles_of(count),)](
        payloads, out, count, payloads.stride(0), factor, RANKS=len(payloads), BLOCKS=BLOCKS,
        TILE_BYTES=TILE_BYTES, STEPS_E=float(form.steps), BIAS=float(form.bias),
        PLAIN=is_interpreted(), num_warps=4,
    )  # fmt: skip
    return out


def flops_and_bytes(count: int, dtype: torch.dtype = torch.bfloat16) -> Work:
    """Of packing or of unpacking one payload: about 12 operations a gradient."""
    return Work(12.0 * count, float(count * dtype.itemsize + packed_bytes(count)))


__all__ = ["TILE", "flops_and_bytes", "squinch_pack", "squinch_unpack"]
