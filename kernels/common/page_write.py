"""Triton functions that turn keys and values into int8 or fp16 and put them into the KV pages.

The layout is that of `kernels.common.layout`. Each function works on 16 tokens of one KV head;
`token` int32 `[16]`: rows of the projection, `qkv_stride` elements apart, bf16. `slots` says where
they go, page * 128 + offset in the page; a slot below 0 is not written. With CHAINED the launch
before this one may still run, and nothing but the projection is taken to come from it.

V is stored transposed, 16 tokens to a group, so one token's V is 128 single bytes 16 apart. Where
the call holds all 16 tokens of a group in order (prefill), one program writes the group in 16-byte
pieces instead. No byte has two writers as long as no slot is named twice.
"""

import triton
import triton.language as tl

from kernels.common.pieces import await_launch, to_int8


@triton.jit
def clamp(x, LIMIT: tl.constexpr):
    """To float32 and to +-LIMIT: one instruction, since the bounds are known and symmetric."""
    return tl.clamp(x.to(tl.float32), -LIMIT, LIMIT)


@triton.jit
def rotated(x, factor, other, other_factor):
    """One channel of a pair after the rotation. Which of the two products is rounded is said here:
    left to the compiler, two variants of a kernel can differ in the last bit."""
    return tl.fma(x, factor, other * other_factor)


@triton.jit
def write_k(
    k_ptr, positions_ptr, table_ptr, k_scale_ptr, slots_ptr, pages_ptr,
    token, tokens, head, qkv_stride,
    LIMIT: tl.constexpr, KV_HEADS: tl.constexpr, INT8: tl.constexpr, CHAINED: tl.constexpr,
):  # fmt: skip
    """The keys of 16 tokens of one KV head. No load but the table's waits for another."""
    d = tl.arange(0, 64)[None, :]
    present = token < tokens
    slot = tl.load(slots_ptr + token, mask=present, other=-1)
    position = tl.load(positions_ptr + token, mask=present, other=0)
    angle = table_ptr + position.to(tl.int64)[:, None] * 128 + d
    cos = tl.load(angle)
    sin = tl.load(angle + 64)
    await_launch(CHAINED)
    source = k_ptr + token.to(tl.int64)[:, None] * qkv_stride + d
    low = clamp(tl.load(source, mask=present[:, None], other=0.0), LIMIT)
    high = clamp(tl.load(source + 64, mask=present[:, None], other=0.0), LIMIT)
    new_low = rotated(low, cos, high, -sin)
    new_high = rotated(high, cos, low, sin)
    place = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384 + slot % 128 * 128
    out = pages_ptr + place[:, None] + d
    mask = (slot >= 0)[:, None]
    if INT8:
        new_low = to_int8(new_low / tl.load(k_scale_ptr + head * 128 + d))
        new_high = to_int8(new_high / tl.load(k_scale_ptr + head * 128 + 64 + d))
        tl.store(out, new_low, mask=mask)
        tl.store(out + 64, new_high, mask=mask)
    else:
        tl.store(out, new_low.to(tl.float16), mask=mask)
        tl.store(out + 64, new_high.to(tl.float16), mask=mask)


@triton.jit
def write_v_int8(
    v_ptr, slots_ptr, v_scale_ptr, pages_ptr, token, tokens, head, qkv_stride,
    LIMIT: tl.constexpr, KV_HEADS: tl.constexpr, CHAINED: tl.constexpr,
):  # fmt: skip
    """The values of 16 tokens of one KV head, transposed and permuted."""
    present = token < tokens
    slot = tl.load(slots_ptr + token, mask=present, other=-1)
    await_launch(CHAINED)
    d = tl.arange(0, 128)
    value = v_ptr + token.to(tl.int64)[:, None] * qkv_stride + d[None, :]
    x = tl.load(value, mask=present[:, None], other=0.0)  # before it is known who writes it
    tl.debug_barrier()  # nor later than the scales, which go through shared memory
    scale = tl.load(v_scale_ptr + d)[None, :]

    # A group is whole if its 16 slots are 16 consecutive tokens of this call, in order.
    leader = token - slot % 16
    step = tl.arange(0, 16)
    member = leader[:, None] + step[None, :]
    named = tl.load(slots_ptr + member, mask=(member >= 0) & (member < tokens), other=-1)
    wrong = (named != (slot - slot % 16)[:, None] + step[None, :]).to(tl.int32)
    whole = (slot >= 0) & (tl.sum(wrong, 1) == 0)

    # Tokens of groups that are not whole: byte by byte.
    alone = ((slot >= 0) & (whole == 0))[:, None]
    x = to_int8(clamp(x, LIMIT) / scale)
    place = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384 + slot % 128 // 16 * 2048
    within = slot % 8 // 2 * 4 + slot % 16 // 8 * 2 + slot % 2
    tl.store(pages_ptr + (place + within)[:, None] + d[None, :] * 16, x, mask=alone)

    # At most one whole group starts among 16 tokens: its first token's program writes all of it.
    first = tl.max(tl.where(whole & (slot % 16 == 0), token, -1), 0)
    if first >= 0:
        start = tl.max(tl.where(token == first, slot, -1), 0)
        _write_group(v_ptr, v_scale_ptr, pages_ptr, first, start, head, qkv_stride, LIMIT, KV_HEADS)


@triton.jit
def _write_group(
    v_ptr, v_scale_ptr, pages_ptr, first, slot, head, qkv_stride,
    LIMIT: tl.constexpr, KV_HEADS: tl.constexpr,
):  # fmt: skip
    """The 2 KB of 16 consecutive tokens, from token `first` for `slot` on, in 16-byte pieces."""
    step = tl.arange(0, 16)[None, :]
    d = tl.arange(0, 128)[:, None]
    token = first + step % 4 // 2 * 8 + step // 4 * 2 + step % 2
    x = clamp(tl.load(v_ptr + token.to(tl.int64) * qkv_stride + d), LIMIT)
    x = to_int8(x / tl.load(v_scale_ptr + d))
    page = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384
    tl.store(pages_ptr + page + slot % 128 // 16 * 2048 + d * 16 + step, x)


@triton.jit
def write_v_fp16(
    v_ptr, slots_ptr, pages_ptr, token, tokens, head, qkv_stride,
    LIMIT: tl.constexpr, KV_HEADS: tl.constexpr, CHAINED: tl.constexpr,
):  # fmt: skip
    """The values of 16 tokens of one KV head, fp16, not transposed."""
    d = tl.arange(0, 128)[None, :]
    present = token < tokens
    slot = tl.load(slots_ptr + token, mask=present, other=-1)
    await_launch(CHAINED)
    value = v_ptr + token.to(tl.int64)[:, None] * qkv_stride + d
    x = clamp(tl.load(value, mask=present[:, None], other=0.0), LIMIT)
    place = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384 + slot % 128 * 128
    tl.store(pages_ptr + place[:, None] + d, x.to(tl.float16), mask=(slot >= 0)[:, None])
