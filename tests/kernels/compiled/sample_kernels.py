"""Small kernels whose machine code is known, for the tests of `sm90` itself."""

import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma


@triton.jit
def product(x, w, out, k, BLOCK: tl.constexpr):
    """A tile of an int8 product, both operands with K contiguous."""
    rows, inner = tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), tl.int32)
    for at in range(0, k, BLOCK):
        left = tl.load(x + rows[:, None] * k + at + inner[None, :])
        right = tl.load(w + rows[:, None] * k + at + inner[None, :])
        total += tl.dot(left, right.T, out_dtype=tl.int32)
    tl.store(out + rows[:, None] * BLOCK + inner[None, :], total)


@triton.jit
def bytewise(x, out, BLOCK: tl.constexpr):
    """A copy at a stride of three bytes: no wide access is possible."""
    at = tl.arange(0, BLOCK)
    tl.store(out + 3 * at, tl.load(x + 3 * at))


@gluon.jit
def tile_copy(source, out, BLOCK: gl.constexpr):
    """One tile by TMA, as a Gluon kernel loads it."""
    tile = gl.allocate_shared_memory(source.dtype, source.block_type.shape, source.layout)
    barrier = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(barrier, count=1)
    mbarrier.expect(barrier, source.block_type.nbytes)
    tma.async_copy_global_to_shared(source, [0, 0], barrier, tile)
    mbarrier.wait(barrier, phase=0)
    layout: gl.constexpr = gl.BlockedLayout([1, 16], [4, 8], [gl.num_warps(), 1], [1, 0])
    rows = gl.arange(0, BLOCK, gl.SliceLayout(1, layout))
    columns = gl.arange(0, BLOCK, gl.SliceLayout(0, layout))
    gl.store(out + rows[:, None] * BLOCK + columns[None, :], tile.load(layout))
