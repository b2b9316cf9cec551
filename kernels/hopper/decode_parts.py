"""Pieces of Hopper decode attention: one tile's arithmetic, and the merge of a cut sequence."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, warpgroup_mma

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
        "{ mov.u32 $1, 0; mov.u32 $2, 0; mov.u32 $3, 0;"
        " dp4a.s32.s32 $0, $4, 0x01010101, 0; }",
        "=r,=r,=r,=r,r",
        [p],
        dtype=gl.int32,
        is_pure=True,
        pack=4,
    )
    return gl.convert_layout(gl.sum(sums, 1).to(gl.float32), row, assert_trivial=True)


@gluon.jit
def tile_int8(q, scale, k, v, low, high, masked, ROWS: gl.constexpr, mma: gl.constexpr):
    """Scores, probabilities and their product with V of one tile: (largest logit, mass, P @ V),
    relative to the tile's own largest logit, P and mass times 127."""
    row: gl.constexpr = gl.SliceLayout(1, mma)
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 4)
    zero = gl.zeros([ROWS, 128], gl.int32, mma)
    scores = warpgroup_mma(q, k.permute((1, 0)), zero, use_acc=False)
    top = gl.max(scores, 1).to(gl.float32)  # of integers: half the instructions
    x = scores.to(gl.float32)
    if masked:
        token = gl.arange(0, 128, gl.SliceLayout(0, mma))
        seen = (token >= low) & (token < high)
        x = gl.where(seen[None, :], x, float("-inf"))
        top = gl.max(x, 1)
    top *= scale
    p = gl.exp2(x * scale[:, None] + (LOG2_127 - top)[:, None]) + MAGIC
    p8 = p.to(gl.int32, bitcast=True).to(gl.int8)
    p8 = p8.reshape([ROWS, 8, 2, 4, 2]).permute((0, 1, 3, 2, 4)).reshape([ROWS, 128])
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
    gl.thread_barrier()


@gluon.jit
def tile_fp16(q, scale, k, v, low, high, masked, ROWS: gl.constexpr, mma: gl.constexpr):
    """The same in float16 with float32 accumulators (P and mass not scaled)."""
    operand: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    zero = gl.zeros([ROWS, 128], gl.float32, mma)
    scores = warpgroup_mma(q, k.permute((1, 0)), zero, use_acc=False)
    if masked:
        token = gl.arange(0, 128, gl.SliceLayout(0, mma))
        seen = (token >= low) & (token < high)
        scores = gl.where(seen[None, :], scores, float("-inf"))
        _clear_unseen(v, low, high, ROWS // 16)
    top = gl.max(scores, 1)
    p = gl.exp2((scores - top[:, None]) * scale[:, None])
    mass = gl.sum(p, 1)
    p16 = gl.convert_layout(p.to(gl.float16), operand)
    return top * scale, mass, warpgroup_mma(p16, v, zero, use_acc=False)


@gluon.jit
def _part(partial, mass, slot, is_part, STRIDE: gl.constexpr, ROWS: gl.constexpr, layout: gl.constexpr):
    """A part's output and mass; a mass of minus infinity where there is no such part."""
    r = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    d = gl.arange(0, 128, gl.SliceLayout(0, layout))
    weight = gl.load(mass + slot * STRIDE + r, mask=is_part, other=float("-inf"), cache_modifier=".cg")
    at = slot * (STRIDE * 128) + r[:, None] * 128 + d[None, :]
    out = gl.load(partial + at, mask=is_part, other=0.0, cache_modifier=".cg")
    return out.to(gl.float32), weight


@gluon.jit
def merge_all(partial, mass, head_worker, tail_worker, STRIDE: gl.constexpr, ROWS: gl.constexpr, layout: gl.constexpr):
    """The parts of a cut sequence in their order, four loads in flight: (output, mass)."""
    acc = gl.zeros([ROWS, 128], gl.float32, layout)
    total = gl.zeros([ROWS], gl.float32, gl.SliceLayout(1, layout))
    top = gl.full([ROWS], -1e30, gl.float32, gl.SliceLayout(1, layout))
    for w in range(head_worker, tail_worker + 1, 4):
        slot = gl.where(w == head_worker, 2 * w + 1, 2 * w)
        o0, w0 = _part(partial, mass, slot, w <= tail_worker, STRIDE, ROWS, layout)
        o1, w1 = _part(partial, mass, 2 * w + 2, w + 1 <= tail_worker, STRIDE, ROWS, layout)
        o2, w2 = _part(partial, mass, 2 * w + 4, w + 2 <= tail_worker, STRIDE, ROWS, layout)
        o3, w3 = _part(partial, mass, 2 * w + 6, w + 3 <= tail_worker, STRIDE, ROWS, layout)
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
def merge_rows(
    partial, mass, head_worker, count, row, STRIDE: gl.constexpr, layout: gl.constexpr
):  # fmt: skip
    """Eight rows of a cut sequence from all its `count` parts, sixteen parts at a time:
    (output, mass)."""
    inner: gl.constexpr = gl.SliceLayout(2, layout)
    part = gl.arange(0, 16, gl.SliceLayout(1, inner))
    r = row + gl.arange(0, 8, gl.SliceLayout(0, inner))
    d = gl.arange(0, 128, gl.SliceLayout(0, gl.SliceLayout(1, layout)))
    rows: gl.constexpr = gl.SliceLayout(0, inner)
    wide: gl.constexpr = gl.SliceLayout(0, layout)
    acc = gl.zeros([8, 128], gl.float32, wide)
    total = gl.zeros([8], gl.float32, rows)
    top = gl.full([8], -1e30, gl.float32, rows)
    for first in range(0, count, 16):
        p = first + part
        slot = 2 * (head_worker + p) + gl.where(p == 0, 1, 0)
        at = slot[:, None] * STRIDE + r[None, :]
        here = (p < count)[:, None]
        weight = gl.load(mass + at, mask=here, other=float("-inf"), cache_modifier=".cg")
        value = gl.load(
            partial + at[:, :, None] * 128 + d[None, None, :],
            mask=here[:, :, None], other=0.0, cache_modifier=".cg",
        )  # fmt: skip
        new_top = gl.maximum(top, gl.max(weight, 0))
        weight = gl.exp2(weight - new_top[None, :])
        old = gl.exp2(top - new_top)
        gain = gl.convert_layout(old, gl.SliceLayout(1, wide))
        acc = acc * gain[:, None] + gl.sum(value.to(gl.float32) * weight[:, :, None], 0)
        total = total * old + gl.sum(weight, 0)
        top = new_top
    share = gl.convert_layout(total, gl.SliceLayout(1, wide))
    log_total = gl.convert_layout(top + gl.log2(total), gl.SliceLayout(1, wide))
    return acc / share[:, None], log_total
