"""Clamp, rotary embedding, quantisation, and the write into the KV pages: one launch.

The fused projection's output (bf16) holds a token's query heads, then its key heads, then its value
heads, 128 channels each. All are clamped to +-limit before the rotation (so the static int8 scales
of K and V need no calibration). Then

- q is rotated, multiplied by K's channel scale (attention then never sees that scale), and
  quantised per token and head;
- k is rotated and quantised with K's static channel scale, v with V's; both go to the slot of their
  token in the layout of `kernels/common/layout.py`.

Layers that share another layer's KV project q only: no pages, no slots, the owner's `k_scale`.
With fp16 pages nothing is quantised and no scale is taken.

The rotation pairs channel d with d + 64 (rotate-half), angle position * base ** (-d / 64). Cosines
and sines come from a table made in float64: at position 32,000 the float32 angle alone is off by
2e-3, and a token's 512 bytes of table are 2 % of what its 64 heads move.

`kernels.common.page_write` has the write. No slot may be named twice.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work, is_interpreted
from kernels.common.layout import GROUP, HEAD_DIM, PAGE, KVPages
from kernels.common.page_write import (
    clamp,
    rotated,
    write_k,
    write_v_fp16,
    write_v_int8,
)
from kernels.common.pieces import await_launch, rounded

HALF = HEAD_DIM // 2
LIMIT = 4.0


class Queries(NamedTuple):
    """`values` int8 `[tokens, heads, 128]` and `scale` float32 `[tokens, heads]`, or fp16 and
    None."""

    values: torch.Tensor
    scale: torch.Tensor | None


def rotary_table(positions: int, base: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """Cosines and sines of positions 0 to `positions` - 1, float32 `[positions, 2, 64]`, computed
    in float64."""
    frequency = base ** (-torch.arange(HALF, dtype=torch.float64) / HALF)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    return torch.stack((angle.cos(), angle.sin()), 1).float().to(device)


class Written(NamedTuple):
    """What the specification gives, in float64 and in units of the scales, before rounding:
    `q` `[tokens, heads, 128]`, `k` and `v` `[tokens, kv_heads, 128]`."""

    q: torch.Tensor
    q_scale: torch.Tensor | None
    k: torch.Tensor | None
    v: torch.Tensor | None


def reference(
    qkv: torch.Tensor, positions: torch.Tensor, base: float, *, heads: int, kv_heads: int = 1,
    k_scale: torch.Tensor | None = None, v_scale: torch.Tensor | None = None, limit: float = LIMIT,
) -> Written:  # fmt: skip
    """The specification, in float64. `k_scale` None: fp16, nothing is scaled. A projection of
    `heads` * 128 channels holds no k and v."""
    x = qkv.double().unflatten(-1, (-1, HEAD_DIM)).clamp(-limit, limit)
    frequency = base ** (-torch.arange(HALF, dtype=torch.float64, device=x.device) / HALF)
    angle = positions.double()[:, None, None] * frequency
    low, high = x[..., :HALF], x[..., HALF:]
    turned = torch.cat(
        (low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()), -1
    )
    q, q_scale = turned[:, :heads], None
    if k_scale is not None:
        q = q * k_scale.double().repeat_interleave(heads // kv_heads, 0)
        largest = q.abs().amax(-1)
        q_scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        q = q / q_scale[..., None]
    if x.shape[1] == heads:
        return Written(q, q_scale, None, None)
    k, v = turned[:, heads : heads + kv_heads], x[:, heads + kv_heads :]
    if k_scale is not None and v_scale is not None:
        k = (k / k_scale.double()).clamp(-127, 127)
        v = (v / v_scale.double()).clamp(-127, 127)
    return Written(q, q_scale, k, v)


@triton.jit
def _rotate_q(
    qkv_ptr, positions_ptr, table_ptr, k_scale_ptr, q_ptr, q_scale_ptr,
    block, qkv_stride,
    LIMIT: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, INT8: tl.constexpr,
    BLOCK_H: tl.constexpr, PIECE: tl.constexpr, CHAINED: tl.constexpr,
):  # fmt: skip
    """BLOCK_H heads of a token. The two halves of a row are two tiles, so that a pair of channels
    meets in one thread. PIECE: bytes of int8 q that a thread stores at once."""
    BLOCKS: tl.constexpr = (HEADS + BLOCK_H - 1) // BLOCK_H
    token = (block // BLOCKS).to(tl.int64)
    head = (block % BLOCKS) * BLOCK_H + tl.arange(0, BLOCK_H)[:, None]
    d = tl.arange(0, 64)[None, :]
    position = tl.load(positions_ptr + token).to(tl.int64)
    if INT8:
        channel = k_scale_ptr + d
        if KV_HEADS > 1:
            channel += tl.minimum(head // (HEADS // KV_HEADS), KV_HEADS - 1) * 128
        scale_low, scale_high = tl.load(channel), tl.load(channel + 64)
    if CHAINED:
        angle = table_ptr + position * 128 + d
        cos, sin = tl.load(angle), tl.load(angle + 64)
    await_launch(CHAINED)
    mask = head < HEADS
    source = qkv_ptr + token * qkv_stride + head * 128 + d
    low = tl.load(source, mask=mask, other=0.0)
    high = tl.load(source + 64, mask=mask, other=0.0)
    # All loads start here: ptxas would save registers by asking for parts of q, and for the scales,
    # when it has done with others, and so wait for memory several times.
    tl.debug_barrier()
    if not CHAINED:  # the position is on its way while q is asked for
        angle = table_ptr + position * 128 + d
        cos, sin = tl.load(angle), tl.load(angle + 64)
    low, high = clamp(low, LIMIT), clamp(high, LIMIT)
    row = token * HEADS + head
    out = tl.multiple_of(q_ptr + row * 128 + d, (1, PIECE if INT8 else 16))
    if INT8:
        # With one KV head the four factors are the same for every row.
        new_low = rotated(low, cos * scale_low, high, -(sin * scale_low))
        new_high = rotated(high, cos * scale_high, low, sin * scale_high)
        largest = tl.max(tl.maximum(tl.abs(new_low), tl.abs(new_high)), axis=1, keep_dims=True)
        largest = tl.where(largest > 0, largest, 127.0)
        units = 127.0 / largest  # then nothing exceeds 127 by more than its rounding
        tl.store(out, rounded(new_low * units), mask=mask)
        tl.store(out + 64, rounded(new_high * units), mask=mask)
        tl.store(q_scale_ptr + row, largest / 127.0, mask=mask)
    else:
        tl.store(out, rotated(low, cos, high, -sin).to(tl.float16), mask=mask)
        tl.store(out + 64, rotated(high, cos, low, sin).to(tl.float16), mask=mask)


@triton.jit(do_not_specialize=["tokens"], do_not_specialize_on_alignment=["q_ptr"])
def _rotary_write(
    qkv_ptr, positions_ptr, table_ptr, k_scale_ptr, v_scale_ptr, slots_ptr,
    q_ptr, q_scale_ptr, k_pages_ptr, v_pages_ptr, tokens, qkv_stride,
    LIMIT: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr,
    HAS_KV: tl.constexpr, INT8: tl.constexpr,
    BLOCK_H: tl.constexpr, PIECE: tl.constexpr, CHAINED: tl.constexpr,
):  # fmt: skip
    """The first programs write K and V (their chain of loads is longer), one of the two for 16
    tokens of a KV head each; the others turn q."""
    program = tl.program_id(0)
    writers = 0
    if HAS_KV:
        writers = tl.cdiv(tokens, 16) * (2 * KV_HEADS)
    if program >= writers:
        _rotate_q(
            qkv_ptr, positions_ptr, table_ptr, k_scale_ptr, q_ptr, q_scale_ptr,
            program - writers, qkv_stride,
            LIMIT, HEADS, KV_HEADS, INT8, BLOCK_H, PIECE, CHAINED,
        )  # fmt: skip
    elif HAS_KV:
        head = program // 2 % KV_HEADS
        token = program // (2 * KV_HEADS) * 16 + tl.arange(0, 16)
        k_ptr = qkv_ptr + (HEADS + head) * 128
        v_ptr = qkv_ptr + (HEADS + KV_HEADS + head) * 128
        if program % 2 == 1:
            write_k(
                k_ptr, positions_ptr, table_ptr, k_scale_ptr, slots_ptr, k_pages_ptr,
                token, tokens, head, qkv_stride, LIMIT, KV_HEADS, INT8, CHAINED,
            )  # fmt: skip
        elif INT8:
            write_v_int8(
                v_ptr, slots_ptr, v_scale_ptr + head * 128, v_pages_ptr,
                token, tokens, head, qkv_stride, LIMIT, KV_HEADS, CHAINED,
            )  # fmt: skip
        else:
            write_v_fp16(
                v_ptr, slots_ptr, v_pages_ptr, token, tokens, head, qkv_stride,
                LIMIT, KV_HEADS, CHAINED,
            )  # fmt: skip


def rotary_write(
    qkv: torch.Tensor, positions: torch.Tensor, table: torch.Tensor, *,
    k_scale: torch.Tensor | None = None, v_scale: torch.Tensor | None = None,
    pages: KVPages | None = None, slots: torch.Tensor | None = None,
    q: torch.Tensor | None = None, q_scale: torch.Tensor | None = None,
    limit: float = LIMIT, check: bool = False, chained: bool = False,
) -> Queries:  # fmt: skip
    """Rotated queries; keys and values go to `pages`, in place.

    `qkv` bf16 `[tokens, (heads + 2 * kv_heads) * 128]`, or `[tokens, heads * 128]` without `pages`;
    its rows may be strided. `positions` int32 `[tokens]`, `table` from `rotary_table`. `slots`
    int32 `[tokens]`: page * 128 + offset in the page, -1: do not write this token. No slot may
    occur twice. `k_scale`, `v_scale` float32 `[kv_heads, 128]`: int8; without them q and the pages
    are fp16. `q` and `q_scale` take the result, as in `Queries`. `check` also looks at the values
    of positions and slots, which reads the device. `chained` lets the launch begin while the one
    before it ends (programmatic dependent launch; without effect on a CPU): that one may write
    `qkv`, and may still read what this one writes, but must not write any other argument.
    Raises ValueError that names the argument, before any launch.
    """
    heads, kv_heads = _check(qkv, positions, table, k_scale, v_scale, pages, slots, limit)
    is_int8, tokens, device = k_scale is not None, len(qkv), qkv.device
    if q is None:
        kind = torch.int8 if is_int8 else torch.float16
        q = torch.empty((tokens, heads, HEAD_DIM), dtype=kind, device=device)
    if q_scale is None and is_int8:
        q_scale = torch.empty((tokens, heads), dtype=torch.float32, device=device)
    _check_out(q, q_scale, tokens, heads, is_int8, device)
    if check:
        _check_values(positions, table, slots, pages)
    if tokens:
        launch(
            qkv, positions, table, k_scale, v_scale, pages, slots, q, q_scale, kv_heads, limit,
            chained=chained,
        )  # fmt: skip
    return Queries(q, q_scale)


def launch(
    qkv: torch.Tensor, positions: torch.Tensor, table: torch.Tensor,
    k_scale: torch.Tensor | None, v_scale: torch.Tensor | None,
    pages: KVPages | None, slots: torch.Tensor | None,
    q: torch.Tensor, q_scale: torch.Tensor | None, kv_heads: int, limit: float, *,
    tile: tuple[int, int, int] | None = None, chained: bool = False,
) -> None:  # fmt: skip
    """Launch without checks. `tile`: heads a program, bytes of int8 q that a thread stores at once,
    and warps a program."""
    tokens, heads = q.shape[:2]
    block, piece, warps = tile or default_tile(heads)
    writers = 0 if pages is None else triton.cdiv(tokens, GROUP) * 2 * kv_heads
    programs = tokens * triton.cdiv(heads, block)
    k_pages, v_pages = (None, None) if pages is None else pages
    chain = {"launch_pdl": True} if chained and not is_interpreted() else {}
    _rotary_write[(writers + programs,)](
        qkv, positions, table, k_scale, v_scale, slots, q, q_scale, k_pages, v_pages,
        tokens, qkv.stride(0),
        LIMIT=float(limit), HEADS=heads, KV_HEADS=kv_heads, HAS_KV=pages is not None,
        INT8=k_scale is not None, BLOCK_H=block, PIECE=piece, CHAINED=bool(chain),
        num_warps=warps, **chain,
    )  # fmt: skip


def default_tile(heads: int) -> tuple[int, int, int]:
    """Heads a program, bytes of q that a thread stores at once, and warps (docs/kernels-log.md).

    A thread that stores 8 bytes of int8 loads 16 of bf16: neighbours then read neighbouring pieces.
    """
    return min(64, triton.next_power_of_2(heads)), 8, 4


def _check(
    qkv: torch.Tensor, positions: torch.Tensor, table: torch.Tensor,
    k_scale: torch.Tensor | None, v_scale: torch.Tensor | None,
    pages: KVPages | None, slots: torch.Tensor | None, limit: float,
) -> tuple[int, int]:  # fmt: skip
    """Number of query and of KV heads, or ValueError."""
    checks.tensor("qkv", qkv, (None, None), torch.bfloat16, rows_only=True)
    tokens, channels, device = len(qkv), qkv.shape[1], qkv.device
    checks.tensor("positions", positions, (tokens,), torch.int32, device)
    checks.tensor("table", table, (None, 2, HALF), torch.float32, device)
    checks.number("limit", limit, 1e-3, 1e4)
    if k_scale is not None:
        checks.tensor("k_scale", k_scale, (None, HEAD_DIM), torch.float32, device)
    kv_heads = 1 if k_scale is None else len(k_scale)
    if pages is None:
        for name, value in (("slots", slots), ("v_scale", v_scale)):
            if value is not None:
                raise ValueError(f"{name}: is given, but there are no pages to write to")
    else:
        kv_heads = _check_pages(pages, slots, k_scale, v_scale, tokens, device)
    extra = 0 if pages is None else 2 * kv_heads
    heads = channels // HEAD_DIM - extra
    if channels % HEAD_DIM or heads < 1 or heads % kv_heads:
        need = f"(heads + {extra}) * 128 with heads a multiple of {kv_heads}"
        raise ValueError(f"qkv: has {channels} channels, must be {need}")
    return heads, kv_heads


def _check_pages(
    pages: KVPages, slots: torch.Tensor | None,
    k_scale: torch.Tensor | None, v_scale: torch.Tensor | None, tokens: int, device: torch.device,
) -> int:  # fmt: skip
    is_int8 = k_scale is not None
    kind = torch.int8 if is_int8 else torch.float16
    kv_heads = pages.k.shape[1] if pages.k.dim() == 4 else 0
    heads = len(k_scale) if k_scale is not None else kv_heads
    checks.tensor("pages.k", pages.k, (None, heads, PAGE, HEAD_DIM), kind, device)
    tail = (PAGE // GROUP, HEAD_DIM, GROUP) if is_int8 else (PAGE, HEAD_DIM)
    checks.tensor("pages.v", pages.v, (len(pages.k), heads, *tail), kind, device)
    checks.tensor("slots", slots, (tokens,), torch.int32, device)
    if is_int8:
        checks.tensor("v_scale", v_scale, (heads, HEAD_DIM), torch.float32, device)
    elif v_scale is not None:
        raise ValueError("v_scale: is given without k_scale; both or neither")
    return heads


def _check_out(
    q: torch.Tensor, q_scale: torch.Tensor | None, tokens: int, heads: int, is_int8: bool,
    device: torch.device,
) -> None:  # fmt: skip
    kind = torch.int8 if is_int8 else torch.float16
    checks.tensor("q", q, (tokens, heads, HEAD_DIM), kind, device)
    if q.data_ptr() % 16:
        raise ValueError("q: does not start at a multiple of 16 bytes")
    if is_int8:
        checks.tensor("q_scale", q_scale, (tokens, heads), torch.float32, device)
    elif q_scale is not None:
        raise ValueError("q_scale: is given, but q is fp16 and has none")


def _check_values(
    positions: torch.Tensor, table: torch.Tensor, slots: torch.Tensor | None,
    pages: KVPages | None,
) -> None:  # fmt: skip
    if bool(((positions < 0) | (positions >= len(table))).any()):
        raise ValueError(f"positions: must lie in 0 to {len(table) - 1}, the table's reach")
    if slots is None or pages is None:
        return
    last = len(pages.k) * PAGE - 1
    if bool(((slots < -1) | (slots > last)).any()):
        raise ValueError(f"slots: must be -1 or lie in 0 to {last}")
    used = slots[slots >= 0]
    if len(used.unique()) != len(used):
        raise ValueError("slots: a slot occurs twice")


def flops_and_bytes(
    tokens: int, heads: int, kv_heads: int = 1, *, writes_kv: bool = True, is_int8: bool = True
) -> Work:
    """Least work: bf16 in, int8 (fp16) q with its scales out, K and V out, a row of the table, the
    position and the slot in. 6 operations a rotated channel, 3 more where it is quantised."""
    out = 1 if is_int8 else 2
    kv = 2 * kv_heads if writes_kv else 0
    moved = HEAD_DIM * (heads + kv) * (2 + out) + 512 + 8 + (4 * heads if is_int8 else 0)
    return Work(
        float(tokens * HEAD_DIM * (heads + kv) * (9 if is_int8 else 6)), float(tokens * moved)
    )
