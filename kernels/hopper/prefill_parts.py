"""Pieces of Hopper prefill attention: the arithmetic of one page and of two, for 64 rows.

A row's state is (accumulator, mass, largest logit so far, logit that the former two are relative
to); logits are in units of log2. `c` counts the pages that this program has taken, whatever the
tile: the c-th one is in slot c % STAGES of the rings.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from kernels.hopper.probabilities import V_LAYOUT, byte_sums, follow, probabilities

_MMA = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 32])
# Pages of K and V in shared memory: 192 KiB of a multiprocessor's 227.
STAGES = gl.constexpr(6)
# Of the accumulators of a warpgroup, [64, 128].
MMA = gl.constexpr(_MMA)
ROW = gl.constexpr(gl.SliceLayout(1, _MMA))
OPERAND = gl.constexpr(gl.DotOperandLayout(0, _MMA, 4))
# Below every int8 score (128 * 127 * 127 = 2.1e6): what a row without a visible key has for one.
UNSEEN = gl.constexpr(-3e7)


@gluon.jit
def page_of(i, lo, full_lo, full_hi, hi):
    """The order of a tile's pages: those that need a mask first."""
    before = full_lo - lo
    masked = before + hi - full_hi
    late = gl.where(i < masked, full_hi + i - before, full_lo + i - masked)
    return gl.where(i < before, lo + i, late)


@gluon.jit
def _scores(q, ring, c):
    """Start Q @ K of the c-th page."""
    k_ring, k_full, _ = ring
    slot = c % STAGES
    mbarrier.wait(k_full.index(slot), (c // STAGES) & 1)
    k = k_ring.index(slot).permute((1, 0))
    return warpgroup_mma(q, k, gl.zeros([64, 128], gl.int32, MMA), use_acc=False, is_async=True)


@gluon.jit
def _values(p, out, ring, c, ADD: gl.constexpr):
    """Start P @ V of the c-th page, added to `out` or from nothing."""
    v_ring, v_full, _ = ring
    slot = c % STAGES
    mbarrier.wait(v_full.index(slot), (c // STAGES) & 1)
    v = v_ring.index(slot)._reinterpret(gl.int8, [128, 128], V_LAYOUT).permute((1, 0))
    return warpgroup_mma(p, v, out, use_acc=ADD, is_async=True)


@gluon.jit
def _release(ring, c):
    """The slot of the c-th page may be filled again."""
    _, _, empty = ring
    mbarrier.arrive(empty.index(c % STAGES))


@gluon.jit
def _is_seen(key, visible, KEYS: gl.constexpr):
    """Which keys each row sees, `[64, 128]`: see `kernels.common.visibility`."""
    low, high, position, key_row, keys = visible
    seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
    if KEYS:
        key_limit = gl.load(key_row + key, mask=key < keys, other=0)
        seen = seen & (position[:, None] < key_limit[None, :])
    return seen


@gluon.jit
def one_page(
    q, scale, acc, total, top, ref, rings, c, key, visible, MASK: gl.constexpr, KEYS: gl.constexpr
):
    """The state with one page more, whose keys are numbered `key`."""
    k_ring, v_ring = rings
    s = warpgroup_mma_wait(0, deps=[_scores(q, k_ring, c)])
    _release(k_ring, c)
    x = s.to(gl.float32)
    if MASK:
        x = gl.where(_is_seen(key, visible, KEYS), x, float("-inf"))
        step_top = gl.maximum(gl.max(x, 1), UNSEEN) * scale
    else:
        step_top = gl.max(s, 1).to(gl.float32) * scale  # of integers: half the instructions
    top, new_ref, ratio = follow(step_top, top, ref)
    p = probabilities(x, scale, new_ref, OPERAND)
    o = _values(p, gl.zeros([64, 128], gl.int32, MMA), v_ring, c, False)
    mass = byte_sums(p, ROW)
    o = warpgroup_mma_wait(0, deps=[o])
    _release(v_ring, c)
    acc = acc * ratio[:, None] + o.to(gl.float32)
    return acc, total * ratio + mass, top, new_ref


@gluon.jit
def two_pages(q, scale, acc, total, top, ref, rings, c, turns, part, n):
    """The state with two pages more, none masked, as the n-th such step; the first P @ V runs
    under the exponentials of the second. Two warpgroups take turns with the exponentials, so that
    each has its matrix products while the other has these."""
    k_ring, v_ring = rings
    s = _scores(q, k_ring, c)
    t = _scores(q, k_ring, c + 1)
    s = warpgroup_mma_wait(1, deps=[s])
    step_top = gl.max(s, 1)
    t = warpgroup_mma_wait(0, deps=[t])
    _release(k_ring, c)
    _release(k_ring, c + 1)
    mbarrier.wait(turns.index(part), (n + 1 + part) & 1)
    step_top = gl.maximum(step_top, gl.max(t, 1)).to(gl.float32) * scale
    top, new_ref, ratio = follow(step_top, top, ref)
    p = probabilities(s.to(gl.float32), scale, new_ref, OPERAND)
    o = _values(p, gl.zeros([64, 128], gl.int32, MMA), v_ring, c, False)
    r = probabilities(t.to(gl.float32), scale, new_ref, OPERAND)
    o = _values(r, o, v_ring, c + 1, True)
    mbarrier.arrive(turns.index(1 - part))
    mass = byte_sums(p, ROW) + byte_sums(r, ROW)
    o = warpgroup_mma_wait(0, deps=[o])
    _release(v_ring, c)
    _release(v_ring, c + 1)
    acc = acc * ratio[:, None] + o.to(gl.float32)
    return acc, total * ratio + mass, top, new_ref
