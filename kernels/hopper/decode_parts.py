"""One tile's arithmetic in Hopper decode attention: int8, or float16."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, warpgroup_mma

from kernels.hopper.compat import barrier
from kernels.hopper.probabilities import V_LAYOUT, byte_sums, follow, probabilities


@gluon.jit
def _seen(low, high, MMA: gl.constexpr):
    """Which of a tile's tokens are visible, in every row."""
    token = gl.arange(0, 128, gl.SliceLayout(0, MMA))
    return ((token >= low) & (token < high))[None, :]


@gluon.jit
def tile_int8(q, scale, k, v, low, high, state, MASKED: gl.constexpr, MMA: gl.constexpr):
    """One more tile: scores, probabilities and their product with V, added to the state
    (accumulator, largest logit, what it is relative to, mass)."""
    acc, top, ref, mass = state
    operand: gl.constexpr = gl.DotOperandLayout(0, MMA, 4)
    zero = gl.zeros([64, 128], gl.int32, MMA)
    scores = warpgroup_mma(q, k.permute((1, 0)), zero, use_acc=False)
    x = scores.to(gl.float32)
    if MASKED:
        x = gl.where(_seen(low, high, MMA), x, float("-inf"))
        tile_top = gl.max(x, 1) * scale
    else:
        tile_top = gl.max(scores, 1).to(gl.float32) * scale  # of integers: half the instructions
    top, ref, old = follow(tile_top, top, ref)
    p = probabilities(x, scale, ref, operand)
    mass = mass * old + byte_sums(p, gl.SliceLayout(1, MMA))
    v = v._reinterpret(gl.int8, [128, 128], V_LAYOUT).permute((1, 0))
    out = warpgroup_mma(p, v, zero, use_acc=False)
    return acc * old[:, None] + out.to(gl.float32), top, ref, mass


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
def tile_fp16(q, scale, k, v, low, high, state, MASKED: gl.constexpr, MMA: gl.constexpr):
    """The same in float16 with float32 accumulators."""
    acc, top, ref, mass = state
    operand: gl.constexpr = gl.DotOperandLayout(0, MMA, 2)
    zero = gl.zeros([64, 128], gl.float32, MMA)
    x = warpgroup_mma(q, k.permute((1, 0)), zero, use_acc=False)
    if MASKED:
        x = gl.where(_seen(low, high, MMA), x, float("-inf"))
        _clear_unseen(v, low, high, 4)
    top, ref, old = follow(gl.max(x, 1) * scale, top, ref)
    p = gl.exp2(x * scale[:, None] - ref[:, None])
    mass = mass * old + gl.sum(p, 1)
    p = gl.convert_layout(p.to(gl.float16), operand)
    return warpgroup_mma(p, v, acc * old[:, None]), top, ref, mass
