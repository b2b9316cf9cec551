"""int8 matmul for Hopper: one persistent, warp-specialised kernel for every M.

A warp copies tiles with the tensor memory accelerator; one to three warpgroups multiply them with
`wgmma` and write the result while the copying warp is already at the next tile. An instruction has
at most 128 columns, for Triton takes no wider int8 ones: a tile of 256 takes two, and one of 272
another one of 16. Tiles of such widths come out just below the number of multiprocessors.

Rows and columns here are those of the matrix instruction. At large M the rows are tokens and the
columns weights; at small M it is the reverse (`swap`), because the instruction always has 64 rows
but as few as 16 columns. A CTA first takes its part of the tiles that are shared, if the tiling has
such (`tiling.cut`), then whole tiles. Where CTAs share a tile, each leaves its int32 partial
sums in a workspace and the last one to arrive adds them up. Integer sums do not depend on the
order, so neither does the result.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from kernels.hopper.matmul.parts import (
    add_partials,
    is_last,
    parts,
    place,
    residual_of,
    segment,
    segments,
    sharers,
    write,
)


@gluon.jit
def _next(stage, phase, STAGES: gl.constexpr):
    """The stage of the ring after this one, and its barrier's phase."""
    wraps = stage == STAGES - 1
    return gl.where(wraps, 0, stage + 1), gl.where(wraps, phase ^ 1, phase)


@gluon.jit
def _before(stage, STAGES: gl.constexpr):
    """The stage before this one. Computed, not kept: of two variables that are equal when a loop
    begins, and of which one takes the other's value in it, Triton carries only one along."""
    return gl.where(stage == 0, STAGES, stage) - 1


@gluon.jit
def _copy_a(a_desc, a_ring, bar, stage, row, k, CONSUMERS: gl.constexpr):
    """Copies each consumer's rows of K tile k into a stage."""
    ROWS: gl.constexpr = a_desc.block_type.shape[0]
    K_TILE: gl.constexpr = a_desc.block_type.shape[1]
    for c in gl.static_range(CONSUMERS):
        at = [(row * CONSUMERS + c) * ROWS, k * K_TILE]
        tma.async_copy_global_to_shared(a_desc, at, bar, a_ring.index(stage * CONSUMERS + c))


@gluon.jit
def _copy_b(b_descs, b_rings, bar, stage, column, k, EXTRA: gl.constexpr):
    """Copies the columns, which the consumers share, and the extra ones after them."""
    b_desc, extra_desc = b_descs
    b_ring, extra_ring = b_rings
    COLUMNS: gl.constexpr = b_desc.block_type.shape[0]
    K_TILE: gl.constexpr = b_desc.block_type.shape[1]
    c0 = column * (COLUMNS + EXTRA)
    tma.async_copy_global_to_shared(b_desc, [c0, k * K_TILE], bar, b_ring.index(stage))
    if EXTRA > 0:
        at = [c0 + COLUMNS, k * K_TILE]
        tma.async_copy_global_to_shared(extra_desc, at, bar, extra_ring.index(stage))


@gluon.jit
def _copy_ahead(
    a_desc, b_descs, rings, row, column, k0, ahead, BYTES: gl.constexpr, CONSUMERS: gl.constexpr,
    SWAP: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """Fills the ring with weights while the kernel before is still running. What that may write,
    among it x, is touched only once it has ended."""
    a_ring, b_rings, ready, free = rings
    for s in range(ahead):
        mbarrier.expect(ready.index(s), BYTES)
        if SWAP:
            _copy_a(a_desc, a_ring, ready.index(s), s, row, k0 + s, CONSUMERS)
        else:
            _copy_b(b_descs, b_rings, ready.index(s), s, column, k0 + s, EXTRA)
    gdc_wait()
    for s in range(ahead):
        if SWAP:
            _copy_b(b_descs, b_rings, ready.index(s), s, column, k0 + s, EXTRA)
        else:
            _copy_a(a_desc, a_ring, ready.index(s), s, row, k0 + s, CONSUMERS)


@gluon.jit
def _produce(
    a_desc, b_descs, rings, tiles, GROUP: gl.constexpr, CONSUMERS: gl.constexpr,
    STAGES: gl.constexpr, SWAP: gl.constexpr, CHAINED: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """Copies the tiles of all segments into the ring, as far ahead as it has room."""
    a_ring, b_rings, ready, free = rings
    shared_tiles, sharing, whole_tiles, k_tiles, row_tiles, column_tiles = tiles
    COLUMNS: gl.constexpr = b_descs[0].block_type.shape[0] + EXTRA
    ROWS: gl.constexpr = a_desc.block_type.shape[0] * CONSUMERS + COLUMNS
    BYTES: gl.constexpr = ROWS * a_desc.block_type.shape[1]
    count, pieces, begin, end = segments(shared_tiles, sharing, whole_tiles, k_tiles)
    ahead = gl.to_tensor(0)
    if CHAINED:
        tile, k0, k1 = segment(0, pieces, begin, end, shared_tiles, k_tiles)
        row, column = place(tile, row_tiles, column_tiles, GROUP)
        ahead = gl.minimum(k1 - k0, STAGES)
        _copy_ahead(a_desc, b_descs, rings, row, column, k0, ahead, BYTES, CONSUMERS, SWAP, EXTRA)
    stage = ahead % STAGES
    phase = gl.where(ahead == STAGES, 0, 1)
    for i in range(count):
        tile, k0, k1 = segment(i, pieces, begin, end, shared_tiles, k_tiles)
        row, column = place(tile, row_tiles, column_tiles, GROUP)
        for k in range(k0 + gl.where(i == 0, ahead, 0), k1):
            mbarrier.wait(free.index(stage), phase)
            bar = ready.index(stage)
            mbarrier.expect(bar, BYTES)
            _copy_a(a_desc, a_ring, bar, stage, row, k, CONSUMERS)
            _copy_b(b_descs, b_rings, bar, stage, column, k, EXTRA)
            stage, phase = _next(stage, phase, STAGES)


@gluon.jit
def _multiply(
    rings, acc, more, k0, k1, stage, phase,
    ME: gl.constexpr, CONSUMERS: gl.constexpr, STAGES: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """acc = sum over K tiles k0 to k1 of a @ b^T, and `more` that of the extra columns. A stage is
    given back one step late, so that one step's matrix instructions are always in flight."""
    a_ring, b_rings, ready, free = rings
    b_ring, extra_ring = b_rings
    for k in range(k0, k1):
        mbarrier.wait(ready.index(stage), phase)
        a, b = a_ring.index(stage * CONSUMERS + ME), b_ring.index(stage)
        running = warpgroup_mma(a, b.permute((1, 0)), acc, use_acc=k > k0, is_async=True)
        if EXTRA > 0:
            b = extra_ring.index(stage).permute((1, 0))
            also = warpgroup_mma(a, b, more, use_acc=k > k0, is_async=True)
            acc, more = warpgroup_mma_wait(num_outstanding=2, deps=(running, also))
        else:
            acc = warpgroup_mma_wait(num_outstanding=1, deps=(running,))
        mbarrier.arrive(free.index(_before(stage, STAGES)), count=1, pred=k > k0)
        stage, phase = _next(stage, phase, STAGES)
    if EXTRA > 0:
        acc, more = warpgroup_mma_wait(num_outstanding=0, deps=(acc, more))
    else:
        acc = warpgroup_mma_wait(num_outstanding=0, deps=(acc,))
    mbarrier.arrive(free.index(_before(stage, STAGES)), count=1)
    return acc, more, stage, phase


@gluon.jit
def _consume(
    work, ME: gl.constexpr,
    GROUP: gl.constexpr, CONSUMERS: gl.constexpr, STAGES: gl.constexpr, SWAP: gl.constexpr,
    EPILOGUE: gl.constexpr, HAS_ROW_SCALE: gl.constexpr, MMA: gl.constexpr, STORE: gl.constexpr,
    PART: gl.constexpr, MORE: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """One warpgroup: its rows of every segment of this CTA."""
    rings, tiles, outs, scalars, share = work
    a_ring, b_rings, ready, free = rings
    workspace, counters = share
    shared_tiles, sharing, whole_tiles, k_tiles, row_tiles, column_tiles = tiles
    ROWS: gl.constexpr = a_ring.shape[1]
    COLUMNS: gl.constexpr = b_rings[0].shape[1]
    WIDTH: gl.constexpr = COLUMNS + EXTRA
    SLOT: gl.constexpr = CONSUMERS * ROWS * WIDTH
    slot = workspace + ME * ROWS * WIDTH
    count, pieces, begin, end = segments(shared_tiles, sharing, whole_tiles, k_tiles)
    stage = gl.to_tensor(0)
    phase = gl.to_tensor(0)
    for i in range(count):
        tile, k0, k1 = segment(i, pieces, begin, end, shared_tiles, k_tiles)
        row, column = place(tile, row_tiles, column_tiles, GROUP)
        acc = gl.zeros([ROWS, COLUMNS], gl.int32, MMA)
        more = gl.zeros([ROWS, EXTRA], gl.int32, MORE) if EXTRA > 0 else 0
        acc, more, stage, phase = _multiply(
            rings, acc, more, k0, k1, stage, phase, ME, CONSUMERS, STAGES, EXTRA
        )
        r0 = (row * CONSUMERS + ME) * ROWS
        sums = parts(acc, PART)
        STEP: gl.constexpr = sums[0].shape[1]
        if EXTRA > 0:
            sums = sums + (more,)
        pid = gl.program_id(0)
        first, last = pid, pid
        finish = k1 - k0 == k_tiles
        if k1 - k0 < k_tiles:
            first, last = sharers(tile, shared_tiles, sharing, k_tiles)
            counter = counters + tile * CONSUMERS + ME
            finish = is_last(sums, slot, counter, last - first, k0, SLOT, WIDTH)
        if finish:
            for p in gl.static_range(len(sums)):
                c0 = p * STEP
                part = add_partials(sums[p], slot, c0, first, last, SLOT, WIDTH)
                c0 += column * WIDTH
                old = residual_of(r0, c0, outs, scalars, ROWS, part.shape[1], SWAP, EPILOGUE, STORE)
                write(part, old, r0, c0, outs, scalars, SWAP, EPILOGUE, HAS_ROW_SCALE, STORE)


CHANGING = [
    "m", "shared_tiles", "sharing", "whole_tiles", "k_tiles", "row_tiles", "column_tiles"
]  # fmt: skip


@gluon.jit(do_not_specialize=CHANGING)
def matmul_kernel(
    a_desc, b_desc, extra_desc, out, row_scale, col_scale, residual, residual_scale, workspace,
    counters, m, n, shared_tiles, sharing, whole_tiles, k_tiles, row_tiles, column_tiles, x_scale,
    limit, inverse_scale, GROUP: gl.constexpr, CONSUMERS: gl.constexpr,
    STAGES: gl.constexpr, SWAP: gl.constexpr, EPILOGUE: gl.constexpr, HAS_ROW_SCALE: gl.constexpr,
    INSTRUCTION: gl.constexpr, STORE: gl.constexpr, PART: gl.constexpr, REGISTERS: gl.constexpr,
    CHAINED: gl.constexpr, EXTRA: gl.constexpr,
):  # fmt: skip
    """The default warps are the first consumer; the others and the producer are added."""
    ROWS: gl.constexpr = a_desc.block_type.shape[0]
    COLUMNS: gl.constexpr = b_desc.block_type.shape[0]
    K_TILE: gl.constexpr = a_desc.block_type.shape[1]
    MMA: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, INSTRUCTION, 32])
    a_ring = gl.allocate_shared_memory(gl.int8, [STAGES * CONSUMERS, ROWS, K_TILE], a_desc.layout)
    b_ring = gl.allocate_shared_memory(gl.int8, [STAGES, COLUMNS, K_TILE], b_desc.layout)
    extra_ring = b_ring
    MORE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, max(EXTRA, 16), 32])
    if EXTRA > 0:
        extra_ring = gl.allocate_shared_memory(gl.int8, [STAGES, EXTRA, K_TILE], extra_desc.layout)
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    free = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for s in gl.static_range(STAGES):
        mbarrier.init(ready.index(s), count=1)
        mbarrier.init(free.index(s), count=CONSUMERS)
    fence_async_shared()
    if CHAINED:
        gdc_launch_dependents()
    tiles = (shared_tiles, sharing, whole_tiles, k_tiles, row_tiles, column_tiles)
    outs = (out, row_scale, col_scale, residual, residual_scale)
    scalars = (m, n, x_scale, limit, inverse_scale)
    rings = (a_ring, (b_ring, extra_ring), ready, free)
    b_descs = (b_desc, extra_desc)
    share = (workspace, counters)
    work = (rings, tiles, outs, scalars, share)
    if CONSUMERS == 1:
        gl.warp_specialize(
            [
                (_consume, (work, 0, GROUP, CONSUMERS, STAGES, SWAP, EPILOGUE,
                            HAS_ROW_SCALE, MMA, STORE, PART, MORE, EXTRA)),
                (_produce, (a_desc, b_descs, rings, tiles, GROUP, CONSUMERS, STAGES, SWAP,
                            CHAINED, EXTRA)),
            ],
            [1], [24],
        )  # fmt: skip
    elif CONSUMERS == 2:
        gl.warp_specialize(
            [
                (_consume, (work, 0, GROUP, CONSUMERS, STAGES, SWAP, EPILOGUE,
                            HAS_ROW_SCALE, MMA, STORE, PART, MORE, EXTRA)),
                (_consume, (work, 1, GROUP, CONSUMERS, STAGES, SWAP, EPILOGUE,
                            HAS_ROW_SCALE, MMA, STORE, PART, MORE, EXTRA)),
                (_produce, (a_desc, b_descs, rings, tiles, GROUP, CONSUMERS, STAGES, SWAP,
                            CHAINED, EXTRA)),
            ],
            [4, 1], [REGISTERS, 24],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (_consume, (work, 0, GROUP, CONSUMERS, STAGES, SWAP, EPILOGUE,
                            HAS_ROW_SCALE, MMA, STORE, PART, MORE, EXTRA)),
                (_consume, (work, 1, GROUP, CONSUMERS, STAGES, SWAP, EPILOGUE,
                            HAS_ROW_SCALE, MMA, STORE, PART, MORE, EXTRA)),
                (_consume, (work, 2, GROUP, CONSUMERS, STAGES, SWAP, EPILOGUE,
                            HAS_ROW_SCALE, MMA, STORE, PART, MORE, EXTRA)),
                (_produce, (a_desc, b_descs, rings, tiles, GROUP, CONSUMERS, STAGES, SWAP,
                            CHAINED, EXTRA)),
            ],
            [4, 4, 1], [REGISTERS, REGISTERS, 24],
        )  # fmt: skip
