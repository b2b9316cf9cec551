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

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from kernels.hopper.compat import barrier
from kernels.hopper.decode_merge import merge, store_rows
from kernels.hopper.decode_parts import tile_fp16, tile_int8


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
    if k_part is None:  # noqa: SIM114 (a constexpr branch)
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
def _parts_of(plan, batch):
    """Edges, owners, start, limit and counters in a plan's buffer, which begins with records."""
    edges = plan + gl.num_programs(0) * 16
    owners = edges + batch + 1
    start = owners + 2 * batch
    return edges, owners, start, start + batch, start + 2 * batch


@gluon.jit
def _edge_tiles(first, after, edge, next_edge, low):
    """Of tiles first to after of a sequence: is the first only partly visible, and how many tiles
    are at an edge. The sequence's last tile always counts, for the newest token is in it."""
    head = gl.where((low // 128 - edge + first) * 128 < low, 1, 0)
    tail = gl.where(after == next_edge, 1, 0)
    return head, gl.minimum(head + tail, after - first)


@gluon.jit
def _tile_at(i, first, after, head, edges):
    """The order in which tiles are taken: those at an edge come last."""
    whole = after - first - edges
    edge_tile = gl.where(i - whole < head, first, after - 1)
    return gl.where(i < whole, first + head + i, edge_tile)


@gluon.jit
def _produce(
    source,
    KV_HEADS: gl.constexpr, STAGES: gl.constexpr, BYTES: gl.constexpr, CHAINED: gl.constexpr,
):  # fmt: skip
    """Stream the pages of this worker's tiles into the ring.

    Chained, it begins while the launch before it ends, with pages that are older than that; it
    waits for the end of that launch before it reads the newest.
    """
    descs, rings, bars, table, entries, plan, batch = source
    full, empty = bars
    edges, _, start, limit, _ = _parts_of(plan, batch)
    record = plan + gl.program_id(0) * 16
    begin, last, b = gl.load(record), gl.load(record + 1), gl.load(record + 2)
    edge, next_edge = gl.load(record + 3), gl.load(record + 4)
    low, high = gl.load(record + 5), gl.load(record + 6)
    first = begin
    while first < last:
        while first >= next_edge:
            b += 1
            edge = next_edge
            next_edge = gl.load(edges + b + 1)
            low, high = gl.load(start + b), gl.load(limit + b)
        after = gl.minimum(next_edge, last)
        head, at_edge = _edge_tiles(first, after, edge, next_edge, low)
        for i in range(0, after - first):
            if CHAINED:  # noqa: SIM102 (a constexpr branch)
                if i + at_edge >= after - first:
                    gdc_wait()
            page = low // 128 - edge + _tile_at(i, first, after, head, at_edge)
            block = gl.load(table + b * entries + page) * KV_HEADS + gl.program_id(1)
            at = first - begin + i
            slot = at % STAGES
            mbarrier.wait(empty.index(slot), ((at // STAGES) & 1) ^ 1)
            seen, end = low - page * 128, high - page * 128
            _fetch(descs, rings, full.index(slot), slot, block, seen, end, BYTES)
        first = after
    if CHAINED:
        gdc_wait()  # so that who is launched by this may rely on all that came before
        gdc_launch_dependents()


@gluon.jit
def _step(
    q, scale, rings, bars, at, low, high, state,
    MASKED: gl.constexpr, STAGES: gl.constexpr, MMA: gl.constexpr,
):  # fmt: skip
    """One more tile, the one in the ring's slot of position `at`."""
    k_ring, v_ring = rings
    full, empty = bars
    slot = at % STAGES
    mbarrier.wait(full.index(slot), (at // STAGES) & 1)
    k, v = k_ring.index(slot), v_ring.index(slot)
    if q.dtype == gl.int8:
        state = tile_int8(q, scale, k, v, low, high, state, MASKED, MMA)
    else:
        state = tile_fp16(q, scale, k, v, low, high, state, MASKED, MMA)
    mbarrier.arrive(empty.index(slot), count=1)
    return state


@gluon.jit
def _attend(
    q, scale, rings, bars, first, after, begin, edge, next_edge, low, high,
    STAGES: gl.constexpr, MMA: gl.constexpr,
):  # fmt: skip
    """The tiles `first` to `after`, all of one sequence: (output, mass), 64 rows."""
    row: gl.constexpr = gl.SliceLayout(1, MMA)
    least = gl.full([64], -1e30, gl.float32, row)
    acc, top, ref = gl.zeros([64, 128], gl.float32, MMA), least, least * 1.0
    mass = gl.zeros([64], gl.float32, row)
    head, at_edge = _edge_tiles(first, after, edge, next_edge, low)
    whole = after - first - at_edge
    at = first - begin
    for i in range(0, whole):
        state = (acc, top, ref, mass)
        acc, top, ref, mass = _step(
            q, scale, rings, bars, at + i, 0, 128, state, False, STAGES, MMA
        )
    for i in range(whole, after - first):
        token = (low // 128 - edge + _tile_at(i, first, after, head, at_edge)) * 128
        state = (acc, top, ref, mass)
        acc, top, ref, mass = _step(
            q, scale, rings, bars, at + i, low - token, high - token, state, True, STAGES, MMA
        )
    return acc / mass[:, None], ref + gl.log2(mass)


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
    barrier()
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
    STAGES: gl.constexpr, CHAINED: gl.constexpr,
):  # fmt: skip
    """Attend to the tiles of this worker, sequence by sequence, for the rows from 64 ME."""
    queries, outs, plan, parts, q_tiles, rings, bars, batch, softmax_scale = work
    partial, mass = parts
    edges, owners, start, limit, counters = _parts_of(plan, batch)
    INT8: gl.constexpr = queries[0].dtype.element_ty == gl.int8
    MMA: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 32 if INT8 else 16])
    row: gl.constexpr = gl.SliceLayout(1, MMA)
    w, head = gl.program_id(0), gl.program_id(1)
    slots = 2 * gl.num_programs(0)
    counters += (head * (ROWS // 64) + ME) * batch
    partial += (head * slots * ROWS + ME * 64) * 128
    mass += head * slots * ROWS + ME * 64
    record = plan + w * 16
    begin, last, b = gl.load(record), gl.load(record + 1), gl.load(record + 2)
    edge, next_edge = gl.load(record + 3), gl.load(record + 4)
    low, high = gl.load(record + 5), gl.load(record + 6)
    head_worker, count = gl.load(record + 7), gl.load(record + 8)
    by_units = gl.load(record + 9)
    if CHAINED:
        gdc_wait()
    q = q_tiles.index(ME)
    first = begin
    while first < last:
        while first >= next_edge:
            b += 1
            edge = next_edge
            next_edge = gl.load(edges + b + 1)
            low, high = gl.load(start + b), gl.load(limit + b)
            head_worker, count = gl.load(owners + 2 * b), gl.load(owners + 2 * b + 1)
        after = gl.minimum(next_edge, last)
        scale = _load_queries(q, queries, b, softmax_scale, ME, HEADS, KV_HEADS, row)
        value, log_total = _attend(
            q, scale, rings, bars, first, after, begin, edge, next_edge, low, high, STAGES, MMA
        )
        if count == 1:
            store_rows(outs, value, log_total, b, ME * 64, 64, HEADS, KV_HEADS, MMA)
        else:
            slot = (2 * w + gl.where(first == edge, 1, 0)) * ROWS
            r = slot + gl.arange(0, 64, row)
            d = gl.arange(0, 128, gl.SliceLayout(0, MMA))
            gl.store(partial + r[:, None] * 128 + d[None, :], value.to(gl.float16))
            gl.store(mass + r, log_total)
            given_up = counters + b + gl.num_programs(1) * (ROWS // 64) * batch
            mine = (partial, mass, counters + b, given_up)
            merge(mine, outs, b, head_worker, count, by_units, ME, ROWS, HEADS, KV_HEADS)
        first = after
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0])
    for empty_b in range(w, batch, gl.num_programs(0)):
        if gl.load(start + empty_b) >= gl.load(limit + empty_b):
            nothing = gl.zeros([64, 128], gl.float32, wide)
            no_mass = gl.full([64], float("-inf"), gl.float32, gl.SliceLayout(1, wide))
            store_rows(outs, nothing, no_mass, empty_b, ME * 64, 64, HEADS, KV_HEADS, wide)


@gluon.jit
def decode_kernel(
    k_desc, v_desc, k_part, v_part, table, entries, q, q_scale, v_scale, out, mass_out, batch,
    plan, partial, mass, softmax_scale, out_scale,
    HEADS: gl.constexpr, KV_HEADS: gl.constexpr, ROWS: gl.constexpr, STAGES: gl.constexpr,
    CHAINED: gl.constexpr,
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
    rings, bars, parts = (k_ring, v_ring), (full, empty), (partial, mass)
    queries, outs = (q, q_scale), (out, mass_out, v_scale, out_scale)
    work = (queries, outs, plan, parts, q_tiles, rings, bars, batch, softmax_scale)
    source = ((k_desc, v_desc, k_part, v_part), rings, bars, table, entries, plan, batch)
    if ROWS == 64:
        gl.warp_specialize(
            [
                (_consume, (work, 0, HEADS, KV_HEADS, ROWS, STAGES, CHAINED)),
                (_produce, (source, KV_HEADS, STAGES, BYTES, CHAINED)),
            ],
            [1],
            [24],
        )
    else:
        gl.warp_specialize(
            [
                (_consume, (work, 0, HEADS, KV_HEADS, ROWS, STAGES, CHAINED)),
                (_consume, (work, 1, HEADS, KV_HEADS, ROWS, STAGES, CHAINED)),
                (_produce, (source, KV_HEADS, STAGES, BYTES, CHAINED)),
            ],
            [4, 1],
            [232, 24],
        )
