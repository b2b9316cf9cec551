"""Decode attention on Hopper: one producer warp streams pages, a warpgroup of consumers computes.

A grid of resident workers follows a plan (`kernels.common.schedule`). In each, the producer walks
the worker's tiles and has the tensor memory accelerator bring K and V of a page into a ring in
shared memory; it runs ahead over the ends of sequences, so the stream from device memory never
stops. The consumers hold the query heads of one KV head as the rows of the matrix instructions.

A part of a cut sequence is written as float16 with its mass (log2 of the denominator); the worker
that finishes last merges the parts in their order, so the result does not depend on who that is.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.common.layout import GROUP, GROUPS, HEAD_DIM, PAGE, KVPages
from kernels.common.schedule import DecodePlan

LOG2_E = 1.4426950408889634

# log2(127): P is scaled so that its largest value in a tile is 127.
LOG2_127 = gl.constexpr(6.988684686772166)
# 1.5 * 2^23: adding it to |x| < 2^22 leaves round(x) in the low bits of the float.
MAGIC = gl.constexpr(12582912.0)
MAGIC_BITS = gl.constexpr(0x4B400000)
# -128 * MAGIC_BITS modulo 2^32: what is left of the constant in a sum over 128 columns.
MAGIC_SUM = gl.constexpr(0x60000000)


@gluon.jit
def _produce(
    k_desc, v_desc, table, entries, start, records, edges, k_ring, v_ring, full, empty,
    KV_HEADS: gl.constexpr, STAGES: gl.constexpr, BYTES: gl.constexpr, V_ROWS: gl.constexpr,
):  # fmt: skip
    """Stream the pages of this worker's tiles into the ring."""
    head = gl.program_id(1)
    record = records + gl.program_id(0) * 8
    first = gl.load(record)
    last = gl.load(record + 1)
    b = gl.load(record + 2)
    edge = gl.load(record + 3)
    next_edge = gl.load(record + 4)
    page = gl.load(record + 5)
    for tile in range(first, last):
        while tile >= next_edge:
            b += 1
            edge = next_edge
            next_edge = gl.load(edges + b + 1)
            page = gl.load(start + b) // 128
        block = gl.load(table + b * entries + page + tile - edge) * KV_HEADS + head
        i = tile - first
        slot = i % STAGES
        mbarrier.wait(empty.index(slot), ((i // STAGES) & 1) ^ 1)
        mbarrier.expect(full.index(slot), BYTES)
        tma.async_copy_global_to_shared(
            k_desc, [block * 128, 0], full.index(slot), k_ring.index(slot)
        )
        if V_ROWS == 8:
            tma.async_copy_global_to_shared(
                v_desc, [block * 8, 0, 0], full.index(slot), v_ring.index(slot)
            )
        else:
            tma.async_copy_global_to_shared(
                v_desc, [block * 128, 0], full.index(slot), v_ring.index(slot)
            )


@gluon.jit
def _tile_int8(q, scale, k, v, low, high, masked, ROWS: gl.constexpr, mma: gl.constexpr):
    """Scores, probabilities and their product with V of one tile: (largest logit, mass, P @ V),
    relative to the tile's own largest logit, P and mass times 127."""
    row: gl.constexpr = gl.SliceLayout(1, mma)
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 4)
    magic = gl.full([ROWS, 128], MAGIC_BITS, gl.int32, mma)
    scores = warpgroup_mma(q, k.permute((1, 0)), magic).to(gl.float32, bitcast=True)
    if masked:
        token = gl.arange(0, 128, gl.SliceLayout(0, mma))
        seen = (token >= low) & (token < high)
        scores = gl.where(seen[None, :], scores, float("-inf"))
    top = gl.max(scores, 1)
    p = gl.exp2((scores - top[:, None]) * scale[:, None] + LOG2_127) + MAGIC
    bits = p.to(gl.int32, bitcast=True)
    mass = (gl.sum(bits, 1) + MAGIC_SUM).to(gl.float32)
    p8 = bits.to(gl.int8).reshape([ROWS, 8, 2, 4, 2]).permute((0, 1, 3, 2, 4))
    p8 = gl.convert_layout(p8.reshape([ROWS, 128]), operand)
    magic = gl.full([ROWS, 128], MAGIC_BITS, gl.int32, mma)
    out = warpgroup_mma(p8, v.permute((0, 2, 1)).reshape([128, 128]), magic)
    top = gl.convert_layout((top - MAGIC) * scale, row)
    return top, mass, out.to(gl.float32, bitcast=True) - MAGIC


@gluon.jit
def _tile_fp16(q, scale, k, v, low, high, masked, ROWS: gl.constexpr, mma: gl.constexpr):
    """The same in float16 with float32 accumulators (P and mass not scaled)."""
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    zero = gl.zeros([ROWS, 128], gl.float32, mma)
    scores = warpgroup_mma(q, k.permute((1, 0)), zero)
    if masked:
        token = gl.arange(0, 128, gl.SliceLayout(0, mma))
        seen = (token >= low) & (token < high)
        scores = gl.where(seen[None, :], scores, float("-inf"))
    top = gl.max(scores, 1)
    p = gl.exp2((scores - top[:, None]) * scale[:, None])
    mass = gl.sum(p, 1)
    p16 = gl.convert_layout(p.to(gl.float16), operand)
    zero = gl.zeros([ROWS, 128], gl.float32, mma)
    return top * scale, mass, warpgroup_mma(p16, v, zero)


@gluon.jit
def _part(partial, mass, slot, is_part, ROWS: gl.constexpr, layout: gl.constexpr):
    """A part's output and mass; a mass of minus infinity where there is no such part."""
    r = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    d = gl.arange(0, 128, gl.SliceLayout(0, layout))
    weight = gl.load(mass + slot * ROWS + r, mask=is_part, other=float("-inf"), cache_modifier=".cg")
    at = slot * (ROWS * 128) + r[:, None] * 128 + d[None, :]
    out = gl.load(partial + at, mask=is_part, other=0.0, cache_modifier=".cg")
    return out.to(gl.float32), weight


@gluon.jit
def _merge(partial, mass, head_worker, tail_worker, ROWS: gl.constexpr, layout: gl.constexpr):
    """The parts of a cut sequence in their order, four loads in flight."""
    acc = gl.zeros([ROWS, 128], gl.float32, layout)
    total = gl.zeros([ROWS], gl.float32, gl.SliceLayout(1, layout))
    top = gl.full([ROWS], -1e30, gl.float32, gl.SliceLayout(1, layout))
    for w in range(head_worker, tail_worker + 1, 4):
        slot = gl.where(w == head_worker, 2 * w + 1, 2 * w)
        o0, w0 = _part(partial, mass, slot, w <= tail_worker, ROWS, layout)
        o1, w1 = _part(partial, mass, 2 * w + 2, w + 1 <= tail_worker, ROWS, layout)
        o2, w2 = _part(partial, mass, 2 * w + 4, w + 2 <= tail_worker, ROWS, layout)
        o3, w3 = _part(partial, mass, 2 * w + 6, w + 3 <= tail_worker, ROWS, layout)
        new_top = gl.maximum(gl.maximum(gl.maximum(w0, w1), gl.maximum(w2, w3)), top)
        old = gl.exp2(top - new_top)
        w0 = gl.exp2(w0 - new_top)
        w1 = gl.exp2(w1 - new_top)
        w2 = gl.exp2(w2 - new_top)
        w3 = gl.exp2(w3 - new_top)
        acc = acc * old[:, None] + o0 * w0[:, None] + o1 * w1[:, None]
        acc = acc + o2 * w2[:, None] + o3 * w3[:, None]
        total = total * old + w0 + w1 + w2 + w3
        top = new_top
    return acc / total[:, None], top + gl.log2(total)


@gluon.jit
def _store_rows(
    out, mass_out, value, mass, v_scale, row, head, out_scale,
    HEADS: gl.constexpr, ROWS: gl.constexpr, KV_HEADS: gl.constexpr, layout: gl.constexpr,
):  # fmt: skip
    """Write the rows of one sequence and KV head: bfloat16, or int8 with a static scale; and where
    asked for, their mass."""
    SHARE: gl.constexpr = HEADS // KV_HEADS
    r = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    d = gl.arange(0, 128, gl.SliceLayout(0, layout))
    value = value * gl.load(v_scale + head * 128 + d)[None, :]
    first = row.to(gl.int64) * HEADS + head * SHARE
    at = first * 128 + r[:, None] * 128 + d[None, :]
    if out.dtype.element_ty == gl.int8:
        value = gl.minimum(gl.maximum(value / out_scale, -127.0), 127.0) + MAGIC
        value = value.to(gl.int32, bitcast=True).to(gl.int8)
    gl.store(out + at, value.to(out.dtype.element_ty), mask=(r < SHARE)[:, None])
    if mass_out is not None:
        gl.store(mass_out + first + r, mass, mask=r < SHARE)


@gluon.jit
def _consume(
    q_ptr, q_scale, v_scale, out, mass_out, batch, start, limit, records, edges, owners, counters,
    partial, mass, q, k_ring, v_ring, full, empty, softmax_scale, out_scale,
    HEADS: gl.constexpr, KV_HEADS: gl.constexpr, ROWS: gl.constexpr, STAGES: gl.constexpr,
    WARPS: gl.constexpr,
):  # fmt: skip
    """Attend to the tiles of this worker, sequence by sequence."""
    INT8: gl.constexpr = q_ptr.dtype.element_ty == gl.int8
    SHARE: gl.constexpr = HEADS // KV_HEADS
    K_DIM: gl.constexpr = 32 if INT8 else 16
    mma: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[WARPS, 1], instr_shape=[16, 128, K_DIM]
    )
    row: gl.constexpr = gl.SliceLayout(1, mma)
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [WARPS, 1], [1, 0])
    wide_q: gl.constexpr = gl.BlockedLayout([1, 16], [4, 8], [WARPS, 1], [1, 0])
    rq = gl.arange(0, ROWS, gl.SliceLayout(1, wide_q))
    dq = gl.arange(0, 128, gl.SliceLayout(0, wide_q))
    r = gl.arange(0, ROWS, row)

    w = gl.program_id(0)
    head = gl.program_id(1)
    slots = 2 * gl.num_programs(0)
    counters += head * batch
    partial += head * slots * (ROWS * 128)
    mass += head * slots * ROWS
    record = records + w * 8
    begin = gl.load(record)
    last = gl.load(record + 1)
    b = gl.load(record + 2)
    edge = gl.load(record + 3)
    next_edge = gl.load(record + 4)
    first = begin
    while first < last:
        while first >= next_edge:
            b += 1
            edge = next_edge
            next_edge = gl.load(edges + b + 1)
        after = gl.minimum(next_edge, last)
        low = gl.load(start + b)
        high = gl.load(limit + b)
        base = (low // 128 - edge) * 128
        at = b.to(gl.int64) * HEADS + head * SHARE
        q_at = q_ptr + at * 128 + rq[:, None] * 128 + dq[None, :]
        q.store(gl.load(q_at, mask=(rq < SHARE)[:, None], other=0))
        fence_async_shared()
        gl.thread_barrier()
        if INT8:
            scale = gl.load(q_scale + at + r, mask=r < SHARE, other=1.0) * softmax_scale
            scale = gl.maximum(scale, 1e-30)
        else:
            scale = gl.full([ROWS], 1.0, gl.float32, row) * softmax_scale
        acc = gl.zeros([ROWS, 128], gl.float32, mma)
        top = gl.full([ROWS], -1e30, gl.float32, row)
        total = gl.zeros([ROWS], gl.float32, row)
        for tile in range(first, after):
            i = tile - begin
            slot = i % STAGES
            token = base + tile * 128
            masked = (token < low) | (token + 128 > high)
            mbarrier.wait(full.index(slot), (i // STAGES) & 1)
            if INT8:
                t, m, o = _tile_int8(
                    q, scale, k_ring.index(slot), v_ring.index(slot),
                    low - token, high - token, masked, ROWS, mma,
                )  # fmt: skip
            else:
                t, m, o = _tile_fp16(
                    q, scale, k_ring.index(slot), v_ring.index(slot),
                    low - token, high - token, masked, ROWS, mma,
                )  # fmt: skip
            mbarrier.arrive(empty.index(slot), count=1)
            new_top = gl.maximum(top, t)
            old = gl.exp2(top - new_top)
            new = gl.exp2(t - new_top)
            acc = acc * old[:, None] + o * new[:, None]
            total = total * old + m * new
            top = new_top
        value = acc / total[:, None]
        if (first == edge) & (after == next_edge):
            log_total = top + gl.log2(total)
            _store_rows(
                out, mass_out, value, log_total, v_scale, b, head, out_scale, HEADS, ROWS, KV_HEADS, mma
            )
        else:
            part = gl.where(first == edge, 2 * w + 1, 2 * w)
            d = gl.arange(0, 128, gl.SliceLayout(0, mma))
            gl.store(partial + part * (ROWS * 128) + r[:, None] * 128 + d[None, :], value.to(gl.float16))
            gl.store(mass + part * ROWS + r, top + gl.log2(total))
            gl.thread_barrier()
            done = gl.atomic_add(counters + b, 1)
            head_worker = gl.load(owners + 2 * b)
            tail_worker = gl.load(owners + 2 * b + 1)
            if done == tail_worker - head_worker:
                merged, all_mass = _merge(partial, mass, head_worker, tail_worker, ROWS, wide)
                _store_rows(
                    out, mass_out, merged, all_mass, v_scale, b, head, out_scale, HEADS, ROWS, KV_HEADS,
                    wide,
                )  # fmt: skip
                gl.store(counters + b, 0)
        first = after
    for b in range(w, batch, gl.num_programs(0)):
        if gl.load(start + b) >= gl.load(limit + b):
            nothing = gl.zeros([ROWS, 128], gl.float32, wide)
            no_mass = gl.full([ROWS], float("-inf"), gl.float32, gl.SliceLayout(1, wide))
            _store_rows(
                out, mass_out, nothing, no_mass, v_scale, b, head, out_scale,
                HEADS, ROWS, KV_HEADS, wide,
            )  # fmt: skip


@gluon.jit
def decode_kernel(
    k_desc, v_desc, table, entries, q, q_scale, v_scale, out, mass_out, batch, start, limit,
    records, edges, owners, counters, partial, mass, softmax_scale, out_scale,
    HEADS: gl.constexpr, KV_HEADS: gl.constexpr, ROWS: gl.constexpr, STAGES: gl.constexpr,
    num_warps: gl.constexpr,
):  # fmt: skip
    """Grid (workers, kv_heads). `out` bfloat16, or int8 with the scale `out_scale`."""
    INT8: gl.constexpr = q.dtype.element_ty == gl.int8
    BYTES: gl.constexpr = 2 * 128 * 128 * (1 if INT8 else 2)
    V_ROWS: gl.constexpr = v_desc.block_type.shape[0]
    dtype: gl.constexpr = k_desc.dtype
    k_ring = gl.allocate_shared_memory(dtype, [STAGES] + k_desc.block_type.shape, k_desc.layout)
    v_ring = gl.allocate_shared_memory(dtype, [STAGES] + v_desc.block_type.shape, v_desc.layout)
    q_tile = gl.allocate_shared_memory(
        dtype, [ROWS, 128], gl.NVMMASharedLayout(128, dtype.primitive_bitwidth, 2)
    )
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for s in gl.static_range(STAGES):
        mbarrier.init(full.index(s), count=1)
        mbarrier.init(empty.index(s), count=1)
    fence_async_shared()
    gl.warp_specialize(
        [
            (
                _consume,
                (
                    q, q_scale, v_scale, out, mass_out, batch, start, limit, records, edges,
                    owners, counters, partial, mass, q_tile, k_ring, v_ring, full, empty,
                    softmax_scale, out_scale,
                    HEADS, KV_HEADS, ROWS, STAGES, num_warps,
                ),
            ),
            (
                _produce,
                (
                    k_desc, v_desc, table, entries, start, records, edges, k_ring, v_ring, full,
                    empty, KV_HEADS, STAGES, BYTES, V_ROWS,
                ),
            ),
        ],
        [1],
        [24],
    )  # fmt: skip


def page_descriptors(kv: KVPages) -> tuple[TensorDescriptor, TensorDescriptor]:
    """Descriptors with which the copy engine fetches a page's K and its V."""
    bits = 8 * kv.k.element_size()
    tile = [PAGE, HEAD_DIM]
    rows = gl.NVMMASharedLayout(128, bits, 2)
    keys = TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), tile, rows)
    if not kv.is_int8:
        return keys, TensorDescriptor.from_tensor(kv.v.view(-1, HEAD_DIM), tile, rows)
    groups = gl.NVMMASharedLayout(0, 8, 3)
    box = [GROUPS, HEAD_DIM, GROUP]
    return keys, TensorDescriptor.from_tensor(kv.v.view(-1, HEAD_DIM, GROUP), box, groups)


def launch(
    q: torch.Tensor, q_scale: torch.Tensor | None, kv: KVPages, v_scale: torch.Tensor,
    table: torch.Tensor, plan: DecodePlan, out: torch.Tensor,
    mass_out: torch.Tensor | None, softmax_scale: float, out_scale: float,
    stages: int | None = None, ctas: int = 1,
) -> None:  # fmt: skip
    """Launch the kernel; the arguments have been checked. `ctas`: how many an SM must hold."""
    rows = plan.partial.shape[2]
    k_desc, v_desc = page_descriptors(kv)
    warps = rows // 16
    stages = stages or (6 // ctas if kv.is_int8 else 3 // ctas)
    decode_kernel[(plan.workers, kv.kv_heads)](
        k_desc, v_desc, table, table.stride(0), q, v_scale if q_scale is None else q_scale,
        v_scale, out, mass_out, q.shape[0], plan.start, plan.limit, plan.records, plan.edges, plan.owners,
        plan.counters, plan.partial, plan.mass, softmax_scale * LOG2_E, out_scale,
        HEADS=q.shape[1], KV_HEADS=kv.kv_heads, ROWS=rows, STAGES=stages, num_warps=warps,
        maxnreg=65536 // (ctas * (warps + 4) * 32) // 8 * 8 if ctas > 1 else None,
    )  # fmt: skip
