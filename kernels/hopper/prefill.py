"""Prefill attention on Hopper: a producer warp streams pages, two warpgroups of consumers compute.

A grid of resident programs takes the tiles of a plan (`kernels.common.tiles`), longest first, back
and forth, so that their sums are alike. In each, the producer has the tensor memory accelerator
bring K and V of a page into a ring in shared memory; each consumer warpgroup holds 64 rows of the
tile and both read the same ring.

What bounds it is not the matrix unit alone but the instructions and exponentials between two
products: so these are counted (`kernels.hopper.probabilities`). Where the pages need no mask, two
are one step of 256 keys: the accumulator is then rescaled half as often.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma

from kernels.common.device import multiprocessors
from kernels.common.layout import LOG2_E, KVPages
from kernels.common.tiles import PrefillPlan
from kernels.hopper.compat import barrier
from kernels.hopper.pages import page_descriptors
from kernels.hopper.prefill_parts import MMA, ROW, STAGES, one_page, page_of, two_pages
from kernels.hopper.probabilities import MAGIC

ROWS = 128


@gluon.jit
def _record(work, turn):
    """The record of this program's turn-th tile, and its KV head; back and forth over programs."""
    records, units, _, kv_heads = work
    programs = gl.num_programs(0)
    pid = gl.program_id(0)
    unit = turn * programs + gl.where(turn % 2 == 0, pid, programs - 1 - pid)
    unit = gl.minimum(unit, units)  # the record after the last has no work
    return records + unit // kv_heads * 8, unit % kv_heads


@gluon.jit
def _pages(record):
    """A tile's pages: lo, full_lo, full_hi, hi."""
    return gl.load(record + 4), gl.load(record + 5), gl.load(record + 6), gl.load(record + 7)


@gluon.jit
def _fetch(desc, ring, c, row):
    """Have a page brought into the ring's slot of the c-th, once that is empty."""
    to, full, empty = ring
    slot = c % STAGES
    mbarrier.wait(empty.index(slot), ((c // STAGES) & 1) ^ 1)
    mbarrier.expect(full.index(slot), 128 * 128)
    tma.async_copy_global_to_shared(desc, [row, 0], full.index(slot), to.index(slot))


@gluon.jit
def _produce(k_desc, v_desc, rings, work, table, entries):
    """Stream the pages of this program's tiles into the rings."""
    k_ring, v_ring = rings
    _, units, _, kv_heads = work
    c = 0
    for turn in range(0, gl.cdiv(units, gl.num_programs(0))):
        record, head = _record(work, turn)
        pages = table + gl.load(record).to(gl.int64) * entries
        lo, full_lo, full_hi, hi = _pages(record)
        for i in range(0, hi - lo):
            page = gl.load(pages + page_of(i, lo, full_lo, full_hi, hi)) * kv_heads + head
            _fetch(k_desc, k_ring, c, page * 128)
            _fetch(v_desc, v_ring, c, page * 16)
            c += 1


@gluon.jit
def _row_at(record, work, head, r, SHARE: gl.constexpr):
    """Where the r-th row of a sequence is, in rows of all tokens and heads."""
    _, _, heads, _ = work
    token = gl.load(record + 1) + r // SHARE
    return token.to(gl.int64) * heads + head * SHARE + r % SHARE


@gluon.jit
def _load_queries(q_tile, q_ptr, record, work, head, part, SHARE: gl.constexpr):
    """Bring 64 query rows into shared memory."""
    wide: gl.constexpr = gl.BlockedLayout([1, 16], [4, 8], [4, 1], [1, 0])
    r = gl.load(record + 2) + part * 64 + gl.arange(0, 64, gl.SliceLayout(1, wide))
    at = _row_at(record, work, head, r, SHARE)
    q_at = q_ptr + at[:, None] * 128 + gl.arange(0, 128, gl.SliceLayout(0, wide))[None, :]
    q_tile.store(gl.load(q_at, mask=(r < gl.load(record + 3))[:, None], other=0))
    fence_async_shared()
    barrier()


@gluon.jit
def _visible(seen_by, record, token, is_row, KEYS: gl.constexpr):
    """What each row sees: (first key, key after the last, its own position, its sequence's key
    limits, how many of these there are)."""
    start, limit, positions, key_limit, keys, key_stride = seen_by
    low = gl.load(start + token, mask=is_row, other=0)
    high = gl.load(limit + token, mask=is_row, other=0)
    position = low
    if KEYS:
        position = gl.load(positions + token, mask=is_row, other=-1)
        high = gl.minimum(high, position + 1)
        key_limit += gl.load(record).to(gl.int64) * key_stride
    return low, high, position, key_limit, keys


@gluon.jit
def _store(value, outs, record, work, head, part, SHARE: gl.constexpr):
    """Write 64 rows, times V's channel scales: bfloat16, or int8 with a static scale."""
    out, v_scale, out_scale = outs
    d = gl.arange(0, 128, gl.SliceLayout(0, MMA))
    value = value * gl.load(v_scale + head * 128 + d)[None, :]
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
    r = gl.load(record + 2) + part * 64 + gl.arange(0, 64, gl.SliceLayout(1, eights))
    at = _row_at(record, work, head, r, SHARE)
    out_at = at[:, None] * 128 + gl.arange(0, 128, gl.SliceLayout(0, eights))[None, :]
    gl.store(out + out_at, value, mask=(r < gl.load(record + 3))[:, None])


@gluon.jit
def _consume(part, arguments, SHARE: gl.constexpr, KEYS: gl.constexpr):
    """Attend with 64 rows of each tile of this program: those from 64 * part."""
    q_tiles, rings, turns, query, seen_by, work, outs = arguments
    q_ptr, q_scale, softmax_scale = query
    _, units, _, _ = work
    q = q_tiles.index(part)
    column = gl.arange(0, 128, gl.SliceLayout(0, MMA))
    c = 0
    n = 0
    for turn in range(0, gl.cdiv(units, gl.num_programs(0))):
        record, head = _record(work, turn)
        _load_queries(q, q_ptr, record, work, head, part, SHARE)
        r = gl.load(record + 2) + part * 64 + gl.arange(0, 64, ROW)
        is_row = r < gl.load(record + 3)
        at = _row_at(record, work, head, r, SHARE)
        scale = gl.load(q_scale + at, mask=is_row, other=1.0) * softmax_scale
        # Zero times minus infinity, of a key that is not seen, is no number.
        scale = gl.maximum(scale, 1e-30)
        token = gl.load(record + 1) + r // SHARE
        visible = _visible(seen_by, record, token, is_row, KEYS)
        lo, full_lo, full_hi, hi = _pages(record)
        top = gl.full([64], -1e30, gl.float32, ROW)
        ref = top
        total = gl.zeros([64], gl.float32, ROW)
        acc = gl.zeros([64, 128], gl.float32, MMA)
        for i in range(0, full_lo - lo + hi - full_hi):
            key = page_of(i, lo, full_lo, full_hi, hi) * 128 + column
            acc, total, top, ref = one_page(
                q, scale, acc, total, top, ref, rings, c, key, visible, True, KEYS
            )
            c += 1
        for _ in range(0, (full_hi - full_lo) // 2):
            acc, total, top, ref = two_pages(
                q, scale, acc, total, top, ref, rings, c, turns, part, n
            )
            c += 2
            n += 1
        for _ in range(0, (full_hi - full_lo) % 2):
            acc, total, top, ref = one_page(
                q, scale, acc, total, top, ref, rings, c, column, visible, False, KEYS
            )
            c += 1
        # Of a row that sees nothing, whatever the tile's others see. Loaded again, which takes no
        # registers in the loops.
        low, high, _, _, _ = _visible(seen_by, record, token, is_row, KEYS)
        share = gl.where((total > 0) & (low < high), 1.0 / total, 0.0)
        _store(acc * share[:, None], outs, record, work, head, part, SHARE)


@gluon.jit
def prefill_kernel(
    k_desc, v_desc, q, q_scale, v_scale, table, entries, records, units, start, limit, positions,
    key_limit, keys, key_stride, out, heads, kv_heads, softmax_scale, out_scale,
    SHARE: gl.constexpr, KEYS: gl.constexpr,
):  # fmt: skip
    """Grid (programs,), at most as many as are resident. `units`: records with work * kv_heads."""
    k_slots = gl.allocate_shared_memory(gl.int8, [STAGES, 128, 128], k_desc.layout)
    v_slots = gl.allocate_shared_memory(gl.int32, [STAGES, 16, 256], v_desc.layout)
    q_layout: gl.constexpr = gl.NVMMASharedLayout(128, 8, 2)
    q_tiles = gl.allocate_shared_memory(gl.int8, [2, 64, 128], q_layout)
    one: gl.constexpr = mbarrier.MBarrierLayout()
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], one)
    turns = gl.allocate_shared_memory(gl.int64, [2, 1], one)
    for s in gl.static_range(STAGES):
        mbarrier.init(k_full.index(s), count=1)
        mbarrier.init(v_full.index(s), count=1)
        mbarrier.init(k_empty.index(s), count=2)
        mbarrier.init(v_empty.index(s), count=2)
    mbarrier.init(turns.index(0), count=1)
    mbarrier.init(turns.index(1), count=1)
    fence_async_shared()
    rings = ((k_slots, k_full, k_empty), (v_slots, v_full, v_empty))
    work = (records, units, heads, kv_heads)
    query, outs = (q, q_scale, softmax_scale), (out, v_scale, out_scale)
    seen_by = (start, limit, positions, key_limit, keys, key_stride)
    rest = (q_tiles, rings, turns, query, seen_by, work, outs)
    gl.warp_specialize(
        [
            (_consume, (0, rest, SHARE, KEYS)),
            (_consume, (1, rest, SHARE, KEYS)),
            (_produce, (k_desc, v_desc, rings, work, table, entries)),
        ],
        [4, 1],
        [240, 24],
    )


def launch(
    q: torch.Tensor, q_scale: torch.Tensor, kv: KVPages, v_scale: torch.Tensor,
    pages: torch.Tensor, plan: PrefillPlan, out: torch.Tensor, softmax_scale: float,
    out_scale: float,
) -> None:  # fmt: skip
    """Launch the kernel; the arguments have been checked. The plan's tiles have `ROWS` rows."""
    is_keyed = plan.key_limit is not None
    key_limit = plan.start if plan.key_limit is None else plan.key_limit
    units = plan.tiles * kv.kv_heads
    prefill_kernel[(max(1, min(multiprocessors(q.device), units)),)](
        *page_descriptors(kv), q, q_scale, v_scale, pages, pages.stride(0), plan.records, units,
        plan.start, plan.limit, plan.positions if is_keyed else plan.start, key_limit,
        key_limit.shape[-1], key_limit.stride(0), out, q.shape[1], kv.kv_heads,
        softmax_scale * LOG2_E, out_scale, SHARE=plan.share, KEYS=is_keyed, num_warps=4,
    )  # fmt: skip
