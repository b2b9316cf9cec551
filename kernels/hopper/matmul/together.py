"""Tiles that CTAs of the Hopper matmul share and add up together: each its own slices.

Every sharer writes its int32 sums of the whole tile, in the order in which its threads hold them,
so that a thread moves 16 bytes and a warp 512 in a row. When all have, each reads the slices that
are its own, `SLICE` columns of the tile, from all of them, adds them and writes the result. That
takes one round of loads where the last of the sharers alone would take many, one after the other.

A sharer waits for the others, so all CTAs of the launch must be resident at a time.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from kernels.hopper.compat import barrier
from kernels.hopper.matmul.parts import place, residual_of, segment, sharers, write

FLAT = gl.constexpr(gl.BlockedLayout([4], [32], [4], [0]))
"""Partial sums in memory, as threads hold them: bits of (column group of 8, row group of 64, warp,
row of 8, column pair, row half, column)."""


@gluon.jit
def _flat(acc):
    """A warpgroup's accumulator, in the order of `FLAT`: no value leaves its thread."""
    rows: gl.constexpr = acc.shape[0]
    columns: gl.constexpr = acc.shape[1]
    bits = acc.reshape([rows // 64, 4, 2, 8, columns // 8, 4, 2])
    flat = bits.permute((4, 0, 1, 3, 5, 2, 6)).reshape([rows * columns])
    return gl.convert_layout(flat, FLAT, assert_trivial=True)


@gluon.jit
def _unflat(flat, ROWS: gl.constexpr):
    """Rows and columns of a slice that lies in the order of `FLAT`."""
    columns: gl.constexpr = flat.shape[0] // ROWS
    bits = flat.reshape([columns // 8, ROWS // 64, 4, 8, 4, 2, 2])
    return bits.permute((1, 2, 5, 3, 0, 4, 6)).reshape([ROWS, columns])


@gluon.jit
def leave(acc, slot, counter, k0, SLOT: gl.constexpr):
    """Writes this CTA's sums and counts it in. Slots are those of `parts`: slot 1 for the tile
    whose K range it begins, slot 0 for the other."""
    at = slot + (2 * gl.program_id(0) + gl.where(k0 == 0, 1, 0)) * SLOT
    flat = _flat(acc)
    gl.store(at + gl.arange(0, flat.shape[0], FLAT), flat)
    barrier()
    gl.atomic_add(counter, 1, sem="acq_rel")


@gluon.jit
def _add(at, first, last, SIZE: gl.constexpr, SLOT: gl.constexpr):
    """Sum over the sharers of a slice of SIZE sums, which begins at `at` in slot 0; as many loads
    in flight as 96 registers hold."""
    BATCH: gl.constexpr = 12288 // SIZE
    offsets = gl.arange(0, SIZE, FLAT)
    total = gl.zeros([SIZE], gl.int32, FLAT)
    for cta in range(first, last + 1, BATCH):
        for j in gl.static_range(BATCH):
            begins = gl.where(cta + j == first, 1, 0)
            here = at + (2 * (cta + j) + begins) * SLOT
            is_one = cta + j <= last
            total += gl.load(here + offsets, mask=is_one, other=0, cache_modifier=".cg")
    return total


@gluon.jit
def _add_own(
    slot, counter, first, last, r0, c0, outs, scalars, ROWS: gl.constexpr, COLUMNS: gl.constexpr,
    SLOT: gl.constexpr, SLICE: gl.constexpr, SWAP: gl.constexpr, EPILOGUE: gl.constexpr,
    HAS_ROW_SCALE: gl.constexpr, STORE: gl.constexpr,
):  # fmt: skip
    """Waits for all sharers of a tile, then finishes this CTA's slices of it. Each counts itself
    in and out, and the last one out sets the counter back to zero."""
    count = last - first + 1
    come = gl.atomic_add(counter, 0, sem="acquire")
    while come < count:
        come = gl.atomic_add(counter, 0, sem="acquire")
    m, n, x_scale, limit, inverse_scale = scalars
    width = gl.minimum((m if SWAP else n) - c0, COLUMNS)
    slices = (width + SLICE - 1) // SLICE
    for p in range(gl.program_id(0) - first, slices, count):
        at = c0 + p * SLICE
        old = residual_of(r0, at, outs, scalars, ROWS, SLICE, SWAP, EPILOGUE, STORE)
        flat = _add(slot + p * (ROWS * SLICE), first, last, ROWS * SLICE, SLOT)
        part = _unflat(flat, ROWS)
        write(part, old, r0, at, outs, scalars, SWAP, EPILOGUE, HAS_ROW_SCALE, STORE)
    if gl.atomic_add(counter, 1, sem="relaxed") == 2 * count - 1:
        gl.store(counter, 0)


@gluon.jit
def finish_shared(
    tiles, pieces, begin, end, slot, counters, outs, scalars, ME: gl.constexpr,
    ROWS: gl.constexpr, COLUMNS: gl.constexpr, GROUP: gl.constexpr, CONSUMERS: gl.constexpr,
    SLICE: gl.constexpr, SWAP: gl.constexpr, EPILOGUE: gl.constexpr,
    HAS_ROW_SCALE: gl.constexpr, STORE: gl.constexpr,
):  # fmt: skip
    """Of each tile that this CTA has shared, its slices: after all else, when others have left
    their sums as well."""
    shared_tiles, sharing, whole_tiles, k_tiles, row_tiles, column_tiles = tiles
    SLOT: gl.constexpr = CONSUMERS * ROWS * COLUMNS
    for i in range(pieces):
        tile, k0, k1 = segment(i, pieces, begin, end, shared_tiles, k_tiles)
        if k1 - k0 < k_tiles:
            row, column = place(tile, row_tiles, column_tiles, GROUP)
            first, last = sharers(tile, shared_tiles, sharing, k_tiles)
            _add_own(
                slot, counters + tile * CONSUMERS + ME, first, last,
                (row * CONSUMERS + ME) * ROWS, column * COLUMNS, outs, scalars, ROWS, COLUMNS,
                SLOT, SLICE, SWAP, EPILOGUE, HAS_ROW_SCALE, STORE,
            )  # fmt: skip
