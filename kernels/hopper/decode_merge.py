"""What becomes of a worker's result in Hopper decode attention: written, or merged with others."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from kernels.hopper.compat import barrier
from kernels.hopper.probabilities import MAGIC


@gluon.jit
def store_rows(
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
def _part(
    partial, mass, slot, is_part, STRIDE: gl.constexpr, ROWS: gl.constexpr, layout: gl.constexpr
):
    """A part's output and mass; a mass of minus infinity where there is no such part."""
    r = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    d = gl.arange(0, 128, gl.SliceLayout(0, layout))
    weight = gl.load(
        mass + slot * STRIDE + r, mask=is_part, other=float("-inf"), cache_modifier=".cg"
    )
    at = slot * (STRIDE * 128) + r[:, None] * 128 + d[None, :]
    out = gl.load(partial + at, mask=is_part, other=0.0, cache_modifier=".cg")
    return out.to(gl.float32), weight


@gluon.jit
def merge_all(
    partial,
    mass,
    head_worker,
    tail_worker,
    STRIDE: gl.constexpr,
    ROWS: gl.constexpr,
    layout: gl.constexpr,
):
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


@gluon.jit
def _wait_for_all(counter, given_up, mine, target):
    """Wait until `target` workers have come; false if that takes too long.

    A worker that does not wait any longer leaves a bit, by which the last to come knows whose rows
    are left to it. So nothing depends on all workers being resident at a time. (Should both write
    those rows, they write the same.)
    """
    come = gl.atomic_add(counter, 0, sem="acquire")
    tries = 0
    while (come < target) & (tries < 64):
        come = gl.atomic_add(counter, 0, sem="acquire")
        tries += 1
    if come < target:
        gl.atomic_or(given_up, 1 << gl.minimum(mine, 8), sem="acq_rel")
        come = gl.atomic_add(counter, 0, sem="acq_rel")
    return come >= target


@gluon.jit
def _merge_together(
    parts, outs, b, head_worker, count, first_row,
    ROWS: gl.constexpr, HEADS: gl.constexpr, KV_HEADS: gl.constexpr,
):  # fmt: skip
    """All workers of a sequence end at about the same time: each merges some of the rows.

    The counter is not set back: every launch adds `count` to it, until the plan is made anew.
    """
    partial, mass, counter, given_up = parts
    before = gl.atomic_add(counter, 1, sem="acq_rel")
    mine = before % count
    theirs = 0
    present = mine == count - 1
    if mine == count - 1:
        theirs = gl.atomic_xchg(given_up, 0, sem="acq_rel")
    else:
        present = _wait_for_all(counter, given_up, mine, before - mine + count)
    cube: gl.constexpr = gl.BlockedLayout([1, 1, 8], [1, 2, 16], [1, 4, 1], [2, 1, 0])
    for eight in range(0, 8):
        whose = eight % count
        if present & ((whose == mine) | (((theirs >> whose) & 1) != 0)):
            value, m = merge_rows(partial, mass, head_worker, count, 8 * eight, ROWS, cube)
            at = first_row + 8 * eight
            store_rows(outs, value, m, b, at, 8, HEADS, KV_HEADS, gl.SliceLayout(0, cube))


@gluon.jit
def merge(
    parts, outs, b, head_worker, count, by_units,
    ME: gl.constexpr, ROWS: gl.constexpr, HEADS: gl.constexpr, KV_HEADS: gl.constexpr,
):  # fmt: skip
    """This worker's part of a cut sequence has been written: see to the merge.

    Cut by units, the workers of a sequence have no other work and end together: each takes some of
    the rows. Otherwise a worker may have more to do, and the one that comes last merges all rows.
    Either way parts are added in their order.
    """
    barrier()
    if by_units != 0:
        _merge_together(parts, outs, b, head_worker, count, ME * 64, ROWS, HEADS, KV_HEADS)
    else:
        partial, mass, counter, given_up = parts
        if gl.atomic_add(counter, 1, sem="acq_rel") % count == count - 1:
            wide: gl.constexpr = gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0])
            last = head_worker + count - 1
            value, m = merge_all(partial, mass, head_worker, last, ROWS, 64, wide)
            store_rows(outs, value, m, b, ME * 64, 64, HEADS, KV_HEADS, wide)
