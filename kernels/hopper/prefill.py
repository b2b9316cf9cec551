"""Prefill attention on Hopper: a producer warp streams pages, warpgroups of consumers compute.

A grid of resident programs takes the tiles of a plan (`kernels.common.tiles`), longest first, back
and forth, so that their sums are alike. In each, the producer has the tensor memory accelerator
bring K and V of a page into a ring in shared memory; each consumer warpgroup holds 64 rows of the
tile and all of them read the same ring.

What bounds it is not the matrix unit but the instructions and exponentials between two products:
so these are counted. Where the pages need no mask, two are one step of 256 keys: the accumulator
is then rescaled half as often. It is kept relative to the *last* step's largest score, which takes
one multiply-add a value instead of two; P is rounded to int8 in pairs as float16 (1536 + p has
round(p) in its low byte); row sums of P are dot products of bytes, in the layout of the operand.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.common.device import multiprocessors
from kernels.common.layout import HEAD_DIM, PAGE, KVPages
from kernels.common.tiles import PrefillPlan

LOG2_E = 1.4426950408889634
STAGES = 6

# log2(127): P is scaled so that its largest value in a step is 127.
LOG2_127 = gl.constexpr(6.988684686772166)
# 1.5 * 2^23: adding it to |x| < 2^22 leaves round(x) in the low bits of the float.
MAGIC = gl.constexpr(12582912.0)
# Below every int8 score (128 * 127 * 127 = 2.1e6): what a row without a visible key has for one.
UNSEEN = gl.constexpr(-3e7)
# A step whose largest score is so far (log2) below the row's largest so far counts for nothing in
# float32; but the accumulator, relative to it, would grow by as much. So it stays that near.
MOST_BELOW = gl.constexpr(40.0)


# Of the threads of a partition; its name up to Triton 3.6, and since.
_barrier = getattr(gl, "thread_barrier", None) or gl.barrier


@gluon.jit
def _round_to_int16(p):
    """round(p) of float32 from 0 to 127 in the low bytes of int16, two in a register."""
    return gl.inline_asm_elementwise(
        "{ .reg .b32 a, c; mov.b32 c, 0x66006600; cvt.rn.f16x2.f32 a, $2, $1;"
        " add.rn.f16x2 $0, a, c; }",
        "=r,f,f",
        [p],
        dtype=gl.int16,
        is_pure=True,
        pack=2,
    )


@gluon.jit
def _low_bytes(p):
    """int8 of the low bytes of int16, four in a register."""
    return gl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x6420;", "=r,r,r", [p], dtype=gl.int8, is_pure=True, pack=4
    )


@gluon.jit
def _byte_sums(p, row: gl.constexpr):
    """Row sums of the operand P, whose four consecutive registers lie in one row."""
    parts = gl.inline_asm_elementwise(
        "{ mov.u32 $1, 0; mov.u32 $2, 0; mov.u32 $3, 0; dp4a.s32.s32 $0, $4, 0x01010101, 0; }",
        "=r,=r,=r,=r,r",
        [p],
        dtype=gl.int32,
        is_pure=True,
        pack=4,
    )
    return gl.convert_layout(gl.sum(parts, 1).to(gl.float32), row, assert_trivial=True)


@gluon.jit
def _probabilities(x, scale, ref, operand: gl.constexpr):
    """P of float scores, as the int8 operand of P @ V, relative to `ref` (log2) and times 127."""
    p = gl.exp2(x * scale[:, None] - (ref - LOG2_127)[:, None])
    # V holds the tokens of a group permuted: bring P into its order, which moves no register.
    p16 = _round_to_int16(p).reshape([64, 8, 2, 4, 2]).permute((0, 1, 3, 2, 4)).reshape([64, 128])
    return _low_bytes(gl.convert_layout(p16, operand, assert_trivial=True))


@gluon.jit
def _follow(step_top, top, ref):
    """After a step's largest scores: (the rows' largest so far, what to be relative to now, the
    factor that the accumulator takes for it)."""
    top = gl.maximum(top, step_top)
    new_ref = gl.maximum(step_top, top - MOST_BELOW)
    return top, new_ref, gl.exp2(ref - new_ref)


@gluon.jit
def _page_of(i, lo, full_lo, full_hi, hi):
    """The order of a tile's pages: those that need a mask first."""
    before = full_lo - lo
    masked = before + hi - full_hi
    late = gl.where(i < masked, full_hi + i - before, full_lo + i - masked)
    return gl.where(i < before, lo + i, late)


@gluon.jit
def _unit(turn, units):
    """The turn-th unit of this program, back and forth over the programs."""
    programs = gl.num_programs(0)
    pid = gl.program_id(0)
    unit = turn * programs + gl.where(turn % 2 == 0, pid, programs - 1 - pid)
    return gl.minimum(unit, units)  # the record after the last has no work


@gluon.jit
def _produce(
    k_desc, v_desc, ring, work, table, entries, STAGES: gl.constexpr
):  # fmt: skip
    """Stream the pages of this program's tiles into the ring."""
    k_ring, v_ring, k_full, k_empty, v_full, v_empty = ring
    records, units, heads, kv_heads = work
    c = 0
    for turn in range(0, gl.cdiv(units, gl.num_programs(0))):
        unit = _unit(turn, units)
        head = unit % kv_heads
        record = records + unit // kv_heads * 8
        pages = table + gl.load(record).to(gl.int64) * entries
        lo = gl.load(record + 4)
        full_lo = gl.load(record + 5)
        full_hi = gl.load(record + 6)
        hi = gl.load(record + 7)
        for i in range(0, hi - lo):
            slot = c % STAGES
            phase = ((c // STAGES) & 1) ^ 1
            page = gl.load(pages + _page_of(i, lo, full_lo, full_hi, hi)) * kv_heads + head
            mbarrier.wait(k_empty.index(slot), phase)
            mbarrier.expect(k_full.index(slot), 128 * 128)
            tma.async_copy_global_to_shared(
                k_desc, [page * 128, 0], k_full.index(slot), k_ring.index(slot)
            )
            mbarrier.wait(v_empty.index(slot), phase)
            mbarrier.expect(v_full.index(slot), 128 * 128)
            tma.async_copy_global_to_shared(
                v_desc, [page * 16, 0], v_full.index(slot), v_ring.index(slot)
            )
            c += 1


@gluon.jit
def _scores(q, k_ring, k_full, c, STAGES: gl.constexpr, mma: gl.constexpr):
    """Start Q @ K of the c-th page."""
    slot = c % STAGES
    mbarrier.wait(k_full.index(slot), (c // STAGES) & 1)
    zero = gl.zeros([64, 128], gl.int32, mma)
    k = k_ring.index(slot).permute((1, 0))
    return warpgroup_mma(q, k, zero, use_acc=False, is_async=True)


@gluon.jit
def _values(p, out, v_ring, v_full, c, ADD: gl.constexpr, STAGES: gl.constexpr):
    """Start P @ V of the c-th page, added to `out` or from nothing.

    A page of V is 16 KB in one piece; the matrix unit reads it as it is, in cores of 8 dimensions
    by 16 tokens, without a swizzle."""
    cores: gl.constexpr = gl.SharedLinearLayout(
        [[0, 1], [0, 2], [0, 4], [0, 8], [1, 0], [2, 0], [4, 0], [8, 0], [16, 0], [32, 0], [64, 0]]
        + [[0, 16], [0, 32], [0, 64]]
    )
    slot = c % STAGES
    v = v_ring.index(slot)._reinterpret(gl.int8, [128, 128], cores)
    mbarrier.wait(v_full.index(slot), (c // STAGES) & 1)
    return warpgroup_mma(p, v.permute((1, 0)), out, use_acc=ADD, is_async=True)


@gluon.jit
def _one_page(
    q, scale, acc, total, top, ref, key, low, high, position, key_row, keys,
    k_ring, v_ring, k_full, k_empty, v_full, v_empty, c,
    MASK: gl.constexpr, KEYS: gl.constexpr, STAGES: gl.constexpr, mma: gl.constexpr,
):  # fmt: skip
    """One page, added to (accumulator, mass, largest score, what they are relative to)."""
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 4)
    slot = c % STAGES
    s = warpgroup_mma_wait(0, deps=[_scores(q, k_ring, k_full, c, STAGES, mma)])
    mbarrier.arrive(k_empty.index(slot))
    x = s.to(gl.float32)
    if MASK:
        seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
        if KEYS:
            key_limit = gl.load(key_row + key, mask=key < keys, other=0)
            seen = seen & (key[None, :] <= position[:, None])
            seen = seen & (position[:, None] < key_limit[None, :])
        x = gl.where(seen, x, float("-inf"))
        step_top = gl.maximum(gl.max(x, 1), UNSEEN) * scale
    else:
        step_top = gl.max(s, 1).to(gl.float32) * scale
    top, new_ref, ratio = _follow(step_top, top, ref)
    p = _probabilities(x, scale, new_ref, operand)
    o = _values(p, gl.zeros([64, 128], gl.int32, mma), v_ring, v_full, c, False, STAGES)
    mass = _byte_sums(p, gl.SliceLayout(1, mma))
    o = warpgroup_mma_wait(0, deps=[o])
    mbarrier.arrive(v_empty.index(slot))
    acc = acc * ratio[:, None] + o.to(gl.float32)
    return acc, total * ratio + mass, top, new_ref


@gluon.jit
def _two_pages(
    q, scale, acc, total, top, ref, s, k_ring, v_ring, k_full, k_empty, v_full, v_empty, c,
    turns, part, n, FIRST: gl.constexpr, NEXT: gl.constexpr, TURNS: gl.constexpr,
    STAGES: gl.constexpr, mma: gl.constexpr,
):  # fmt: skip
    """The same for two pages at once, none masked; the first P @ V runs under the second P."""
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 4)
    row: gl.constexpr = gl.SliceLayout(1, mma)
    if FIRST:
        s = _scores(q, k_ring, k_full, c, STAGES, mma)
        t = _scores(q, k_ring, k_full, c + 1, STAGES, mma)
        s = warpgroup_mma_wait(1, deps=[s])
        step_top = gl.max(s, 1)
        t = warpgroup_mma_wait(0, deps=[t])
        mbarrier.arrive(k_empty.index(c % STAGES))
    else:
        t = _scores(q, k_ring, k_full, c + 1, STAGES, mma)
        step_top = gl.max(s, 1)
        t = warpgroup_mma_wait(0, deps=[t])
    mbarrier.arrive(k_empty.index((c + 1) % STAGES))
    if TURNS:
        mbarrier.wait(turns.index(part), (n + 1 + part) & 1)
    step_top = gl.maximum(step_top, gl.max(t, 1)).to(gl.float32) * scale
    top, new_ref, ratio = _follow(step_top, top, ref)
    p = _probabilities(s.to(gl.float32), scale, new_ref, operand)
    o = _values(p, gl.zeros([64, 128], gl.int32, mma), v_ring, v_full, c, False, STAGES)
    r = _probabilities(t.to(gl.float32), scale, new_ref, operand)
    o = _values(r, o, v_ring, v_full, c + 1, True, STAGES)
    if TURNS:
        mbarrier.arrive(turns.index(1 - part))
    mass = _byte_sums(p, row) + _byte_sums(r, row)
    if NEXT:
        s = _scores(q, k_ring, k_full, c + 2, STAGES, mma)
        o = warpgroup_mma_wait(1, deps=[o])
    else:
        o = warpgroup_mma_wait(0, deps=[o])
    mbarrier.arrive(v_empty.index(c % STAGES))
    mbarrier.arrive(v_empty.index((c + 1) % STAGES))
    acc = acc * ratio[:, None] + o.to(gl.float32)
    if NEXT:
        s = warpgroup_mma_wait(0, deps=[s])
        mbarrier.arrive(k_empty.index((c + 2) % STAGES))
    return acc, total * ratio + mass, top, new_ref, s


@gluon.jit
def _consume(
    part, q_tile, arguments, options: gl.constexpr
):  # fmt: skip
    """Attend with 64 rows of each tile of this program: those from 64 * part."""
    SHARE: gl.constexpr = options[0]
    KEYS: gl.constexpr = options[1]
    STAGES: gl.constexpr = options[2]
    PAIRS: gl.constexpr = options[3]
    TURNS: gl.constexpr = options[4]
    ring, query, seen_by, work, out, out_scale, turns = arguments
    k_ring, v_ring, k_full, k_empty, v_full, v_empty = ring
    q_ptr, q_scale, softmax_scale, v_scale = query
    start, limit, positions, key_limit, keys, key_stride = seen_by
    records, units, heads, kv_heads = work
    mma: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 32])
    row_l: gl.constexpr = gl.SliceLayout(1, mma)
    wide: gl.constexpr = gl.BlockedLayout([1, 16], [4, 8], [4, 1], [1, 0])
    q_row = gl.arange(0, 64, gl.SliceLayout(1, wide))
    q_d = gl.arange(0, 128, gl.SliceLayout(0, wide))
    row = gl.arange(0, 64, row_l)
    d = gl.arange(0, 128, gl.SliceLayout(0, mma))
    c = 0
    n = 0
    for turn in range(0, gl.cdiv(units, gl.num_programs(0))):
        unit = _unit(turn, units)
        head = unit % kv_heads
        record = records + unit // kv_heads * 8
        first_token = gl.load(record + 1)
        first = gl.load(record + 2) + part * 64
        rows = gl.load(record + 3)
        lo = gl.load(record + 4)
        full_lo = gl.load(record + 5)
        full_hi = gl.load(record + 6)
        hi = gl.load(record + 7)
        r = first + q_row
        at = (first_token + r // SHARE).to(gl.int64) * heads + head * SHARE + r % SHARE
        q_at = q_ptr + at[:, None] * 128 + q_d[None, :]
        q_tile.store(gl.load(q_at, mask=(r < rows)[:, None], other=0))
        fence_async_shared()
        _barrier()
        r = first + row
        is_row = r < rows
        token = first_token + r // SHARE
        at = token.to(gl.int64) * heads + head * SHARE + r % SHARE
        scale = gl.load(q_scale + at, mask=is_row, other=1.0) * softmax_scale
        scale = gl.maximum(scale, 1e-30)
        low = gl.load(start + token, mask=is_row, other=0)
        high = gl.load(limit + token, mask=is_row, other=0)
        position = low
        key_row = key_limit
        if KEYS:
            position = gl.load(positions + token, mask=is_row, other=-1)
            key_row = key_limit + gl.load(record).to(gl.int64) * key_stride
        top = gl.full([64], -1e30, gl.float32, row_l)
        ref = top
        total = gl.zeros([64], gl.float32, row_l)
        acc = gl.zeros([64, 128], gl.float32, mma)
        for i in range(0, full_lo - lo + hi - full_hi):
            key = _page_of(i, lo, full_lo, full_hi, hi) * 128 + d
            acc, total, top, ref = _one_page(
                q_tile, scale, acc, total, top, ref, key, low, high, position, key_row, keys,
                k_ring, v_ring, k_full, k_empty, v_full, v_empty, c, True, KEYS, STAGES, mma,
            )  # fmt: skip
            c += 1
        singles = full_hi - full_lo
        if PAIRS == 1:
            for _ in range(0, (full_hi - full_lo) // 2):
                acc, total, top, ref, _s = _two_pages(
                    q_tile, scale, acc, total, top, ref, 0,
                    k_ring, v_ring, k_full, k_empty, v_full, v_empty, c, turns, part, n,
                    True, False, TURNS, STAGES, mma,
                )  # fmt: skip
                c += 2
                n += 1
            singles = (full_hi - full_lo) % 2
        if PAIRS == 2:
            pairs = (full_hi - full_lo) // 2
            if pairs > 0:
                s = warpgroup_mma_wait(0, deps=[_scores(q_tile, k_ring, k_full, c, STAGES, mma)])
                mbarrier.arrive(k_empty.index(c % STAGES))
                for _ in range(0, pairs - 1):
                    acc, total, top, ref, s = _two_pages(
                        q_tile, scale, acc, total, top, ref, s,
                        k_ring, v_ring, k_full, k_empty, v_full, v_empty, c, turns, part, n,
                        False, True, TURNS, STAGES, mma,
                    )  # fmt: skip
                    c += 2
                    n += 1
                acc, total, top, ref, s = _two_pages(
                    q_tile, scale, acc, total, top, ref, s,
                    k_ring, v_ring, k_full, k_empty, v_full, v_empty, c, turns, part, n,
                    False, False, TURNS, STAGES, mma,
                )  # fmt: skip
                c += 2
                n += 1
            singles = (full_hi - full_lo) % 2
        for _ in range(0, singles):
            acc, total, top, ref = _one_page(
                q_tile, scale, acc, total, top, ref, d, low, high, position, key_row, keys,
                k_ring, v_ring, k_full, k_empty, v_full, v_empty, c, False, KEYS, STAGES, mma,
            )  # fmt: skip
            c += 1
        is_live = gl.load(start + token, mask=is_row, other=0) < gl.load(
            limit + token, mask=is_row, other=0
        )  # again, which takes no registers in the loops
        share = gl.where((total > 0) & is_live, 1.0 / total, 0.0)
        value = acc * share[:, None] * gl.load(v_scale + head * 128 + d)[None, :]
        if out.dtype.element_ty == gl.int8:
            value = gl.minimum(gl.maximum(value / out_scale, -127.0), 127.0) + MAGIC
            value = value.to(gl.int32, bitcast=True).to(gl.int8)
        # Four threads hold a row's columns in twos: by eights, a store is 16 bytes a thread.
        eights: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 1], [0, 2], [0, 4], [8, 0], [0, 32], [0, 64]],
            [[0, 8], [0, 16], [1, 0], [2, 0], [4, 0]],
            [[16, 0], [32, 0]], [], [64, 128],
        )  # fmt: skip
        value = gl.convert_layout(value.to(out.dtype.element_ty), eights)
        r = first + gl.arange(0, 64, gl.SliceLayout(1, eights))
        at = (first_token + r // SHARE).to(gl.int64) * heads + head * SHARE + r % SHARE
        out_at = at[:, None] * 128 + gl.arange(0, 128, gl.SliceLayout(0, eights))[None, :]
        gl.store(out + out_at, value, mask=(r < rows)[:, None])


@gluon.jit
def prefill_kernel(
    k_desc, v_desc, q, q_scale, v_scale, table, entries, records, units, start, limit, positions,
    key_limit, keys, key_stride, out, heads, kv_heads, softmax_scale, out_scale,
    SHARE: gl.constexpr, KEYS: gl.constexpr, WARPGROUPS: gl.constexpr, STAGES: gl.constexpr,
    PAIRS: gl.constexpr, REGISTERS: gl.constexpr, TURNS: gl.constexpr,
):  # fmt: skip
    """Grid (programs,), at most as many as are resident. `units`: records with work * kv_heads."""
    rows: gl.constexpr = gl.NVMMASharedLayout(128, 8, 2)
    k_ring = gl.allocate_shared_memory(gl.int8, [STAGES, 128, 128], k_desc.layout)
    v_ring = gl.allocate_shared_memory(gl.int32, [STAGES, 16, 256], v_desc.layout)
    q_tile = gl.allocate_shared_memory(gl.int8, [WARPGROUPS, 64, 128], rows)
    one: gl.constexpr = mbarrier.MBarrierLayout()
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    for s in gl.static_range(STAGES):
        mbarrier.init(k_full.index(s), count=1)
        mbarrier.init(v_full.index(s), count=1)
        mbarrier.init(k_empty.index(s), count=WARPGROUPS)
        mbarrier.init(v_empty.index(s), count=WARPGROUPS)
    fence_async_shared()
    ring = (k_ring, v_ring, k_full, k_empty, v_full, v_empty)
    query = (q, q_scale, softmax_scale, v_scale)
    seen_by = (start, limit, positions, key_limit, keys, key_stride)
    work = (records, units, heads, kv_heads)
    turns = gl.allocate_shared_memory(gl.int64, [2, 1], one)
    mbarrier.init(turns.index(0), count=1)
    mbarrier.init(turns.index(1), count=1)
    rest = (ring, query, seen_by, work, out, out_scale, turns)
    options: gl.constexpr = (SHARE, KEYS, STAGES, PAIRS, TURNS)
    stream = (k_desc, v_desc, ring, work, table, entries, STAGES)
    if WARPGROUPS == 3:
        gl.warp_specialize(
            [
                (_consume, (0, q_tile.index(0), rest, options)),
                (_consume, (1, q_tile.index(1), rest, options)),
                (_consume, (2, q_tile.index(2), rest, options)),
                (_produce, stream),
            ],
            [4, 4, 1],
            [REGISTERS, REGISTERS, 24],
        )
    else:
        gl.warp_specialize(
            [
                (_consume, (0, q_tile.index(0), rest, options)),
                (_consume, (1, q_tile.index(1), rest, options)),
                (_produce, stream),
            ],
            [4, 1],
            [REGISTERS, 24],
        )


def page_descriptors(kv: KVPages) -> tuple[TensorDescriptor, TensorDescriptor]:
    """Descriptors with which the copy engine fetches a page's K, and its V in one piece."""
    keys = gl.NVMMASharedLayout(128, 8, 2)
    k_desc = TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), [PAGE, HEAD_DIM], keys)
    words = kv.v.view(torch.int32).view(-1, 256)
    v_desc = TensorDescriptor.from_tensor(words, [16, 256], gl.NVMMASharedLayout(0, 32, 2))
    return k_desc, v_desc


def launch(
    q: torch.Tensor, q_scale: torch.Tensor, kv: KVPages, v_scale: torch.Tensor,
    pages: torch.Tensor, plan: PrefillPlan, out: torch.Tensor, softmax_scale: float,
    out_scale: float, stages: int = STAGES, pairs: int = 1, turns: bool = False,
    programs: int | None = None,
) -> None:  # fmt: skip
    """Launch the kernel; the arguments have been checked."""
    k_desc, v_desc = page_descriptors(kv)
    is_keyed = plan.key_limit is not None
    key_limit = plan.start if plan.key_limit is None else plan.key_limit
    units = plan.tiles * kv.kv_heads
    most = programs or multiprocessors(q.device)
    warpgroups = plan.rows // 64
    prefill_kernel[(max(1, min(most, units)),)](
        k_desc, v_desc, q, q_scale, v_scale, pages, pages.stride(0), plan.records, units,
        plan.start, plan.limit, plan.positions if is_keyed else plan.start, key_limit,
        key_limit.shape[-1], key_limit.stride(0), out, q.shape[1], kv.kv_heads,
        softmax_scale * LOG2_E, out_scale, SHARE=plan.share, KEYS=is_keyed, WARPGROUPS=warpgroups,
        STAGES=stages, PAIRS=pairs, TURNS=turns, REGISTERS=240 if warpgroups == 2 else 160,
        num_warps=4,
    )  # fmt: skip
