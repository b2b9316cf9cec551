"""Pieces of Hopper decode attention: one tile's arithmetic, and the merge of a cut sequence."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, warpgroup_mma

from kernels.hopper.compat import barrier

# log2(127): P is scaled so that its largest value in a tile is 127.
LOG2_127 = gl.constexpr(6.988684686772166)
# 1.5 * 2^23: adding it to |x| < 2^22 leaves round(x) in the low bits of the float.
MAGIC = gl.constexpr(12582912.0)
# A page of V as it lies in memory, [8 groups][128 dims][16 slots], as [dims, tokens].
V_LAYOUT = gl.constexpr(
    gl.SharedLinearLayout(
        [[0, 1], [0, 2], [0, 4], [0, 8]]
        + [[1 << i, 0] for i in range(7)]
        + [[0, 16], [0, 32], [0, 64]]
    )
)


@gluon.jit
def _row_sums(p, row: gl.constexpr):
    """Sums over the columns of int8 P as an operand: four registers in a row are of one row."""
    sums = gl.inline_asm_elementwise(
        "{ mov.u32 $1, 0; mov.u32 $2, 0; mov.u32 $3, 0; dp4a.s32.s32 $0, $4, 0x01010101, 0; }",
        "=r,=r,=r,=r,r",
        [p],
        dtype=gl.int32,
        is_pure=True,
        pack=4,
    )
    return gl.convert_layout(gl.sum(sums, 1).to(gl.float32), row, assert_trivial=True)


@gluon.jit
def tile_int8(q, scale, k, v, low, high, MASKED: gl.constexpr, mma: gl.constexpr):
    """Scores, probabilities and their product with V of one tile: (largest logit, mass, P @ V),
    relative to the tile's own largest logit, P and mass times 127."""
    row: gl.constexpr = gl.SliceLayout(1, mma)
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 4)
    zero = gl.zeros([64, 128], gl.int32, mma)
    scores = warpgroup_mma(q, k.permute((1, 0)), zero, use_acc=False)
    x = scores.to(gl.float32)
    top = gl.max(scores, 1).to(gl.float32)  # of integers: half the instructions
    if MASKED:
        token = gl.arange(0, 128, gl.SliceLayout(0, mma))
        seen = (token >= low) & (token < high)
        x = gl.where(seen[None, :], x, float("-inf"))
        top = gl.max(x, 1)
    top *= scale
    p = gl.exp2(x * scale[:, None] + (LOG2_127 - top)[:, None]) + MAGIC
    p8 = p.to(gl.int32, bitcast=True).to(gl.int8)
    p8 = p8.reshape([64, 8, 2, 4, 2]).permute((0, 1, 3, 2, 4)).reshape([64, 128])
    p8 = gl.convert_layout(p8, operand, assert_trivial=True)
    mass = _row_sums(p8, row)
    v = v._reinterpret(gl.int8, [128, 128], V_LAYOUT).permute((1, 0))
    out = warpgroup_mma(p8, v, zero, use_acc=False)
    return top, mass, out.to(gl.float32)


@gluon.jit
def _clear_unseen(v, low, high, WARPS: gl.constexpr):
    """Zero the rows of V that no query sees: what lies there may be no number at all, and zero
    times that is not zero. (Any int8 is a number.)"""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [WARPS, 1], [1, 0])
    token = gl.arange(0, 128, gl.SliceLayout(1, layout))
    seen = (token >= low) & (token < high)
    v.store(gl.where(seen[:, None], v.load(layout), 0.0))
    fence_async_shared()
    barrier()


@gluon.jit
def tile_fp16(q, scale, k, v, low, high, MASKED: gl.constexpr, mma: gl.constexpr):
    """The same in float16 with float32 accumulators (P and mass not scaled)."""
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    zero = gl.zeros([64, 128], gl.float32, mma)
    scores = warpgroup_mma(q, k.permute((1, 0)), zero, use_acc=False)
    if MASKED:
        token = gl.arange(0, 128, gl.SliceLayout(0, mma))
        seen = (token >= low) & (token < high)
        scores = gl.where(seen[None, :], scores, float("-inf"))
        _clear_unseen(v, low, high, 4)
    top = gl.max(scores, 1)
    p = gl.exp2((scores - top[:, None]) * scale[:, None])
    mass = gl.sum(p, 1)
    p16 = gl.convert_layout(p.to(gl.float16), operand)
    return top * scale, mass, warpgroup_mma(p16, v, zero, use_acc=False)
