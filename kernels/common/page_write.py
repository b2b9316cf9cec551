"""Triton functions that turn keys and values into int8 or fp16 and put them into the KV pages.

The layout is that of `kernels.common.layout`. Each function works on 16 tokens of one KV head;
`token` and `slot` int32 `[16]`: rows of the projection, and where they go, page * 128 + offset in
the page. A slot below 0 is not written. Rows are `qkv_stride` elements apart, bf16.

V is stored transposed, 16 tokens to a group, so one token's V is 128 single bytes 16 apart. Where
the call holds all 16 tokens of a group in order (prefill), one program writes the group in 16-byte
pieces instead. No byte has two writers as long as no slot is named twice.
"""

import triton
import triton.language as tl


@triton.jit
def clamp(x, limit):
    """To float32 and to +-limit."""
    return tl.minimum(tl.maximum(x.to(tl.float32), -limit), limit)


@triton.jit
def to_int8(x):
    """Round to nearest even and saturate at +-127."""
    x = tl.minimum(tl.maximum(x, -127.0), 127.0)
    return (x + 12582912.0).to(tl.int32, bitcast=True).to(tl.int8)


@triton.jit
def write_k(
    k_ptr, positions_ptr, table_ptr, k_scale_ptr, pages_ptr,
    token, slot, tokens, head, qkv_stride, limit,
    KV_HEADS: tl.constexpr, INT8: tl.constexpr,
):  # fmt: skip
    """The keys of 16 tokens of one KV head."""
    d = tl.arange(0, 64)[None, :]
    mask = ((slot >= 0) & (token < tokens))[:, None]
    source = k_ptr + token.to(tl.int64)[:, None] * qkv_stride + d
    low = clamp(tl.load(source, mask=mask, other=0.0), limit)
    high = clamp(tl.load(source + 64, mask=mask, other=0.0), limit)
    position = tl.load(positions_ptr + token, mask=token < tokens, other=0)
    angle = table_ptr + position.to(tl.int64)[:, None] * 128 + d
    cos = tl.load(angle, mask=mask, other=0.0)
    sin = tl.load(angle + 64, mask=mask, other=0.0)
    new_low = low * cos - high * sin
    new_high = high * cos + low * sin
    place = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384 + slot % 128 * 128
    out = pages_ptr + place[:, None] + d
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
    v_ptr, slots_ptr, v_scale_ptr, pages_ptr, token, slot, tokens, head, qkv_stride, limit,
    KV_HEADS: tl.constexpr,
):  # fmt: skip
    """The values of 16 tokens of one KV head, transposed and permuted."""
    # A group is whole if its 16 slots are 16 consecutive tokens of this call, in order.
    leader = token - slot % 16
    step = tl.arange(0, 16)
    member = leader[:, None] + step[None, :]
    named = tl.load(slots_ptr + member, mask=(member >= 0) & (member < tokens), other=-1)
    wrong = (named != (slot - slot % 16)[:, None] + step[None, :]).to(tl.int32)
    whole = (slot >= 0) & (tl.sum(wrong, 1) == 0)
    d = tl.arange(0, 128)

    # Tokens of groups that are not whole: byte by byte.
    alone = ((slot >= 0) & (token < tokens) & (whole == 0))[:, None]
    value = v_ptr + token.to(tl.int64)[:, None] * qkv_stride + d[None, :]
    x = clamp(tl.load(value, mask=alone, other=0.0), limit)
    x = to_int8(x / tl.load(v_scale_ptr + d)[None, :])
    place = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384 + slot % 128 // 16 * 2048
    within = slot % 8 // 2 * 4 + slot % 16 // 8 * 2 + slot % 2
    tl.store(pages_ptr + (place + within)[:, None] + d[None, :] * 16, x, mask=alone)

    # At most one whole group starts among 16 tokens: its first token's program writes all of it.
    first = tl.max(tl.where(whole & (slot % 16 == 0) & (token < tokens), token, -1), 0)
    if first >= 0:
        _write_group(
            v_ptr, slots_ptr, v_scale_ptr, pages_ptr, first, head, qkv_stride, limit, KV_HEADS
        )


@triton.jit
def _write_group(
    v_ptr, slots_ptr, v_scale_ptr, pages_ptr, first, head, qkv_stride, limit,
    KV_HEADS: tl.constexpr,
):  # fmt: skip
    """The 2 KB of 16 consecutive tokens, from token `first`, in 16-byte pieces."""
    slot = tl.load(slots_ptr + first)
    step = tl.arange(0, 16)[None, :]
    d = tl.arange(0, 128)[:, None]
    token = first + step % 4 // 2 * 8 + step // 4 * 2 + step % 2
    x = clamp(tl.load(v_ptr + token.to(tl.int64) * qkv_stride + d), limit)
    x = to_int8(x / tl.load(v_scale_ptr + d))
    page = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384
    tl.store(pages_ptr + page + slot % 128 // 16 * 2048 + d * 16 + step, x)


@triton.jit
def write_v_fp16(
    v_ptr, pages_ptr, token, slot, tokens, head, qkv_stride, limit, KV_HEADS: tl.constexpr
):
    """The values of 16 tokens of one KV head, fp16, not transposed."""
    d = tl.arange(0, 128)[None, :]
    mask = ((slot >= 0) & (token < tokens))[:, None]
    value = v_ptr + token.to(tl.int64)[:, None] * qkv_stride + d
    x = clamp(tl.load(value, mask=mask, other=0.0), limit)
    place = (slot // 128).to(tl.int64) * (KV_HEADS * 16384) + head * 16384 + slot % 128 * 128
    tl.store(pages_ptr + place[:, None] + d, x.to(tl.float16), mask=mask)
