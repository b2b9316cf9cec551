"""Decode attention on Hopper: a producer warp streams pages, one or two warpgroups compute.

A grid of resident workers follows a plan (`kernels.common.schedule`). In each, the producer walks
the worker's tiles and has the tensor memory accelerator bring K and V of a page into a ring in
shared memory; it runs ahead over the ends of sequences, so that the stream from device memory does
not stop there. A consumer holds 64 query heads of one KV head as the rows of the matrix
instructions; with more heads there are two, so that the softmax of one hides under the products of
the other.

A part of a cut sequence is written as float16 with its mass (log2 of the denominator) and merged
in the parts' order by the same launch, so the result does not depend on who is last.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from kernels.common.layout import HEAD_DIM, PAGE, KVPages
from kernels.common.schedule import DecodePlan
from kernels.hopper.decode_parts import MAGIC, merge_all, merge_rows, tile_fp16, tile_int8

LOG2_E = 1.4426950408889634
V_ROWS, V_WORDS = 16, 256


@gluon.jit
def _fetch_part(desc, ring, bar, slot, block, part, ROWS: gl.constexpr, COLUMNS: gl.constexpr):
    """A quarter of a tile: 32 tokens of K, or two groups of V, 4 KiB either way."""
    to = ring._reinterpret(desc.dtype, [4 * ring.shape[0], ROWS, COLUMNS], ring.layout)
    at = [(block * 4 + part) * ROWS, 0]
    tma.async_copy_global_to_shared(desc, at, bar, to.index(4 * slot + part))


@gluon.jit
def _fetch_whole(descs, rings, bar, slot, block, BYTES: gl.constexpr):
    """A tile of K and V."""
    k_desc, v_desc, k_part, v_part = descs
    k_ring, v_ring = rings
    mbarrier.expect(bar, BYTES)
    tma.async_copy_global_to_shared(k_desc, [block * 128, 0], bar, k_ring.index(slot))
    at = [block * v_desc.block_type.shape[0], 0]
    tma.async_copy_global_to_shared(v_desc, at, bar, v_ring.index(slot))


@gluon.jit
def _fetch(descs, rings, bar, slot, block, low, high, BYTES: gl.constexpr):
    """A tile of K and V; of a tile at the edge of what is visible (int8), only the quarters that
    are. What is left in the others meets probabilities of zero."""
    k_desc, v_desc, k_part, v_part = descs
    k_ring, v_ring = rings
    if k_part is None:
        _fetch_whole(descs, rings, bar, slot, block, BYTES)
    elif (low <= 0) & (high >= 128):
        _fetch_whole(descs, rings, bar, slot, block, BYTES)
    else:
        first = gl.maximum(low, 0) // 32
        after = (gl.minimum(high, 128) + 31) // 32
        mbarrier.expect(bar, BYTES // 4, pred=after - first == 1)
        mbarrier.expect(bar, BYTES // 2, pred=after - first == 2)
        mbarrier.expect(bar, BYTES // 4 * 3, pred=after - first == 3)
        mbarrier.expect(bar, BYTES, pred=after - first == 4)
        for part in range(first, after):
            _fetch_part(k_part, k_ring, bar, slot, block, part, 32, 128)
            _fetch_part(v_part, v_ring, bar, slot, block, part, 4, 256)


@gluon.jit
def _produce(
    source,
    KV_HEADS: gl.constexpr, STAGES: gl.constexpr, BYTES: gl.constexpr, PDL: gl.constexpr,
):  # fmt: skip
    """Stream the pages of this worker's tiles into the ring."""
    if PDL:
        gdc_wait()
    descs, rings, bars, table, entries, visible, plan = source
    start, limit = visible
    full, empty = bars
    records, edges = plan
    head = gl.program_id(1)
    record = records + gl.program_id(0) * 8
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
        page = low // 128 - edge
        for tile in range(first, after):
            block = gl.load(table + b * entries + page + tile) * KV_HEADS + head
            token = (page + tile) * 128
            slot = (tile - begin) % STAGES
            mbarrier.wait(empty.index(slot), (((tile - begin) // STAGES) & 1) ^ 1)
            _fetch(descs, rings, full.index(slot), slot, block, low - token, high - token, BYTES)
        first = after
    if PDL:
        gdc_launch_dependents()


@gluon.jit
def _store_rows(
    outs, value, mass, sequence, first_row, ROWS: gl.constexpr, HEADS: gl.constexpr,
    KV_HEADS: gl.constexpr, layout: gl.constexpr,
):  # fmt: skip
    """Write rows (query heads of one KV head) of one sequence from `first_row`: bfloat16, or int8
    with a static scale; and their mass where that is asked for."""
    out, mass_out, v_scale, out_scale = outs
    head = gl.program_id(1)
    SHARE: gl.constexpr = HEADS // KV_HEADS
    r = first_row + gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    d = gl.arange(0, 128, gl.SliceLayout(0, layout))
    value = value * gl.load(v_scale + head * 128 + d)[None, :]
    row = sequence.to(gl.int64) * HEADS + head * SHARE
    at = row * 128 + r[:, None] * 128 + d[None, :]
    if out.dtype.element_ty == gl.int8:
        value = gl.minimum(gl.maximum(value / out_scale, -127.0), 127.0) + MAGIC
        value = value.to(gl.int32, bitcast=True).to(gl.int8)
    gl.store(out + at, value.to(out.dtype.element_ty), mask=(r < SHARE)[:, None])
    if mass_out is not None:
        gl.store(mass_out + row + r, mass, mask=r < SHARE)


@gluon.jit
def _merge(
    parts, outs, b, owners, by_units, batch,
    ME: gl.constexpr, ROWS: gl.constexpr, HEADS: gl.constexpr, KV_HEADS: gl.constexpr,
):  # fmt: skip
    """This worker's part of a cut sequence has been written: see to the merge.

    Cut by units, all workers of a sequence end together and have no other work: each waits for
    the others and merges its share of the rows. Otherwise a worker may have more to do, and the
    one that comes last merges all rows. Either way parts are added in their order.
    """
    partial, mass, counters = parts
    head_worker = gl.load(owners + 2 * b)
    count = gl.load(owners + 2 * b + 1) - head_worker + 1
    gl.thread_barrier()
    done = gl.atomic_add(counters, 1, sem="acq_rel") + 1
    first_row: gl.constexpr = ME * 64
    if by_units != 0:
        while done < count:
            done = gl.atomic_add(counters, 0, sem="acquire")
        cube: gl.constexpr = gl.BlockedLayout([1, 1, 8], [1, 2, 16], [1, 4, 1], [2, 1, 0])
        for row in range(8 * (gl.program_id(0) - head_worker), 64, 8 * count):
            value, m = merge_rows(partial, mass, head_worker, count, row, ROWS, cube)
            _store_rows(
                outs, value, m, b, first_row + row, 8, HEADS, KV_HEADS, gl.SliceLayout(0, cube)
            )
        gl.thread_barrier()
        left = counters + gl.num_programs(1) * (ROWS // 64) * batch
        if gl.atomic_add(left, 1, sem="acq_rel") == count - 1:
            gl.store(counters, 0)
            gl.store(left, 0)
    elif done == count:
        wide: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0])
        value, m = merge_all(partial, mass, head_worker, head_worker + count - 1, ROWS, 64, wide)
        _store_rows(outs, value, m, b, first_row, 64, HEADS, KV_HEADS, wide)
        gl.store(counters, 0)


@gluon.jit
def _attend(
    q, scale, rings, bars, first, after, begin, base, low, high,
    INT8: gl.constexpr, STAGES: gl.constexpr, MMA: gl.constexpr,
):  # fmt: skip
    """The tiles `first` to `after`, all of one sequence: (output, mass), 64 rows."""
    k_ring, v_ring = rings
    full, empty = bars
    row: gl.constexpr = gl.SliceLayout(1, MMA)
    acc = gl.zeros([64, 128], gl.float32, MMA)
    top = gl.full([64], -1e30, gl.float32, row)
    total = gl.zeros([64], gl.float32, row)
    for tile in range(first, after):
        slot = (tile - begin) % STAGES
        token = base + tile * 128
        masked = (token < low) | (token + 128 > high)
        mbarrier.wait(full.index(slot), ((tile - begin) // STAGES) & 1)
        k, v = k_ring.index(slot), v_ring.index(slot)
        if INT8:
            t, m, o = tile_int8(q, scale, k, v, low - token, high - token, masked, 64, MMA)
        else:
            t, m, o = tile_fp16(q, scale, k, v, low - token, high - token, masked, 64, MMA)
        mbarrier.arrive(empty.index(slot), count=1)
        new_top = gl.maximum(top, t)
        old = gl.exp2(top - new_top)
        new = gl.exp2(t - new_top)
        acc = acc * old[:, None] + o * new[:, None]
        total = total * old + m * new
        top = new_top
    return acc / total[:, None], top + gl.log2(total)


@gluon.jit
def _load_queries(
    q, queries, b, softmax_scale,
    ME: gl.constexpr, HEADS: gl.constexpr, KV_HEADS: gl.constexpr, row: gl.constexpr,
):  # fmt: skip
    """Bring 64 query rows into shared memory; the scale of each row's logits, in units of log2."""
    q_ptr, q_scale = queries
    SHARE: gl.constexpr = HEADS // KV_HEADS
    layout: gl.constexpr = gl.BlockedLayout([1, 16], [4, 8], [4, 1], [1, 0])
    at = b.to(gl.int64) * HEADS + gl.program_id(1) * SHARE
    r = ME * 64 + gl.arange(0, 64, gl.SliceLayout(1, layout))
    d = gl.arange(0, 128, gl.SliceLayout(0, layout))
    q_at = q_ptr + at * 128 + r[:, None] * 128 + d[None, :]
    q.store(gl.load(q_at, mask=(r < SHARE)[:, None], other=0))
    fence_async_shared()
    gl.thread_barrier()
    if q_ptr.dtype.element_ty == gl.int8:
        r = ME * 64 + gl.arange(0, 64, row)
        scale = gl.load(q_scale + at + r, mask=r < SHARE, other=1.0)
        # Zero times minus infinity, of a key that is not seen, is no number.
        return gl.maximum(scale * softmax_scale, 1e-30)
    else:  # noqa: RET505 (a constexpr branch)
        return gl.full([64], 1.0, gl.float32, row) * softmax_scale


@gluon.jit
def _consume(
    work, ME: gl.constexpr, HEADS: gl.constexpr, KV_HEADS: gl.constexpr, ROWS: gl.constexpr,
    STAGES: gl.constexpr, PDL: gl.constexpr,
):  # fmt: skip
    """Attend to the tiles of this worker, sequence by sequence, for the rows from 64 ME."""
    if PDL:
        gdc_wait()
    queries, outs, visible, plan, parts, owners, q_tiles, rings, bars, batch, softmax_scale = work
    start, limit = visible
    records, edges = plan
    partial, mass, counters = parts
    INT8: gl.constexpr = queries[0].dtype.element_ty == gl.int8
    MMA: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 32 if INT8 else 16])
    row: gl.constexpr = gl.SliceLayout(1, MMA)
    w, head = gl.program_id(0), gl.program_id(1)
    slots = 2 * gl.num_programs(0)
    counters += (head * (ROWS // 64) + ME) * batch
    partial += (head * slots * ROWS + ME * 64) * 128
    mass += head * slots * ROWS + ME * 64
    record = records + w * 8
    begin, last = gl.load(record), gl.load(record + 1)
    b, edge, next_edge = gl.load(record + 2), gl.load(record + 3), gl.load(record + 4)
    by_units = gl.load(record + 6)
    q = q_tiles.index(ME)
    first = begin
    while first < last:
        while first >= next_edge:
            b += 1
            edge = next_edge
            next_edge = gl.load(edges + b + 1)
        after = gl.minimum(next_edge, last)
        low, high = gl.load(start + b), gl.load(limit + b)
        scale = _load_queries(q, queries, b, softmax_scale, ME, HEADS, KV_HEADS, row)
        base = (low // 128 - edge) * 128
        value, log_total = _attend(
            q, scale, rings, bars, first, after, begin, base, low, high, INT8, STAGES, MMA
        )
        if (first == edge) & (after == next_edge):
            _store_rows(outs, value, log_total, b, ME * 64, 64, HEADS, KV_HEADS, MMA)
        else:
            slot = (2 * w + gl.where(first == edge, 1, 0)) * ROWS
            r = slot + gl.arange(0, 64, row)
            d = gl.arange(0, 128, gl.SliceLayout(0, MMA))
            gl.store(partial + r[:, None] * 128 + d[None, :], value.to(gl.float16))
            gl.store(mass + r, log_total)
            mine = (partial, mass, counters + b)
            _merge(mine, outs, b, owners, by_units, batch, ME, ROWS, HEADS, KV_HEADS)
        first = after
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0])
    for empty_b in range(w, batch, gl.num_programs(0)):
        if gl.load(start + empty_b) >= gl.load(limit + empty_b):
            nothing = gl.zeros([64, 128], gl.float32, wide)
            no_mass = gl.full([64], float("-inf"), gl.float32, gl.SliceLayout(1, wide))
            _store_rows(outs, nothing, no_mass, empty_b, ME * 64, 64, HEADS, KV_HEADS, wide)


@gluon.jit
def decode_kernel(
    k_desc, v_desc, k_part, v_part, table, entries, q, q_scale, v_scale, out, mass_out, batch,
    start, limit, records, edges, owners, counters, partial, mass, softmax_scale, out_scale,
    HEADS: gl.constexpr, KV_HEADS: gl.constexpr, ROWS: gl.constexpr, STAGES: gl.constexpr,
    PDL: gl.constexpr,
):  # fmt: skip
    """Grid (workers, kv_heads). `out` bfloat16, or int8 with the scale `out_scale`."""
    dtype: gl.constexpr = k_desc.dtype
    BYTES: gl.constexpr = 2 * 128 * 128 * dtype.primitive_bitwidth // 8
    q_layout: gl.constexpr = gl.NVMMASharedLayout(128, dtype.primitive_bitwidth, 2)
    k_ring = gl.allocate_shared_memory(dtype, [STAGES] + k_desc.block_type.shape, k_desc.layout)
    v_ring = gl.allocate_shared_memory(
        v_desc.dtype, [STAGES] + v_desc.block_type.shape, v_desc.layout
    )
    q_tiles = gl.allocate_shared_memory(dtype, [ROWS // 64, 64, 128], q_layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for s in gl.static_range(STAGES):
        mbarrier.init(full.index(s), count=1)
        mbarrier.init(empty.index(s), count=ROWS // 64)
    fence_async_shared()
    rings, bars, visible, plan = (k_ring, v_ring), (full, empty), (start, limit), (records, edges)
    queries, outs = (q, q_scale), (out, mass_out, v_scale, out_scale)
    parts, descs = (partial, mass, counters), (k_desc, v_desc, k_part, v_part)
    work = (
        queries, outs, visible, plan, parts, owners, q_tiles, rings, bars, batch, softmax_scale,
    )  # fmt: skip
    source = (descs, rings, bars, table, entries, visible, plan)
    if ROWS == 64:
        gl.warp_specialize(
            [
                (_consume, (work, 0, HEADS, KV_HEADS, ROWS, STAGES, PDL)),
                (_produce, (source, KV_HEADS, STAGES, BYTES, PDL)),
            ],
            [1],
            [24],
        )
    else:
        gl.warp_specialize(
            [
                (_consume, (work, 0, HEADS, KV_HEADS, ROWS, STAGES, PDL)),
                (_consume, (work, 1, HEADS, KV_HEADS, ROWS, STAGES, PDL)),
                (_produce, (source, KV_HEADS, STAGES, BYTES, PDL)),
            ],
            [4, 1],
            [232, 24],
        )


def page_descriptors(kv: KVPages) -> tuple[TensorDescriptor | None, ...]:
    """Descriptors with which the copy engine fetches a page's K and V, and, of int8, a quarter of
    them."""
    bits = 8 * kv.k.element_size()
    tile = [PAGE, HEAD_DIM]
    rows = gl.NVMMASharedLayout(128, bits, 2)
    keys = TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), tile, rows)
    if not kv.is_int8:
        return keys, TensorDescriptor.from_tensor(kv.v.view(-1, HEAD_DIM), tile, rows), None, None
    # A page of V is contiguous: as rows of 1 KiB the copy engine moves it fastest.
    words = kv.v.view(torch.int32).view(-1, V_WORDS)
    whole = gl.NVMMASharedLayout(0, 32, 2)
    return (
        keys,
        TensorDescriptor.from_tensor(words, [V_ROWS, V_WORDS], whole),
        TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), [PAGE // 4, HEAD_DIM], rows),
        TensorDescriptor.from_tensor(words, [V_ROWS // 4, V_WORDS], whole),
    )


def launch(
    q: torch.Tensor, q_scale: torch.Tensor | None, kv: KVPages, v_scale: torch.Tensor,
    table: torch.Tensor, plan: DecodePlan, out: torch.Tensor, mass_out: torch.Tensor | None,
    softmax_scale: float, out_scale: float, stages: int | None = None, ctas: int = 1,
    pdl: bool = False,
) -> None:  # fmt: skip
    """Launch the kernel; the arguments have been checked. `ctas`: how many an SM must hold."""
    rows = plan.partial.shape[2]
    warps = 4 * (rows // 64) + 4
    stages = stages or (3 if kv.is_int8 else 2)
    decode_kernel[(plan.workers, kv.kv_heads)](
        *page_descriptors(kv), table, table.stride(0), q, v_scale if q_scale is None else q_scale,
        v_scale, out, mass_out, q.shape[0], plan.start, plan.limit, plan.records, plan.edges,
        plan.owners, plan.counters, plan.partial, plan.mass, softmax_scale * LOG2_E, out_scale,
        HEADS=q.shape[1], KV_HEADS=kv.kv_heads, ROWS=rows, STAGES=stages, PDL=pdl, num_warps=4,
        maxnreg=65536 // (ctas * warps * 32) // 8 * 8 if ctas * rows > 64 else None,
        launch_pdl=pdl,
    )  # fmt: skip
